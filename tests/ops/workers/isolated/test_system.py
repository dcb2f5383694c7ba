"""System calls through libc."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_megatron.ops.workers.isolated import system


def test_a_refused_request_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid argument") as error:
        system.prctl(-1, 0, 0, 0, 0)
    assert error.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="Function not implemented"):
        system.syscall(100_000)
    assert system.require(5) == 5


def test_no_new_privileges(bare: Callable[[str], list[str]]) -> None:
    code = """
from ops.workers.isolated import system
system.forbid_new_privileges()
print(open("/proc/self/status").read())
"""
    done = subprocess.run(bare(code), capture_output=True, text=True, timeout=60, check=True)
    assert "NoNewPrivs:\t1" in done.stdout


def test_a_child_dies_with_its_parent(bare: Callable[[str], list[str]]) -> None:
    code = """
import time
from ops.workers.isolated import system
if os.fork() == 0:
    system.die_with_parent()
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    with subprocess.Popen(bare(code), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(400):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {child} outlived its parent {os.getpid()}")
