"""Opening a ledger to learn from, and noticing that it is another. (Other tasks: test_rerank.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.config import load_config
from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.recipes.learnt_ledger import open_ledger, remember
from reft_megatron.recipes.session import Session
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
