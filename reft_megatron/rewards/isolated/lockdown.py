"""What a worker process takes away from itself before it meets model code.

Owns resource limits, death with the parent, the seccomp filters' use, and the audit hook that
refuses at the Python level what the filters refuse at the kernel's. Each step that the machine does
not offer is named in the description that travels to the trainer. Standard library only.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

from . import seccomp

__all__ = ["address_space", "die_with_parent", "lock_runner", "lock_zygote", "refuse_events"]

_PR_SET_PDEATHSIG = 1
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


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent dies; exit at once if it died already.

    Raises OSError where the kernel has no such request.
    """
    seccomp.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)


def lock_zygote(parent: int) -> dict[str, str]:
    """Lock a freshly started worker; returns what is in force, by name."""
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        resource.setrlimit(limit, (value, value))
    in_force = {"rlimits": "on", "audit_hook": "on"}
    in_force["parent_death_signal"] = _attempt(lambda: die_with_parent(parent))
    in_force["seccomp"] = _attempt(lambda: seccomp.install(seccomp.ZYGOTE))
    return in_force


def lock_runner(
    *, parent: int, in_force: dict[str, str], memory_bytes: int, cpu_seconds: int
) -> None:
    """Lock a forked runner: memory and CPU limits, no new process, no signal to anyone.

    Raises OSError if a step fails that worked for the zygote: never silently weaker.
    """
    if in_force["parent_death_signal"] == "on":
        die_with_parent(parent)  # fork cleared the zygote's own request
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


def refuse_events(readable: Iterable[str]) -> None:
    """Refuse, with PermissionError, each audit event that is not ordinary computing.

    Files below the folders `readable` may be read, because libraries import parts of themselves
    late. The hook cannot be removed for the life of the process.
    """
    prefixes = tuple(folder.rstrip("/") + "/" for folder in readable)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _HARMLESS:
            return
        if event == "open" and _reads(arguments, prefixes):
            return
        raise PermissionError(f"denied: {event}")

    sys.addaudithook(hook)


def _reads(arguments: tuple[Any, ...], prefixes: tuple[str, ...]) -> bool:
    path, _, flags = arguments
    below = isinstance(path, str) and path.startswith(prefixes) and "/../" not in path
    return below and not flags & _WRITING


def _attempt(step: Callable[[], None]) -> str:
    try:
        step()
    except OSError as error:
        return f"off: {error}"
    return "on"
