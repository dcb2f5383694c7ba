"""The ledger that a recipe learns from, one from its start to its end.

Owns opening the one that the settings name, and remembering what it held: a run that went on with
another, or with the same one grown, would visit other rollouts than it began with. One that grows
while the run is at work is read as far as it was whole at the start, by all ranks alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.files import write_whole
from reft_megatron.recipes.collection import ledger_at
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.ledger import Ledger

__all__ = ["LearntLedger", "open_ledger", "remember"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntLedger:
    """What was sealed of a ledger when the run opened it."""

    ledger: Ledger
    """Where it is."""
    iterations: Sequence[int]
    """Those sealed, ascending."""
    fingerprint: str
    """A digest of them (`Ledger.fingerprint`)."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Their rows: a source as `rollouts.views` reads it."""
        for _, batch in self.ledger.scan(columns, iterations=self.iterations):
            yield batch


def open_ledger(session: Session, folder: str) -> LearntLedger:
    """The ledger in `folder`, the recipe's setting `ledger`, as the main rank finds it.

    Raises ConfigError, on every rank, if it is not set or holds nothing, and DataError if it is of
    another task or tokenizer.
    """
    setting = f"{session.recipe}.ledger"
    if not folder:
        raise ConfigError(
            f"{session.recipe} learns from recorded rollouts: set {setting} to the ledger of a run "
            "(the folder `ledger` that the recipe sample leaves)."
        )
    ledger = ledger_at(session, folder)
    found: tuple[list[int], str] | None = None
    with session.mesh.world.together():
        if session.mesh.main:
            found = ledger.iterations(), ledger.fingerprint()
            if not found[0]:
                raise ConfigError(
                    f"{setting}={folder} holds no sealed iteration of rollouts. Set it to the "
                    "ledger of a run that has sampled (the folder with `iteration-*` inside)."
                )
    iterations, fingerprint = session.mesh.world.broadcast_object(found)
    return LearntLedger(ledger=ledger, iterations=iterations, fingerprint=fingerprint)


def remember(session: Session, learnt: LearntLedger, folder: str) -> None:
    """Write down what is learnt from; CheckpointError if the run began with something else."""
    path = session.folder / "learnt_from.json"
    with session.mesh.world.together():
        if session.mesh.main:
            content = json.dumps({"ledger": learnt.fingerprint}) + "\n"
            if session.continues and path.exists() and path.read_text() != content:
                raise CheckpointError(
                    f"the ledger {folder} is not what it was when {session.folder} began. Choose "
                    "another run.name to learn from it as it is."
                )
            write_whole(path, content)
