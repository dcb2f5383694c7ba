"""Opening a ledger to learn from, and noticing that it is another. (Other tasks: test_rerank.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.config import load_config
from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.recipes.learnt_ledger import open_ledger, remember
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.ledger import Ledger
from tests.launch import Launcher
from tests.ranks import Ranks
from tests.recipes.scored_ledger import rollouts_of, write_ledger

pytestmark = pytest.mark.megatron


def play(overrides: tuple[str, ...], ledger: str, grown: str) -> list[str]:
    """What is said of no ledger, of an empty one, and of those that a run began with, or not."""
    told = []
    with Session(load_config(None, overrides), "offline_sl") as session:
        for folder in ("", f"{ledger}-empty"):
            try:
                open_ledger(session, folder)
            except ConfigError as error:
                told.append(str(error))
        for folder, continues in ((grown, False), (ledger, False), (ledger, True), (grown, True)):
            session.continues = continues
            try:
                remember(session, open_ledger(session, folder), folder)
                told.append("fine")
            except CheckpointError as error:
                told.append(str(error))
    return told


def play_growing(overrides: tuple[str, ...], ledger: str, grown: str) -> tuple[int, int, str, str]:
    """What a rank that sees more than the main one learns from, before and after one more block;
    and what is remembered, beside the fingerprint of the time."""
    with Session(load_config(None, overrides), "offline_sl") as session:
        learnt = open_ledger(session, ledger if session.mesh.main else grown)
        told = learnt.fingerprint
        before = sum(batch.num_rows for batch in learnt.batches(["text"]))
        session.mesh.world.barrier()
        if session.mesh.main:
            more = Ledger(ledger)
            more.append(3, 0, more.read(1))
            more.seal(3, data_size=1)
        session.mesh.world.barrier()
        after = sum(batch.num_rows for batch in learnt.batches(["text"]))
        session.continues = False
        remember(session, learnt, ledger)
        return before, after, told, (session.folder / "learnt_from.json").read_text()


def test_a_ledger_that_grows_is_learnt_from_as_it_was(
    launch: Launcher, ranks: Ranks, tmp_path: Path
) -> None:
    rollouts = rollouts_of(launch)
    ledger = write_ledger(tmp_path / "ledger", launch, rollouts)
    grown = write_ledger(tmp_path / "grown", launch, rollouts)
    more = Ledger(grown)
    more.append(3, 0, more.read(1))
    more.seal(3, data_size=1)
    fingerprint = Ledger(ledger).fingerprint()
    wanted = (len(rollouts), len(rollouts), fingerprint, f'{{"ledger": "{fingerprint}"}}\n')
    overrides = (*launch.base, "run.name=grows")
    assert ranks(2, play_growing, overrides, ledger, grown) == [wanted, wanted]


def test_a_ledger_is_found_and_remembered(launch: Launcher, ranks: Ranks, tmp_path: Path) -> None:
    rollouts = rollouts_of(launch)
    ledger = write_ledger(tmp_path / "ledger", launch, rollouts[:-1])
    grown = write_ledger(tmp_path / "grown", launch, rollouts)
    ((unset, empty, *fine, changed),) = ranks(
        1, play, (*launch.base, "run.name=remembers"), ledger, grown
    )
    assert unset.startswith("offline_sl learns from recorded rollouts: set offline_sl.ledger to")
    assert empty.startswith(f"offline_sl.ledger={ledger}-empty holds no sealed iteration")
    assert fine == ["fine"] * 3
    assert changed == (
        f"the ledger {grown} is not what it was when {launch.folder / 'remembers'} began. Choose "
        "another run.name to learn from it as it is."
    )
