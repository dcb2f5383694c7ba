"""What a worker process takes away from itself before it meets model code.

Owns resource limits, the order in which rights are given up, and the audit hook that refuses at the
Python level what the kernel refuses below it. Each step that the machine does not offer is named in
the description that travels to the trainer. Standard library only.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterable
from typing import Any

from . import landlock, seccomp, system

__all__ = ["address_space", "attempt", "lock_runner", "lock_zygote", "refuse_events"]

_OPEN_FILES = 64
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Audit events of ordinary computing and of importing a module; any other event is refused.
_HARMLESS = frozenset(
    {
        "array.__new__",
        "builtins.id",
        "code.__new__",
        "compile",
        "exec",
        "function.__new__",
        "import",
        "marshal.loads",
        "object.__delattr__",
        "object.__getattr__",
        "object.__setattr__",
        "os.listdir",
        "os.scandir",
        "sys._getframe",
        "sys._getframemodulename",
        "sys.unraisablehook",
    }
)


def lock_zygote(readable: list[str]) -> dict[str, str]:
    """Lock a freshly started worker, which still reads below the folders `readable`.

    Returns what is in force, by name: `on`, or `off: ` and why.
    """
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        resource.setrlimit(limit, (value, value))
    return {
        "rlimits": "on",
        "audit_hook": "on",
        "no_new_privileges": attempt(system.forbid_new_privileges),
        "landlock": attempt(lambda: landlock.restrict(readable)),
        "seccomp": attempt(lambda: seccomp.install(seccomp.ZYGOTE)),
    }


def lock_runner(
    *, parent: int, in_force: dict[str, str], memory_bytes: int, cpu_seconds: int
) -> None:
    """Lock a forked runner: memory and CPU limits, no new process, no signal to anyone.

    Raises OSError if a step fails that worked for the zygote: never silently weaker.
    """
    if in_force["parent_death"] == "on":
        system.die_with_parent()  # fork cleared the zygote's own request
        if os.getppid() != parent:
            os._exit(0)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))  # SIGXCPU, SIGKILL
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if in_force["seccomp"] == "on":
        seccomp.install(seccomp.RUNNER)


def address_space() -> int:
    """Bytes of address space in use by this process; 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def refuse_events(readable: Iterable[str], told: Callable[[str], None]) -> None:
    """Refuse, with PermissionError, each audit event that is not ordinary computing.

    Files below the folders `readable` may be read, because libraries import parts of themselves
    late. `told` is called with each refused event before the error is raised. The hook cannot be
    removed for the life of the process.
    """
    prefixes = tuple(folder.rstrip("/") + "/" for folder in readable)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _HARMLESS:
            return
        if event == "open" and _reads(arguments, prefixes):
            return
        told(event)
        raise PermissionError(errno.EPERM, f"denied: {event}")

    sys.addaudithook(hook)


def attempt(step: Callable[[], None]) -> str:
    """Take a step that the machine may refuse: `on`, or `off: ` and why."""
    try:
        step()
    except OSError as error:
        return f"off: {error.strerror or error}"
    return "on"


def _reads(arguments: tuple[Any, ...], prefixes: tuple[str, ...]) -> bool:
    path, _, flags = arguments
    below = isinstance(path, str) and path.startswith(prefixes) and "/../" not in path
    return below and not flags & _WRITING
