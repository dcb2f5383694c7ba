"""Landlock: a worker reads below a few folders and reaches no other file.

Owns the three system calls and what each version of the kernel's interface can handle. Standard
library only.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from . import system

__all__ = ["restrict", "version"]

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
# Rights over files that version 1 knows, and those that later versions added.
_RIGHTS_OF_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _DEVICE_IOCTL = (2, 1 << 13), (3, 1 << 14), (5, 1 << 15)
_NETWORK, _SCOPES = (4, 0b11), (6, 0b11)  # TCP bind, connect; abstract sockets, signals


def version() -> int:
    """Version of the kernel's interface, at least 1; raises OSError where there is none."""
    return system.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))


def restrict(readable: Iterable[str]) -> None:
    """From now on this process reads below the folders `readable` and touches no other file.

    Nor does it connect, or signal a process outside, where the kernel can refuse that. It holds for
    its children, and what is open stays open. Raises OSError where the kernel has no Landlock.
    """
    known = version()
    rights = _RIGHTS_OF_1
    for since, right in (_REFER, _TRUNCATE, _DEVICE_IOCTL):
        rights |= right if known >= since else 0
    fields = [rights]
    fields += [field if known >= since else 0 for since, field in (_NETWORK, _SCOPES)]
    attributes = struct.pack("<QQQ", *fields)
    # An older kernel takes a longer structure as long as what it does not know is zero.
    ruleset = system.syscall(
        _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    try:
        for folder in readable:
            if os.path.isdir(folder):
                _permit(ruleset, folder)
        system.forbid_new_privileges()
        system.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _permit(ruleset: int, folder: str) -> None:
    fd = os.open(folder, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        rule = struct.pack("<Qi", _READ_FILE | _READ_FOLDER, fd)
        system.syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            rule,
            ctypes.c_uint32(0),
        )
    finally:
        os.close(fd)
