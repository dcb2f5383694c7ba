"""The process that runs programs one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SERVE = """
from isolated import frames, runner
def serve(sources, timeout_s=60.0):
    jobs, feed = os.pipe()
    heard, replies = os.pipe()
    for job, source in enumerate(sources, 10):
        request = {"source": source, "want": "number", "split_namespaces": False}
        frames.write_all(feed, frames.encode(job, json.dumps(request).encode()))
    os.close(feed)
    limits = runner.Limits(timeout_s=timeout_s, memory_bytes=0, output_chars=10)
    runner.serve(jobs=jobs, replies=replies, limits=limits, readable=[])
    os.close(replies)
    found = []
    data = os.read(heard, 1 << 16)
    while data:
        size = int.from_bytes(data[1:5], "little")
        body = json.loads(data[13:13 + size])
        found.append([data[:1].decode(), int.from_bytes(data[5:13], "little"), body["status"]])
        data = data[13 + size:]
    return found
"""


def test_each_job_gets_a_mark_and_a_reply(in_fresh_process: Callable[[str], Any]) -> None:
    sources = [
        "def solution():\n    return 1",
        "def solution():\n    import re\n    return 1",
        "def solution(:",
        "def solution():\n    return '\\ud800'",
    ]
    found = in_fresh_process(f"{SERVE}\nprint(json.dumps(serve({sources!r})))")
    assert found == [
        ["K", 10, "ok"],
        ["R", 11, "ok"],
        ["K", 12, "syntax_error"],
        ["K", 13, "non_numeric"],
    ]


def test_it_retires_after_running_out_of_memory(in_fresh_process: Callable[[str], Any]) -> None:
    sources = ["def solution():\n    raise MemoryError", "def solution():\n    return 1"]
    found = in_fresh_process(f"{SERVE}\nprint(json.dumps(serve({sources!r})))")
    assert found == [["K", 10, "memory"]]


def test_it_retires_after_a_long_program(in_fresh_process: Callable[[str], Any]) -> None:
    sources = ["def solution():\n    return sum(range(10**5))"] * 2
    found = in_fresh_process(f"{SERVE}\nprint(json.dumps(serve({sources!r}, timeout_s=0.001)))")
    assert found == [["K", 10, "ok"]]


def test_it_retires_after_its_share_of_programs(in_fresh_process: Callable[[str], Any]) -> None:
    code = f"""{SERVE}
runner._PROGRAMS_PER_RUNNER = 3
print(json.dumps(serve(["def solution():\\n    return 1"] * 5)))
"""
    assert [job for _, job, _ in in_fresh_process(code)] == [10, 11, 12]
