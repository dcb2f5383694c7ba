"""`reft-megatron rollouts`: what a run sampled, read from its ledger.

Owns how rollouts are picked, counted, shown and exported; `rollouts.ledger` owns what is on disk.
A ledger may be larger than memory, so everything here takes it in a little at a time.
"""

from __future__ import annotations

from reft_megatron.commands.rollouts.command import parser, run

__all__ = ["parser", "run"]
