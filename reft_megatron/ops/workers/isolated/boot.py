"""The first process of a worker: it forks the zygote, and watches.

Owns the bond of life: when the trainer dies, however it dies, or asks for it with SIGTERM, the
zygote and its runners are killed and reaped, and only then does this process end. It never sees
model code, nor the socket once the zygote has it. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from types import FrameType

from . import lockdown, namespaces, system, zygote
from .frames import CHANNEL

__all__ = ["main"]

_CLOSE_RANGE = 436  # on every architecture


def main(trainer: str, preload: str, libraries: str) -> None:
    """Be a worker of the process `trainer`, until one of the two ends.

    `preload` names the libraries to import before any program, `libraries` the folders where they
    are; both as lists with `:` between.
    """
    _close_inherited()
    os.chdir("/")
    guard = _bind_to(int(trainer))
    in_force = namespaces.leave()
    signal.signal(signal.SIGTERM, _leave)
    lockdown.attempt(system.adopt_orphans)
    alive, our_life = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for fd in (our_life, *guard):
            os.close(fd)
        in_force["parent_death"] = lockdown.attempt(system.die_with_parent)
        _exit_if_orphan(alive)
        try:
            zygote.main(
                channel=CHANNEL,
                in_force=in_force,
                preload=_split(preload),
                libraries=_split(libraries),
            )
        finally:
            os._exit(0)  # nothing to clear away, and nobody to read a traceback
    os.close(CHANNEL)
    os.close(alive)
    try:
        _wait(child, guard)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:  # its runner too, which died with it
                os.waitpid(-1, 0)


def _close_inherited() -> None:
    """Close what the trainer's libraries left open to its children: devices, pipes, sockets."""
    first, last = ctypes.c_uint(CHANNEL + 1), ctypes.c_uint(0xFFFFFFFF)
    try:
        system.syscall(_CLOSE_RANGE, first, last, ctypes.c_uint(0))
    except OSError:  # a kernel before 5.9
        os.closerange(CHANNEL + 1, max(os.sysconf("SC_OPEN_MAX"), 1 << 16))


def _bind_to(trainer: int) -> list[int]:
    """A descriptor that tells the trainer's death; none where the kernel gives none.

    Then the kernel's signal has to do, which comes with the end of the thread that started us.
    """
    guard = []
    try:
        guard.append(os.pidfd_open(trainer))
    except OSError:
        system.die_with_parent()
    if os.getppid() != trainer:
        sys.exit()
    return guard


def _wait(child: int, guard: list[int]) -> None:
    """Return when the trainer or the child has ended."""
    if not guard:
        os.waitpid(child, 0)
        return
    poll = select.poll()
    for fd in (*guard, os.pidfd_open(child)):
        poll.register(fd, select.POLLIN)
    poll.poll()


def _exit_if_orphan(alive: int) -> None:
    """The parent may have died before the kernel was asked to tell: then its pipe has ended."""
    poll = select.poll()
    poll.register(alive, 0)
    if poll.poll(0):
        os._exit(0)
    os.close(alive)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit()


def _split(names: str) -> list[str]:
    return [name for name in names.split(":") if name]
