"""The only system calls that a filtered process may make."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if platform.machine() not in ("x86_64", "aarch64"):
    pytest.skip("no system call table for this machine", allow_module_level=True)

ATTEMPTS = """
from ops.workers.isolated import seccomp
import socket, subprocess, ctypes
x86 = os.uname().machine == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
def attempt(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return 0
def raw(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
def wait_for(pid):
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
attempts = {
    "read": lambda: open(__import__("json").__file__).close(),
    "write": lambda: open("new", "w"),
    "append": lambda: open("/dev/null", "a"),
    "socket": lambda: socket.socket(),
    "socketpair": lambda: socket.socketpair(),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "unlink": lambda: os.unlink("old"),
    "rename": lambda: os.rename("old", "older"),
    "mkdir": lambda: os.mkdir("folder"),
    "rmdir": lambda: os.rmdir("dir"),
    "chmod": lambda: os.chmod("old", 0o777),
    "chdir": lambda: os.chdir("/"),
    "link": lambda: os.link("old", "linked"),
    "symlink": lambda: os.symlink("old", "linked"),
    "truncate": lambda: os.truncate("old", 0),
    "utime": lambda: os.utime("old"),
    "memfd": lambda: os.memfd_create("x"),
    "ptrace": lambda: raw(101 if x86 else 117, 0, 0, 0, 0),
    "io_uring": lambda: raw(425, 1, 0),
    "openat2": lambda: raw(437, -100, b"new", b"\\0" * 24, 24),
    "fork": lambda: wait_for(os.fork()),
    "thread": lambda: __import__("_thread").start_new_thread(lambda: None, ()),
    "kill": lambda: os.kill(os.getppid(), 0),
    "setsid": lambda: raw(112 if x86 else 157),
    "clone3": lambda: raw(435, 0, 0),
    "connect": lambda: raw(42 if x86 else 203, 1, b"\\0" * 16, 16),
    "waiting": lambda: os.waitpid(-1, os.WNOHANG),
    "pipe": lambda: os.pipe(),
    "limit": lambda: raw(302 if x86 else 261, 0, 0, 0, 0),
    "ioctl": lambda: __import__("fcntl").ioctl(1, 0x5401),
    "lock": lambda: __import__("fcntl").fcntl(1, 5, b"\\0" * 32),
    "owner": lambda: __import__("fcntl").fcntl(1, 8, os.getppid()),
    "flags": lambda: __import__("fcntl").fcntl(1, 1),
    "unknown": lambda: raw(1000),
    "dup2": lambda: os.dup2(1, 20),
}
def outcomes():
    found = {}
    for name, call in attempts.items():
        try:
            found[name] = attempt(call)
        except RuntimeError as error:
            found[name] = str(error)
    return found
"""

WRITING = """append chdir chmod connect dup2 exec io_uring ioctl link lock memfd mkdir owner ptrace
rename rmdir setsid socket socketpair symlink truncate unlink unknown utime write"""
PROCESSES = "fork kill limit pipe waiting"


@pytest.fixture
def outcomes(in_fresh_process: Callable[[str], Any], tmp_path: Path) -> Callable[[str], Any]:
    (tmp_path / "old").write_text("kept")
    (tmp_path / "dir").mkdir()
    return lambda filters: in_fresh_process(f"{ATTEMPTS}\n{filters}\nprint(json.dumps(outcomes()))")


def test_a_zygote_cannot_write_or_connect_but_fork(
    outcomes: Callable[[str], Any], tmp_path: Path
) -> None:
    found = outcomes("seccomp.install(seccomp.ZYGOTE)")
    assert {name for name, code in found.items() if code == errno.EPERM} >= set(WRITING.split())
    assert found["openat2"] == errno.ENOSYS
    allowed = ("read", "fork", "thread", "kill", "pipe", "limit", "flags")
    assert {name: found[name] for name in allowed} == dict.fromkeys(allowed, 0)
    assert sorted(os.listdir(tmp_path)) == ["dir", "old"]
    assert (tmp_path / "old").read_text() == "kept"


def test_a_runner_cannot_start_or_signal_processes_either(outcomes: Callable[[str], Any]) -> None:
    found = outcomes("seccomp.install(seccomp.ZYGOTE); seccomp.install(seccomp.RUNNER)")
    denied = set(WRITING.split()) | set(PROCESSES.split())
    assert {name for name, code in found.items() if code == errno.EPERM} >= denied
    assert found["clone3"] == errno.ENOSYS
    assert found["thread"] == "can't start new thread"
    assert found["read"] == found["flags"] == 0


def test_without_a_table_install_says_so(in_fresh_process: Callable[[str], Any]) -> None:
    code = """
from ops.workers.isolated import seccomp
try:
    seccomp.install(b"")
except OSError as error:
    print(json.dumps(str(error)))
"""
    assert in_fresh_process(code) == f"no system call table for {platform.machine()}"
