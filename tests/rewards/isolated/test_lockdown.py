"""What a worker process takes away from itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reft_megatron.rewards.isolated import lockdown


def test_limits_in_force(in_fresh_process: Callable[[str], Any]) -> None:
    in_force, limits = in_fresh_process("""
from isolated import lockdown
in_force = lockdown.lock_zygote(os.getppid())
lockdown.lock_runner(parent=os.getppid(), in_force=in_force, memory_bytes=1 << 28, cpu_seconds=3)
print(json.dumps([in_force, open("/proc/self/limits").read()]))
""")
    assert set(in_force) == {"rlimits", "audit_hook", "parent_death_signal", "seccomp"}
    assert set(in_force.values()) == {"on"}
    found = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert found["Max core file size"] == ["0", "0"]
    assert found["Max file size"] == ["0", "0"]
    assert found["Max open files"] == ["64", "64"]
    assert found["Max address space"] == [str(1 << 28)] * 2
    assert found["Max cpu time"] == ["3", "4"]
    assert found["Max processes"] == ["0", "0"]


def test_a_missing_protection_is_named(in_fresh_process: Callable[[str], Any]) -> None:
    found = in_fresh_process("""
from isolated import lockdown, seccomp
seccomp.ZYGOTE = b""
print(json.dumps([lockdown.lock_zygote(os.getppid()), os.uname().machine]))
""")
    in_force, machine = found
    assert in_force["seccomp"] == f"off: no system call table for {machine}"


def test_events_beyond_computing_are_refused(
    in_fresh_process: Callable[[str], Any], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "part.txt").write_text("part")
    found = in_fresh_process("""
import random, socket, statistics, subprocess
from isolated import lockdown
library = os.getcwd() + "/library"
lockdown.refuse_events([library])
attempts = {
    "system": lambda: os.system("true"),
    "fork": lambda: os.fork(),
    "kill": lambda: os.kill(os.getppid(), 9),
    "spawn": lambda: subprocess.Popen(["true"]),
    "socket": lambda: socket.socket(),
    "remove": lambda: os.remove("secret"),
    "secret": lambda: open(os.getcwd() + "/secret").read(),
    "around": lambda: open(library + "/../secret").read(),
    "descriptor": lambda: open(0),
    "write": lambda: open(library + "/new", "w"),
    "part": lambda: open(library + "/part.txt").read(),
    "compute": lambda: statistics.mean([1, 2, 3]) + random.random() * 0,
    "compile": lambda: eval("1 + 1"),
}
found = {}
for name, call in attempts.items():
    try:
        found[name] = call()
    except PermissionError as error:
        found[name] = str(error)
print(json.dumps(found))
""")
    assert found == {
        "system": "denied: os.system",
        "fork": "denied: os.fork",
        "kill": "denied: os.kill",
        "spawn": "denied: subprocess.Popen",
        "socket": "denied: socket.__new__",
        "remove": "denied: os.remove",
        "secret": "denied: open",
        "around": "denied: open",
        "descriptor": "denied: open",
        "write": "denied: open",
        "part": "part",
        "compute": 2,
        "compile": 2,
    }
    assert sorted(os.listdir(tmp_path / "library")) == ["part.txt"]


def test_address_space_is_this_process_size() -> None:
    status = Path("/proc/self/status").read_text()
    kilobytes = int(status.partition("VmSize:")[2].split()[0])
    assert abs(lockdown.address_space() - kilobytes * 1024) < 64 << 20


def test_an_orphan_ends_at_once(tmp_path: Path) -> None:
    rewards = Path(lockdown.__file__).parents[1]
    code = f"""
import sys; sys.path.insert(0, {str(rewards)!r})
from isolated import lockdown
lockdown.die_with_parent(1 << 22)  # not the parent: as if that had died before
open("survived", "w")
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert os.listdir(tmp_path) == []


def test_a_child_dies_with_its_parent() -> None:
    rewards = Path(lockdown.__file__).parents[1]
    code = f"""
import os, sys, time; sys.path.insert(0, {str(rewards)!r})
from isolated import lockdown
parent, child = os.getpid(), os.fork()
if child == 0:
    lockdown.die_with_parent(parent)
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {child} outlived its parent")
