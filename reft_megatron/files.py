"""Writing a file whole or not at all, and knowing it again.

Owns the one way in which this package writes a file that somebody may be reading or that a kill may
interrupt: a draft beside it, to the disk, then renamed. And checksums; a large file that is
summed up, and sent to the disk, while it is written; a thread that sends others.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import xxhash

from reft_megatron.closing import Closing

__all__ = ["WRITE_BYTES", "Flusher", "LargeFile", "checksum", "drafting", "sync", "write_whole"]

WRITE_BYTES = 1 << 17
"""Bytes to give a large file at once. Larger writes get larger pages of the page cache, which a
busy Linux looks for up to six times as long."""
_FLUSH_BYTES, _SEND_BYTES = 64 << 20, 4 << 20


def write_whole(path: Path, content: str | bytes) -> None:
    """Write all of `content` to `path` (text as UTF-8), durably, or leave what was there.

    Raises OSError; no draft is left behind.
    """
    with drafting(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def drafting(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file under; `path` is that file once the block has ended.

    Raises OSError; where the block or the disk fails, what was there is left, and no draft.
    """
    draft = path.with_name(path.name + ".tmp")
    try:
        yield draft
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    except BaseException:
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


def checksum(path: Path) -> str:
    """XXH3-128 of a file, in hexadecimal: it finds damage, at several times SHA-256's speed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


class LargeFile(Closing):
    """A new file, written from beginning to end: meanwhile it is summed up and sent to the disk.

    It is durable once `sync` was called, which then finds little left to do.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._sum = xxhash.xxh3_128()
        self._sent = 0
        self.size = 0
        """Bytes written so far."""

    @property
    def checksum(self) -> str:
        """What `checksum` gives for what was written so far."""
        return self._sum.hexdigest()

    def write(self, content: bytes | memoryview) -> None:
        """Write all of `content`, of single bytes; raises OSError."""
        self._sum.update(content)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest[:WRITE_BYTES]) :]
        self.size += len(content)
        if self.size - self._sent >= _SEND_BYTES:
            # Linux begins to write pages of which this is said; until they are written they stay.
            where = (self._sent, self.size - self._sent)
            os.posix_fadvise(self._file.fileno(), *where, os.POSIX_FADV_DONTNEED)
            self._sent = self.size

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()


class Flusher:
    """Brings an open file to the disk in a thread, so that little is left to do at its end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        self._waiting = 0

    def wrote(self, nbytes: int) -> None:
        """Tell of `nbytes` more; OSError if the disk refused what came before."""
        self._waiting += nbytes
        if self._waiting >= _FLUSH_BYTES and (self._last is None or self._last.done()):
            self._hear()
            self._last = self._thread.submit(os.fdatasync, self._descriptor)
            self._waiting = 0

    def close(self) -> None:
        """Wait for the thread; the file can then be closed. OSError as in `wrote`."""
        self._thread.shutdown()
        self._hear()

    def _hear(self) -> None:
        # The system tells a descriptor of a failure once: whoever synchronises later hears of none.
        last, self._last = self._last, None
        if last is not None:
            last.result()
