"""Isolated CPython workers: they run the programs that the C++ core does not.

    with WorkerPool(workers=2, wall_s=2.0) as pool:
        for reply in pool.run(["def solution():\\n    return 7"]):
            reply.status, reply.value  # Status.OK, 7.0

`pool` schedules, `process` is the trainer's end of one worker, `isolated` is what runs inside.
"""

from reft_megatron.ops.workers.isolated.frames import Reply
from reft_megatron.ops.workers.pool import WorkerPool

__all__ = ["Reply", "WorkerPool"]
