"""How much memory the processes of this machine may still take.

Owns reading what the system has free, and what a container or a job is allowed: a control group
(cgroup) ends a process that takes more, however much the machine has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types

__all__ = ["free_memory"]

_MEMBERSHIP, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What one version of the kernel's interface calls the files of a group."""

    limit: str
    used: str
    cached: tuple[str, str]
    """Lines of `memory.stat`: files in memory, which the kernel drops when memory is asked for."""


_V1 = _Files(
    limit="memory.limit_in_bytes",
    used="memory.usage_in_bytes",
    cached=("total_active_file", "total_inactive_file"),
)
_V2 = _Files(limit="memory.max", used="memory.current", cached=("active_file", "inactive_file"))


def free_memory(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> int:
    """Bytes that are free on this machine, or as many as the limits of its cgroups leave, if fewer.

    `membership` lists the groups of this process, `mount` is where groups are folders.
    """
    return min([psutil.virtual_memory().available, *_left(membership, mount)])


def _left(membership: Path, mount: Path) -> Iterator[int]:
    """What each group of this process that has a limit leaves, and each group around it."""
    lines = membership.read_text().splitlines() if membership.is_file() else []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, files = mount, _V2
        elif "memory" in controllers.split(","):
            top, files = mount / "memory", _V1
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            # A container may not see the folder of its group, only the top: its limit is there.
            if folder.is_relative_to(top) and (folder / files.limit).is_file():
                yield from _left_in(folder, files)


def _left_in(folder: Path, files: _Files) -> Iterator[int]:
    limit = (folder / files.limit).read_text().strip()
    if limit == "max":
        return
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    used = int((folder / files.used).read_text()) - sum(int(stat[name]) for name in files.cached)
    yield max(0, int(limit) - used)
