"""What the tests of the rollouts command may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.tasks.arithmetic import documents
from reft_megatron.tokenizer import load_tokenizer
from reft_megatron.tokenizer_training import train_tokenizer
from tests.commands.rollouts.scene import write_ledger


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenizer."""
    path = tmp_path_factory.mktemp("tokenizer") / "tiny.model"
    texts = (question + rest for question, rest in documents(count=50, seed=1))
    train_tokenizer(texts, path, vocab_size=420)
    return path


@pytest.fixture
def run(tmp_path: Path, tokenizer_path: Path) -> Path:
    """Folder of a run with the ledger of `scene`."""
    write_ledger(tmp_path / "run" / "ledger", load_tokenizer(tokenizer_path))
    return tmp_path / "run"
