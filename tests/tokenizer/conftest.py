"""One tokenizer of every kind, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from tests.tokenizer.specimens import MAKERS


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    paths = {kind: folder / kind.replace(" ", ".") for kind in MAKERS}
    for kind, path in paths.items():
        MAKERS[kind](path)
    return paths


@pytest.fixture(scope="session")
def loaded(files: dict[str, Path]) -> dict[str, Tokenizer]:
    return {kind: load_tokenizer(path) for kind, path in files.items()}
