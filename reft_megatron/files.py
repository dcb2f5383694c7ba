"""Writing a file whole or not at all.

Owns the one way in which this package writes a file that somebody may be reading or that a kill may
interrupt: a draft beside it, to the disk, then renamed.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["sync", "write_whole"]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write all of `content` to `path` (text as UTF-8), durably, or leave what was there.

    Raises OSError; no draft is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(path.name + ".tmp")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def sync(path: Path) -> None:
    """Make a file durable, or a folder, which holds the names of the files in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
