"""The byte layout between trainer and workers."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reft_megatron.rewards.isolated import frames

FRAMES = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=8)


@given(sent=FRAMES, piece=st.integers(1, 400))
def test_any_cutting_gives_the_same_frames(sent: list[tuple[int, bytes]], piece: int) -> None:
    stream = b"".join(frames.encode(job, body) for job, body in sent)
    reader = frames.FrameReader()
    got = []
    for start in range(0, len(stream), piece):
        got += reader.feed(stream[start : start + piece])
    assert got == sent


def test_layout_is_little_endian_length_job_body() -> None:
    assert frames.encode(258, b"xyz") == b"\x03\0\0\0" + b"\x02\x01\0\0\0\0\0\0" + b"xyz"


def test_pipe_round_trip_and_end() -> None:
    read, write = os.pipe()
    frames.write_all(write, frames.encode(7, b"body"))
    os.write(write, b"\x05\0\0\0")  # a frame cut off
    os.close(write)
    assert frames.read_frame(read) == (7, b"body")
    assert frames.read_frame(read) is None
    os.close(read)


def test_overlong_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="a frame holds at most 1048576 bytes, saw 1048577"):
        frames.encode(1, bytes(frames.MAX_BODY + 1))
    with pytest.raises(ValueError, match="a frame holds at most 1048576 bytes, saw 1048577"):
        frames.FrameReader().feed(struct.pack("<IQ", frames.MAX_BODY + 1, 1))
