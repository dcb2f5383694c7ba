"""The process that runs programs one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SERVE = """
from ops.workers.isolated import frames, runner
def serve(sources, wall_s=60.0):
    requests, feed = os.pipe()
    heard, replies = os.pipe()
    limits = frames.Limits(wall_s=wall_s, memory_bytes=0, output_bytes=10)
    for job, source in enumerate(sources, 10):
        request = frames.Request(id=job, source=source, limits=limits)
        frames.write_all(feed, frames.encode(request.pack()))
    os.close(feed)
    runner.serve(requests=requests, replies=replies, readable=[])
    os.close(replies)
    data, found = os.read(heard, 1 << 16), []
    assert data[:1] == b"A"
    data = data[1:]
    while data:
        size = int.from_bytes(data[1:5], "little")
        job, reply = frames.Reply.unpack(data[5:5 + size])
        found.append([data[:1].decode(), job, reply.status.name])
        data = data[5 + size:]
    return found
"""


def test_each_program_gets_a_mark_and_a_reply(in_fresh_process: Callable[[str], Any]) -> None:
    sources = [
        "def solution():\n    return 1",
        "def solution():\n    import re\n    return 1",
        "def solution(:",
        "def solution():\n    return '\\ud800'",
        "-" * 10_000 + "1",
        "x = 1\0",
    ]
    found = in_fresh_process(f"{SERVE}\nprint(json.dumps(serve({sources!r})))")
    assert found == [
        ["K", 10, "OK"],
        ["R", 11, "OK"],
        ["K", 12, "SYNTAX_ERROR"],
        ["K", 13, "NON_NUMERIC"],
        ["K", 14, "INPUT_LIMIT"],
        ["K", 15, "SYNTAX_ERROR"],
    ]


def test_it_retires_after_running_out_of_memory(in_fresh_process: Callable[[str], Any]) -> None:
    sources = ["def solution():\n    raise MemoryError", "def solution():\n    return 1"]
    found = in_fresh_process(f"{SERVE}\nprint(json.dumps(serve({sources!r})))")
    assert found == [["K", 10, "MEMORY_LIMIT"]]


def test_it_retires_after_a_long_program(in_fresh_process: Callable[[str], Any]) -> None:
    sources = ["def solution():\n    return sum(range(10**5))"] * 2
    found = in_fresh_process(f"{SERVE}\nprint(json.dumps(serve({sources!r}, wall_s=0.001)))")
    assert found == [["K", 10, "OK"]]


def test_it_retires_after_its_share_of_programs(in_fresh_process: Callable[[str], Any]) -> None:
    code = f"""{SERVE}
runner._PROGRAMS_PER_RUNNER = 3
print(json.dumps(serve(["def solution():\\n    return 1"] * 5)))
"""
    assert [job for _, job, _ in in_fresh_process(code)] == [10, 11, 12]
