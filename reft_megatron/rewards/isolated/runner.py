"""The process that runs model programs, forked by the zygote.

Owns the loop: read a job, say which kind it is, run it, reply, and retire in time. The mark is sent
before the first line of model code runs, so no program can forge it: `KEEP` of a program that can
leave no trace (the process takes more jobs), `RETIRE` of any other (the zygote kills the process
after the reply). Standard library only.
"""

from __future__ import annotations

import gc
import json
import os
import random
import time
from dataclasses import dataclass
from typing import Any

from . import frames, lockdown, program

__all__ = ["KEEP", "RETIRE", "SEED", "Limits", "serve"]

KEEP = b"K"
RETIRE = b"R"
SEED = 0

_PROGRAMS_PER_RUNNER = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may use."""

    timeout_s: float
    """Wall-clock seconds; the zygote enforces them."""
    memory_bytes: int
    """Address space on top of what the bare worker uses."""
    output_chars: int
    """Characters it may print."""


def serve(*, jobs: int, replies: int, limits: Limits, readable: list[str]) -> None:
    """Run jobs from the pipe `jobs` until it ends or this process is used up.

    The process is locked down already, but for the audit hook. After a program that ran out of
    memory or took its time, the next one gets a fresh process.
    """
    lockdown.refuse_events(readable)
    random.seed(SEED)  # here, because the module draws a new seed after a fork
    for _ in range(_PROGRAMS_PER_RUNNER):
        frame = frames.read_frame(jobs)
        if frame is None:
            break
        job, body = frame
        report = _answer(json.loads(body), replies=replies, limits=limits)
        gc.collect()  # before the reply: what a program does while it is cleared away is its own
        frames.write_all(replies, frames.encode(job, json.dumps(report).encode()))
        if report["status"] == "memory" or time.process_time() > limits.timeout_s:
            break


def _answer(request: dict[str, Any], *, replies: int, limits: Limits) -> program.Report:
    try:
        code = program.compile_program(request["source"])
    except Exception as error:  # a parser out of stack or memory included
        os.write(replies, KEEP)
        return program.report("syntax_error", detail=type(error).__name__)
    os.write(replies, KEEP if program.leaves_no_trace(code) else RETIRE)
    return program.run_program(
        code,
        want=request["want"],
        split_namespaces=request["split_namespaces"],
        output_chars=limits.output_chars,
    )
