"""The ledger that a recipe learns from, one from its start to its end.

Owns opening the one that the settings name, and remembering what it held: a run that went on with
another, or with the same one grown, would visit other rollouts than it began with.
"""

from __future__ import annotations

import json

from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.files import write_whole
from reft_megatron.recipes.collection import ledger_at
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.ledger import Ledger

__all__ = ["open_ledger", "remember"]


def open_ledger(session: Session, folder: str) -> Ledger:
    """The ledger in `folder`, the recipe's setting `ledger`.

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
    with session.mesh.world.together():
        found = ledger.iterations()
        if not found:
            raise ConfigError(
                f"{setting}={folder} holds no sealed iteration of rollouts. Set it to the "
                "ledger of a run that has sampled (the folder with `iteration-*` inside)."
            )
        ledger.origin(found[0])
    return ledger


def remember(session: Session, ledger: Ledger, folder: str) -> None:
    """Write down what is learnt from; CheckpointError if the run began with something else."""
    path = session.folder / "learnt_from.json"
    with session.mesh.world.together():
        if session.mesh.main:
            content = json.dumps({"ledger": ledger.fingerprint()}) + "\n"
            if session.continues and path.exists() and path.read_text() != content:
                raise CheckpointError(
                    f"the ledger {folder} is not what it was when {session.folder} began. Choose "
                    "another run.name to learn from it as it is."
                )
            write_whole(path, content)
