"""What the tests of the recipes may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.tasks.arithmetic import documents
from reft_megatron.tokenizer_training import train_tokenizer
from tests.launch import QUAD, Launcher, Run
from tests.ranks import Ranks

SFT = (*QUAD, "sft.epochs=4", "sft.batch_size=4", "sft.evaluate_every=2", "model.dropout=0.1")


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenizer of the arithmetic task."""
    path = tmp_path_factory.mktemp("tokenizer") / "arithmetic.model"
    texts = (question + rest for question, rest in documents(count=200, seed=1))
    train_tokenizer(texts, path, vocab_size=560, whole_numbers=100)
    return path


@pytest.fixture(scope="session")
def launch(
    ranks: Ranks, tokenizer_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Launcher:
    """Real runs of the command line: `launch(world, recipe, name, *overrides)`."""
    return Launcher(ranks, tokenizer_path, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def warm(launch: Launcher) -> Run:
    """Four undisturbed epochs of SFT at TP2 x PP2: eight steps each, a checkpoint after each."""
    return launch(4, "sft", "warm", *SFT, "checkpoint.every=1", "checkpoint.keep_last=9")
