"""Resident memory of an extractor: in a fresh process, and over many programs.

Owns what is run to fill the memory. Runs by path (`python memory.py THREADS`, programs as a JSON
list on stdin) and prints one line of JSON.
"""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from reft_megatron.ops.extractor import Extractor

__all__ = ["main", "of_fresh_process", "resident_mib", "soak"]

_HOG = """def solution():
    taken_{0} = []
    while True:
        taken_{0}.append([0] * 1000)
"""
_HOGS = 64  # enough for every thread to meet one
_SOAK_STEP = 1_000_000


def resident_mib() -> float:
    """MiB of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE / (1 << 20)


def of_fresh_process(programs: Sequence[str], *, threads: int) -> tuple[float, float]:
    """MiB after the import, and after `threads` threads ran `programs` and some that take all
    the memory they may.
    """
    ended = subprocess.run(
        [sys.executable, __file__, str(threads)],
        input=json.dumps(programs),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    start, after = json.loads(ended.stdout)
    return start, after


def soak(programs: Sequence[str], *, count: int) -> Iterator[tuple[int, float]]:
    """Run `programs` over and over, `count` in all; yields (programs so far, MiB) now and then."""
    done, told = 0, 0
    with Extractor(fallback="none", dedup=False) as extractor:
        while done < count:
            extractor.run(programs)
            done += len(programs)
            if done - told >= _SOAK_STEP or done >= count or not told:
                told = done
                yield done, resident_mib()


def main(threads: str) -> None:
    """Say how much memory it was at the start, and how much it is at the end."""
    start = resident_mib()
    programs: list[str] = json.load(sys.stdin)
    with Extractor(threads=int(threads), fallback="none", dedup=False) as extractor:
        for _ in range(3):
            extractor.run(programs + [_HOG.format(hog) for hog in range(_HOGS)])
        print(json.dumps([start, resident_mib()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
