"""Seccomp filters, assembled here: the only system calls a worker may make.

Owns the lists of allowed calls for x86-64 and aarch64 and the few BPF instructions they need. Any
other call fails with EPERM, so a program sees a PermissionError and not a dead process. Other
machines have no list: `install` raises OSError and the caller says so. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping

from . import system

__all__ = ["RUNNER", "ZYGOTE", "install"]

# Numbers are (x86-64, aarch64); None where the architecture lacks the call. The frequent first.
_COMPUTE = {
    "read": (0, 63),
    "write": (1, 64),
    "ppoll": (271, 73),
    "poll": (7, None),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "futex": (202, 98),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "restart_syscall": (219, 128),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getrandom": (318, 278),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "rseq": (334, 293),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
# Looking at files; that they are opened for reading only is seen to below.
_LOOK = {
    "close": (3, 57),
    "fstat": (5, 80),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "lseek": (8, 62),
    "pread64": (17, 67),
    "readv": (19, 65),
    "getdents64": (217, 61),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "getcwd": (79, 17),
    "dup": (32, 23),
}
# What a zygote needs to fork a runner, lock it and end it.
_FORK = {
    "clone": (56, 220),
    "fork": (57, None),
    "vfork": (58, None),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "kill": (62, 129),
    "pipe2": (293, 59),
    "pipe": (22, None),
    "prctl": (157, 167),
    "seccomp": (317, 277),
    "prlimit64": (302, 261),
    "setrlimit": (160, 164),
    "getrlimit": (97, 163),
}
# libc falls back on older calls that a filter can judge: these have their flags behind a pointer.
_ABSENT = {"openat2": (437, 437), "clone3": (435, 435)}
# (number, index of the flags argument)
_OPEN = {"openat": ((257, 56), 2), "open": ((2, None), 1)}
_FCNTL = (72, 25)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: no signals, no locks, no leases.
_FCNTL_COMMANDS = (0, 1, 2, 3, 1030)

_COLUMN = {"x86_64": 0, "aarch64": 1}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

_Table = Mapping[str, tuple[int | None, int | None]]


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _instruction(*, code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


_END = {
    verdict: _instruction(code=_RETURN, value=verdict)
    for verdict in (_ALLOW, _EPERM, _ENOSYS, _KILL)
}


def _answer(table: _Table, *, column: int, verdict: int) -> bytes:
    """The verdict for each call of the table."""
    numbers = [row[column] for row in table.values()]
    return b"".join(
        _instruction(code=_JUMP_EQUAL, value=number, if_false=1) + _END[verdict]
        for number in numbers
        if number is not None
    )


def _load_argument(index: int) -> bytes:
    return _instruction(code=_LOAD, value=_ARGUMENTS_AT + 8 * index)


def _open_for_reading(column: int) -> bytes:
    program = b""
    for row, argument in _OPEN.values():
        number = row[column]
        if number is not None:
            program += _instruction(code=_JUMP_EQUAL, value=number, if_false=4)
            program += _load_argument(argument)
            program += _instruction(code=_JUMP_SET, value=_WRITE_FLAGS, if_false=1)
            program += _END[_EPERM] + _END[_ALLOW]
    return program


def _some_of_fcntl(column: int) -> bytes:
    commands = b"".join(
        _instruction(code=_JUMP_EQUAL, value=command, if_false=1) + _END[_ALLOW]
        for command in _FCNTL_COMMANDS
    )
    body = _load_argument(1) + commands + _END[_EPERM]
    return _instruction(code=_JUMP_EQUAL, value=_FCNTL[column], if_false=len(body) // 8) + body


def _assemble(machine: str, allowed: _Table) -> bytes:
    if machine not in _COLUMN:
        return b""
    column = _COLUMN[machine]
    program = _instruction(code=_LOAD, value=_ARCH_AT)
    program += _instruction(code=_JUMP_EQUAL, value=_AUDIT_ARCH[machine], if_true=1)
    program += _END[_KILL]
    program += _instruction(code=_LOAD, value=_NUMBER_AT)
    if machine == "x86_64":  # the x32 table numbers the same calls anew
        program += _instruction(code=_JUMP_AT_LEAST, value=_X32_BIT, if_false=1)
        program += _END[_EPERM]
    program += _answer(allowed, column=column, verdict=_ALLOW)
    program += _open_for_reading(column) + _some_of_fcntl(column)
    program += _answer(_ABSENT, column=column, verdict=_ENOSYS)
    return program + _END[_EPERM]


ZYGOTE = _assemble(platform.machine(), {**_COMPUTE, **_LOOK, **_FORK})
"""Filter of a whole worker: no network, no writing, no other program; forking stays possible."""

RUNNER = _assemble(platform.machine(), {**_COMPUTE, **_LOOK})
"""Filter of the processes that run model programs, on top of `ZYGOTE`: no process, no signal."""


def install(program: bytes) -> None:
    """Put this process under the filter, for ever; raises OSError where that is impossible."""
    if not program:
        raise OSError(f"no system call table for {platform.machine()}")
    system.forbid_new_privileges()
    filter_ = _Program(len(program) // 8, program)
    system.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_))
