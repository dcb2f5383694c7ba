"""The process that runs model programs, forked by the zygote.

Owns the loop: read a request, say which kind it is, run it, reply, and retire in time. The marks
are sent before the first line of model code runs, so no program can forge them: `READY` once when
the process is locked; then, for each program, `KEEP` if it can leave no trace (the process takes
more), `RETIRE` if it may (the zygote kills the process after the reply). Standard library only.
"""

from __future__ import annotations

import gc
import os
import time

from ...status import Status, exception_number
from . import chance, frames, lockdown, program

__all__ = ["KEEP", "READY", "RETIRE", "serve"]

READY, KEEP, RETIRE = b"A", b"K", b"R"

_PROGRAMS_PER_RUNNER = 200


def serve(*, requests: int, replies: int, readable: list[str]) -> None:
    """Run programs from the pipe `requests` until it ends or this process is used up.

    The process is locked down already, but for the audit hook. After a program that ran out of
    memory or took its time, the next one gets a fresh process.
    """
    lockdown.refuse_events(readable, program.REFUSALS.note_event)
    os.write(replies, READY)
    for _ in range(_PROGRAMS_PER_RUNNER):
        body = frames.read_frame(requests)
        if body is None:
            break
        request = frames.Request.unpack(body)
        reply = _answer(request, replies)
        gc.collect()  # before the reply: what a program does while it is cleared away is its own
        frames.write_all(replies, frames.encode(reply.pack(request.id)))
        long = time.process_time() > request.limits.wall_s
        if reply.status is Status.MEMORY_LIMIT or long:
            break


def _answer(request: frames.Request, replies: int) -> frames.Reply:
    try:
        compiled = program.compile_program(request.source, request.entry)
    except (MemoryError, RecursionError) as error:  # a parser or compiler out of stack
        os.write(replies, KEEP)
        return frames.Reply(status=Status.INPUT_LIMIT, detail=type(error).__name__)
    except Exception as error:
        os.write(replies, KEEP)
        kind = type(error)
        number = exception_number(kind)
        return frames.Reply(status=Status.SYNTAX_ERROR, exc=number, detail=kind.__name__)
    codes = filter(None, (compiled.body, compiled.last))
    if all(program.leaves_no_trace(code) for code in codes):
        os.write(replies, KEEP)
    else:
        os.write(replies, RETIRE)
        chance.seed_chance(request.seed, request.source)
    return program.run_program(compiled, request)
