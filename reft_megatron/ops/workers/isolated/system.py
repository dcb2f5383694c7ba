"""System calls that Python does not offer, through libc.

Owns the handle on libc and the turning of its -1 into OSError. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal

__all__ = [
    "LIBC",
    "adopt_orphans",
    "die_with_parent",
    "forbid_new_privileges",
    "prctl",
    "require",
    "syscall",
]

LIBC = ctypes.CDLL(None, use_errno=True)
"""The C library of this process."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38


def require(result: int) -> int:
    """The result of a libc call; raises OSError with its errno if it is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, *arguments: object) -> None:
    """The prctl system call; raises OSError if the kernel refuses."""
    require(LIBC.prctl(option, *arguments))


def syscall(number: int, *arguments: object) -> int:
    """A system call by number; raises OSError if the kernel refuses or lacks it."""
    return require(LIBC.syscall(ctypes.c_long(number), *arguments))


def forbid_new_privileges() -> None:
    """No program this process starts gains rights, for ever; raises OSError if refused."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own dies, and so reap them; OSError if refused."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent's thread ends; raises OSError if refused.

    If the parent is dead already nothing happens: the caller has to look for that afterwards.
    """
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
