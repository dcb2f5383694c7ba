"""Length-prefixed frames between trainer, zygote and runner.

Owns the byte layout, little-endian: a u32 length, then that many bytes. What model code may have
written is read by `struct` and checked field by field; nothing is ever unpickled. Standard library
only: the workers import it too.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from typing import NamedTuple

from ...status import EXCEPTIONS, TEXT_BYTES, Status

__all__ = [
    "CHANNEL",
    "DETAIL_BYTES",
    "ENTRIES",
    "MAX_BODY",
    "FrameReader",
    "Limits",
    "Reply",
    "Request",
    "cut",
    "encode",
    "read_frame",
    "write_all",
]

CHANNEL = 3
"""Descriptor of a worker's socket to the trainer; 0, 1, 2 are /dev/null, and no other is open."""
MAX_BODY = 1 << 20
"""Bytes; a longer body is a protocol error."""
DETAIL_BYTES = 64
"""Bytes of UTF-8 that are kept of a detail."""
ENTRIES = ("solution", "ans", "answer", "stdout", "last_expr")
"""What the answer of a program is: what `solution()` returns, one of two variables, what it prints,
or the value of its last statement. The place here is the number on the wire.
"""

_LENGTH = struct.Struct("<I")
# id, flags, seed, wall_s, memory_bytes, output_bytes, bytes of source
_REQUEST = struct.Struct("<QIQdQII")
# id, status, exception, value; then texts with a u16 length each
_REPLY = struct.Struct("<QBHd")
_TEXT = struct.Struct("<H")
_WANT_TEXT, _SPLIT_NAMESPACES, _ENTRY_SHIFT, _ENTRY_MASK = 1, 2, 8, 7
_ALL_FLAGS = _WANT_TEXT | _SPLIT_NAMESPACES | _ENTRY_MASK << _ENTRY_SHIFT
_CHUNK = 1 << 16
# Kinds of value that go with a status; with any other status only nan does.
_VALUES = {Status.OK: ("finite", "nan"), Status.OK_NONFINITE: ("nan", "infinite")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may use."""

    wall_s: float
    """Wall-clock seconds, from the moment a runner that is ready gets it."""
    memory_bytes: int
    """Address space on top of what the bare worker uses."""
    output_bytes: int
    """Bytes of UTF-8 it may print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One program to run."""

    id: int
    """Number of the job, 64 bits."""
    source: str
    """The program, without lone surrogates."""
    limits: Limits
    """What it may use."""
    seed: int = 0
    """Chance in the program depends on this and on its text alone; 64 bits."""
    entry: str = "solution"
    """One of `ENTRIES`."""
    want_text: bool = False
    """True for str() of the answer, False for float()."""
    split_namespaces: bool = False
    """True to execute the text with globals and locals apart, as the reference does."""

    def pack(self) -> bytes:
        """The body of its frame. Raises ValueError if it is too long, UnicodeEncodeError if the
        source holds lone surrogates.
        """
        source = self.source.encode()
        flags = ENTRIES.index(self.entry) << _ENTRY_SHIFT
        flags |= _WANT_TEXT * self.want_text | _SPLIT_NAMESPACES * self.split_namespaces
        wall_s, memory = self.limits.wall_s, self.limits.memory_bytes
        fields = (self.id, flags, self.seed, wall_s, memory, self.limits.output_bytes, len(source))
        body = _REQUEST.pack(*fields) + source
        if len(body) > MAX_BODY:
            raise ValueError(f"a frame holds at most {MAX_BODY} bytes, saw {len(body)}.")
        return body

    @classmethod
    def unpack(cls, body: bytes) -> Request:
        """The request of a body; raises ValueError if it is out of form."""
        if len(body) < _REQUEST.size:
            raise ValueError("a request is cut short.")
        job, flags, seed, wall_s, memory, output, size = _REQUEST.unpack_from(body)
        entry = flags >> _ENTRY_SHIFT & _ENTRY_MASK
        if size != len(body) - _REQUEST.size or flags & ~_ALL_FLAGS or entry >= len(ENTRIES):
            raise ValueError("a request is out of form.")
        return cls(
            id=job,
            source=body[_REQUEST.size :].decode(),
            limits=Limits(wall_s=wall_s, memory_bytes=memory, output_bytes=output),
            seed=seed,
            entry=ENTRIES[entry],
            want_text=bool(flags & _WANT_TEXT),
            split_namespaces=bool(flags & _SPLIT_NAMESPACES),
        )


class Reply(NamedTuple):
    """What became of one program."""

    status: Status
    """How it ended."""
    exc: int = 0
    """Number of the exception type (`ops.status.EXCEPTIONS`) of a program that raised or does not
    compile; else 0.
    """
    value: float = float("nan")
    """The number; nan unless the status is OK or OK_NONFINITE, and where text was wanted."""
    text: str = ""
    """The start of str() of the answer, if that was wanted: at most `TEXT_BYTES`."""
    detail: str = ""
    """Type of the result, or of the exception; what was denied; what broke."""

    def pack(self, job: int) -> bytes:
        """The body of its frame; text and detail are cut to what a frame may hold."""
        text, detail = cut(self.text, TEXT_BYTES), cut(self.detail, DETAIL_BYTES)
        head = _REPLY.pack(job, self.status, self.exc, self.value)
        return head + _TEXT.pack(len(text)) + text + _TEXT.pack(len(detail)) + detail

    @classmethod
    def unpack(cls, body: bytes) -> tuple[int, Reply]:
        """The job's number and the reply; model code may have written it, so nothing is taken on
        trust. Raises ValueError if it is out of form.
        """
        if len(body) < _REPLY.size:
            raise ValueError("a reply is cut short.")
        job, code, exc, value = _REPLY.unpack_from(body)
        text, rest = _take_text(body, _REPLY.size, most=TEXT_BYTES)
        detail, end = _take_text(body, rest, most=DETAIL_BYTES)
        status = Status(code)
        if end != len(body) or exc > len(EXCEPTIONS) or (text and status is not Status.OK):
            raise ValueError("a reply is out of form.")
        kinds = _VALUES.get(status, ("nan",))
        if _kind(value) not in kinds:
            raise ValueError("the value of a reply does not fit its status.")
        return job, cls(status=status, exc=exc, value=value, text=text, detail=detail)


def cut(text: str, most: int) -> bytes:
    """UTF-8 of the start of `text`, at most `most` bytes, ending with a whole character."""
    start = text[:most].encode(errors="replace")
    return start if len(start) <= most else start[:most].decode(errors="ignore").encode()


def encode(body: bytes) -> bytes:
    """One frame; raises ValueError if the body is longer than `MAX_BODY`."""
    if len(body) > MAX_BODY:
        raise ValueError(f"a frame holds at most {MAX_BODY} bytes, saw {len(body)}.")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream back into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes; raises ValueError on an overlong one."""
        self._buffer += data
        bodies = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_BODY:
                raise ValueError(f"a frame holds at most {MAX_BODY} bytes, saw {length}.")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return bodies


def read_frame(fd: int) -> bytes | None:
    """Block for one body; None at the end of the stream, or where it is out of form."""
    header = _read_exactly(fd, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    return _read_exactly(fd, length) if length <= MAX_BODY else None


def write_all(fd: int, data: bytes) -> None:
    """Block until all of `data` is written; raises OSError if the other end is gone."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _kind(value: float) -> str:
    if math.isnan(value):
        return "nan"
    return "infinite" if math.isinf(value) else "finite"


def _take_text(body: bytes, start: int, *, most: int) -> tuple[str, int]:
    begin = start + _TEXT.size
    if len(body) < begin:
        raise ValueError("a reply is cut short.")
    (size,) = _TEXT.unpack_from(body, start)
    if size > most or len(body) < begin + size:
        raise ValueError("a text in a reply is too long.")
    return body[begin : begin + size].decode(), begin + size


def _read_exactly(fd: int, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        data = os.read(fd, min(size - len(parts), _CHUNK))
        if not data:
            return None
        parts += data
    return bytes(parts)
