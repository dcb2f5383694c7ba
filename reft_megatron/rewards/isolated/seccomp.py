"""A seccomp filter, assembled here: which system calls a worker may not make.

Owns the tables of denied calls for x86-64 and aarch64 and the few BPF instructions they need. A
denied call fails with EPERM, so a program sees a PermissionError and not a dead process. Other
machines have no table: `install` raises OSError and the caller says so. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping

__all__ = ["RUNNER", "ZYGOTE", "install", "prctl"]

# Numbers are (x86-64, aarch64); None where the architecture lacks the call.
_NETWORK = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
}
_FILES = {
    "creat": (85, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "open_by_handle_at": (304, 265),
    "memfd_create": (319, 279),
}
_KERNEL = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "sethostname": (170, 161),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "capset": (126, 91),
}
_PROCESSES = {
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "prlimit64": (302, 261),
    "setrlimit": (160, 164),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "setpriority": (141, 140),
}
# Their arguments lie behind a pointer that a filter cannot follow; libc falls back on ENOSYS.
_UNREADABLE = {"openat2": (437, 437)}
_UNREADABLE_PROCESSES = {"clone3": (435, 435)}
# (number, index of the flags argument)
_OPEN = {"open": ((2, None), 1), "openat": ((257, 56), 2)}

_COLUMN = {"x86_64": 0, "aarch64": 1}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2

_Table = Mapping[str, tuple[int | None, int | None]]


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _instruction(*, code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _deny(table: _Table, *, column: int, verdict: int) -> bytes:
    numbers = [row[column] for row in table.values()]
    return b"".join(
        _instruction(code=_JUMP_EQUAL, value=number, if_false=1)
        + _instruction(code=_RETURN, value=verdict)
        for number in numbers
        if number is not None
    )


def _deny_open_for_writing(column: int) -> bytes:
    program = b""
    for row, argument in _OPEN.values():
        number = row[column]
        if number is not None:
            program += _instruction(code=_JUMP_EQUAL, value=number, if_false=4)
            program += _instruction(code=_LOAD, value=_ARGUMENTS_AT + 8 * argument)
            program += _instruction(code=_JUMP_SET, value=_WRITE_FLAGS, if_false=1)
            program += _instruction(code=_RETURN, value=_EPERM)
            program += _instruction(code=_RETURN, value=_ALLOW)
    return program


def _assemble(machine: str, *, denied: _Table, missing: _Table) -> bytes:
    if machine not in _COLUMN:
        return b""
    column = _COLUMN[machine]
    program = _instruction(code=_LOAD, value=_ARCH_AT)
    program += _instruction(code=_JUMP_EQUAL, value=_AUDIT_ARCH[machine], if_true=1)
    program += _instruction(code=_RETURN, value=_KILL)
    program += _instruction(code=_LOAD, value=_NUMBER_AT)
    if machine == "x86_64":  # the x32 table numbers the same calls anew
        program += _instruction(code=_JUMP_AT_LEAST, value=_X32_BIT, if_false=1)
        program += _instruction(code=_RETURN, value=_EPERM)
    program += _deny(denied, column=column, verdict=_EPERM)
    program += _deny(missing, column=column, verdict=_ENOSYS)
    program += _deny_open_for_writing(column)
    return program + _instruction(code=_RETURN, value=_ALLOW)


ZYGOTE = _assemble(
    platform.machine(), denied={**_NETWORK, **_FILES, **_KERNEL}, missing=_UNREADABLE
)
"""Filter of a whole worker: no network, no writing, no other program; forking stays possible."""

RUNNER = _assemble(platform.machine(), denied=_PROCESSES, missing=_UNREADABLE_PROCESSES)
"""Filter of the processes that run model programs, on top of `ZYGOTE`: no process, no signal."""

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, *arguments: object) -> None:
    """The prctl system call; raises OSError if the kernel refuses."""
    if _libc.prctl(option, *arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def install(program: bytes) -> None:
    """Put this process under the filter, for ever; raises OSError where that is impossible."""
    if not program:
        raise OSError(f"no system call table for {platform.machine()}")
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(_Program(len(program) // 8, program)))
