"""The byte layout between trainer and workers."""

from __future__ import annotations

import contextlib
import math
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reft_megatron.ops.status import EXCEPTIONS, TEXT_BYTES, Status
from reft_megatron.ops.workers.isolated import frames
from reft_megatron.ops.workers.isolated.frames import Limits, Reply, Request

FRAMES = st.lists(st.binary(max_size=300), max_size=8)
LIMITS = Limits(wall_s=2.5, memory_bytes=1 << 40, output_bytes=7)
REQUESTS = st.builds(
    Request,
    id=st.integers(0, 2**64 - 1),
    source=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    limits=st.just(LIMITS),
    seed=st.integers(0, 2**64 - 1),
    entry=st.sampled_from(frames.ENTRIES),
    want_text=st.booleans(),
    split_namespaces=st.booleans(),
)


@given(sent=FRAMES, piece=st.integers(1, 400))
def test_any_cutting_gives_the_same_frames(sent: list[bytes], piece: int) -> None:
    stream = b"".join(frames.encode(body) for body in sent)
    reader = frames.FrameReader()
    got = []
    for start in range(0, len(stream), piece):
        got += reader.feed(stream[start : start + piece])
    assert got == sent


def test_the_layout_of_a_request() -> None:
    request = Request(
        id=258, source="\u00e9", limits=LIMITS, seed=3, entry="answer", split_namespaces=True
    )
    assert request.pack() == (
        b"\x02\x01\0\0\0\0\0\0"  # id
        + b"\x02\x02\0\0"  # flags: split namespaces, entry 2
        + b"\x03\0\0\0\0\0\0\0"  # seed
        + struct.pack("<d", 2.5)
        + b"\0\0\0\0\0\x01\0\0"  # memory
        + b"\x07\0\0\0"  # output
        + b"\x02\0\0\0\xc3\xa9"  # source
    )


@given(request=REQUESTS)
def test_a_request_comes_back(request: Request) -> None:
    assert Request.unpack(request.pack()) == request


def test_requests_that_are_none() -> None:
    body = Request(id=1, source="x", limits=LIMITS).pack()
    unknown = bytearray(body)
    for bad in (b"", body[:20], body + b"x", body[:-1]):
        with pytest.raises(ValueError, match="request is"):
            Request.unpack(bad)
    for place, value in ((8, 4), (9, 7), (10, 1)):  # unknown flags, an unknown entry
        unknown[:] = body
        unknown[place] = value
        with pytest.raises(ValueError, match="out of form"):
            Request.unpack(bytes(unknown))
    with pytest.raises(UnicodeEncodeError):
        Request(id=1, source="\ud800", limits=LIMITS).pack()
    with pytest.raises(ValueError, match="holds at most 1048576 bytes"):
        Request(id=1, source="x" * (1 << 20), limits=LIMITS).pack()


def test_the_layout_of_a_reply() -> None:
    reply = Reply(status=Status.OK, value=1.5, text="C", detail="str")
    assert reply.pack(258) == (
        b"\x02\x01\0\0\0\0\0\0\x00\0\0" + struct.pack("<d", 1.5) + b"\x01\0C\x03\0str"
    )
    assert Reply.unpack(reply.pack(258)) == (258, reply)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=Status.OK_NONFINITE, value=-math.inf),
        Reply(status=Status.OK, value=-0.0, detail="float"),
        Reply(status=Status.RUNTIME_ERROR, exc=68, detail="Custom"),
    ],
)
def test_a_reply_comes_back(reply: Reply) -> None:
    assert repr(Reply.unpack(reply.pack(5))) == repr((5, reply))


def head(*, status: int = 0, exc: int = 0, value: float = 1.0) -> bytes:
    return struct.pack("<QBHd", 1, status, exc, value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        head(),
        head() + b"\0\0",
        head() + b"\0\0\0\0extra",
        head() + b"\x01\0",
        head() + b"\x01\0\xff\0\0",  # no UTF-8
        head() + struct.pack("<H", 65) + b"x" * 65 + b"\0\0",
        head(status=16) + b"\0\0\0\0",
        head(status=200) + b"\0\0\0\0",
        head(exc=len(EXCEPTIONS) + 1) + b"\0\0\0\0",
        head(value=math.inf) + b"\0\0\0\0",  # OK is finite
        head(status=1) + b"\0\0\0\0",
        head(status=5) + b"\0\0\0\0",  # an error has no value
        head(status=5, value=math.nan) + b"\x01\0x\0\0",  # nor a text
    ],
)
def test_nothing_in_a_reply_is_taken_on_trust(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # many messages, all fatal
        Reply.unpack(body)


@given(body=st.binary(max_size=60))
def test_any_bytes_are_a_reply_or_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        Reply.unpack(head() + body)


@pytest.mark.parametrize("text", ["", "C", "x" * 200, "\u00e9" * 64, "x\U0001f600" * 40, "\ud800"])
def test_texts_are_cut_at_a_character(text: str) -> None:
    cut = frames.cut(text, TEXT_BYTES)
    assert len(cut) <= TEXT_BYTES
    assert text.encode(errors="replace").startswith(cut)
    assert len(cut) > TEXT_BYTES - 4 or cut.decode() == text.replace("\ud800", "?")
    cut.decode()


def test_pipe_round_trip_and_end() -> None:
    read, write = os.pipe()
    frames.write_all(write, frames.encode(b"body"))
    os.write(write, b"\x05\0\0\0")  # a frame cut off
    os.close(write)
    assert frames.read_frame(read) == b"body"
    assert frames.read_frame(read) is None
    os.close(read)


def test_overlong_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="a frame holds at most 1048576 bytes, saw 1048577"):
        frames.encode(bytes(frames.MAX_BODY + 1))
    with pytest.raises(ValueError, match="a frame holds at most 1048576 bytes, saw 1048577"):
        frames.FrameReader().feed(struct.pack("<I", frames.MAX_BODY + 1))
