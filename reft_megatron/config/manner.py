"""The manner of a run: settings that say how it is done, not what comes out.

Owns the list, for whoever asks whether two runs are alike: a run that goes on from a checkpoint,
and a pipeline that finds a stage done.
"""

from __future__ import annotations

__all__ = ["MANNER"]

MANNER = (
    *("run.dir", "run.name", "run.resume", "run.threads", "run.collective_timeout_s", "parallel."),
    *("model.recompute", "model.reference_waits"),
    *("generate.slots", "generate.prefill_tokens", "generate.unwatched_steps"),
    *("rollouts.record", "rollouts.mismatch_"),
    *("rewards.threads", "rewards.workers", "rewards.isolation"),
    *("rewards.audit", "rewards.max_false_"),
    *("checkpoint.", "log."),
)
"""Beginnings of dotted keys, as `str.startswith` takes them. Up to rounding nothing that a run
leaves depends on these; an audit lets a run start, or not."""
