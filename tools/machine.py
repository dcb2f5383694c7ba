"""What every benchmark says of the machine before its figures."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

__all__ = ["describe_machine"]


def describe_machine(*packages: str) -> str:
    """One line: processor, cores, load, system, Python, and the versions of `packages`."""
    cpu = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} CPUs, load {load}; Linux {platform.release()}, "
        f"Python {platform.python_version()}, {versions}."
    )
