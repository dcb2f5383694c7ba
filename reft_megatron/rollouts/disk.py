"""What is said of a disk that refuses.

Owns the one sentence that ledger, journal and store end a run with when they cannot write.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from reft_megatron.errors import DataError

__all__ = ["reason", "refused"]


@contextlib.contextmanager
def refused(path: Path, *, nbytes: int = 0) -> Iterator[None]:
    """DataError if the block, which writes about `nbytes` bytes to `path`, meets an OSError."""
    try:
        yield
    except OSError as error:
        needed = f"; it takes about {nbytes:,} bytes" if nbytes else ""
        raise DataError(
            f"cannot write {path}: {reason(error)}{needed}. What was written before is whole. Free "
            "the disk or choose another folder, then resume."
        ) from error


def reason(error: OSError) -> str:
    """What the system says, without the words that pyarrow puts around it."""
    return os.strerror(error.errno) if error.errno else str(error)
