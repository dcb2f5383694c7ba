"""Length-prefixed frames between trainer, zygote and runner.

Owns the byte layout: a little-endian header (body length u32, job number u64), then the body, which
is JSON in ASCII. Nothing is ever unpickled. Standard library only: the workers import it too.
"""

from __future__ import annotations

import os
import struct

__all__ = ["MAX_BODY", "FrameReader", "encode", "read_frame", "write_all"]

MAX_BODY = 1 << 20
"""Bytes; a longer body is a protocol error."""

_HEADER = struct.Struct("<IQ")
_CHUNK = 1 << 16


def encode(job: int, body: bytes) -> bytes:
    """One frame; raises ValueError if the body is longer than `MAX_BODY`."""
    if len(body) > MAX_BODY:
        raise ValueError(f"a frame holds at most {MAX_BODY} bytes, saw {len(body)}.")
    return _HEADER.pack(len(body), job) + body


class FrameReader:
    """Cuts a byte stream back into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The (job, body) pairs that `data` completes; raises ValueError on an overlong one."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= _HEADER.size:
            length, job = _HEADER.unpack_from(self._buffer)
            if length > MAX_BODY:
                raise ValueError(f"a frame holds at most {MAX_BODY} bytes, saw {length}.")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append((job, bytes(self._buffer[_HEADER.size : end])))
            del self._buffer[:end]
        return frames


def read_frame(fd: int) -> tuple[int, bytes] | None:
    """Block for one frame; None at the end of the stream."""
    header = _read_exactly(fd, _HEADER.size)
    if header is None:
        return None
    length, job = _HEADER.unpack(header)
    body = _read_exactly(fd, length) if length <= MAX_BODY else None
    return None if body is None else (job, body)


def write_all(fd: int, data: bytes) -> None:
    """Block until all of `data` is written; raises OSError if the other end is gone."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _read_exactly(fd: int, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        data = os.read(fd, min(size - len(parts), _CHUNK))
        if not data:
            return None
        parts += data
    return bytes(parts)
