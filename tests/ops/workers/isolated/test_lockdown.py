"""What a worker process takes away from itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reft_megatron.ops.workers.isolated import lockdown

LOCKED = {"rlimits", "audit_hook", "no_new_privileges", "landlock", "seccomp"}


def test_limits_in_force(in_fresh_process: Callable[[str], Any]) -> None:
    in_force, limits = in_fresh_process("""
from ops.workers.isolated import lockdown
limits = open("/proc/self/limits")
in_force = lockdown.lock_zygote(["/usr/lib"]) | {"parent_death": "on"}
lockdown.lock_runner(parent=os.getppid(), in_force=in_force, memory_bytes=1 << 28, cpu_seconds=3)
print(json.dumps([in_force, limits.read()]))
""")
    assert set(in_force) == LOCKED | {"parent_death"}
    assert all(state == "on" or state.startswith("off: ") for state in in_force.values())
    found = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert found["Max core file size"] == ["0", "0"]
    assert found["Max file size"] == ["0", "0"]
    assert found["Max open files"] == ["64", "64"]
    assert found["Max address space"] == [str(1 << 28)] * 2
    assert found["Max cpu time"] == ["3", "4"]
    assert found["Max processes"] == ["0", "0"]


def test_a_runner_without_its_zygote_ends(in_fresh_process: Callable[[str], Any]) -> None:
    assert (
        in_fresh_process("""
from ops.workers.isolated import lockdown
child = os.fork()
if child == 0:
    in_force = {"parent_death": "on", "seccomp": "off: a test"}
    lockdown.lock_runner(parent=1 << 22, in_force=in_force, memory_bytes=1, cpu_seconds=1)
    os._exit(1)
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
""")
        == 0
    )


def test_a_missing_protection_is_named(in_fresh_process: Callable[[str], Any]) -> None:
    in_force, machine = in_fresh_process("""
from ops.workers.isolated import landlock, lockdown, seccomp
seccomp.ZYGOTE, landlock._CREATE_RULESET = b"", 100_000
print(json.dumps([lockdown.lock_zygote([]), os.uname().machine]))
""")
    assert in_force["seccomp"] == f"off: no system call table for {machine}"
    assert in_force["landlock"] == "off: Function not implemented"


def test_events_beyond_computing_are_refused(
    in_fresh_process: Callable[[str], Any], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "part.txt").write_text("part")
    found, told = in_fresh_process("""
import random, socket, statistics, subprocess
from ops.workers.isolated import lockdown
library, told = os.getcwd() + "/library", []
lockdown.refuse_events([library], told.append)
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
        found[name] = error.strerror
print(json.dumps([found, told]))
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
    refused = [text.removeprefix("denied: ") for text in found.values() if "denied" in str(text)]
    assert told == refused
    assert sorted(os.listdir(tmp_path / "library")) == ["part.txt"]


def test_address_space_is_this_process_size() -> None:
    status = Path("/proc/self/status").read_text()
    kilobytes = int(status.partition("VmSize:")[2].split()[0])
    assert abs(lockdown.address_space() - kilobytes * 1024) < 64 << 20
