"""The made-up reproduction, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.report import write_report
from reft_megatron.commands.reproduce.results import Results
from tests.commands.reproduce.report.scene import results_of


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three methods with two seeds each; 40 problems, so that a page shows them in two steps."""
    skills = {"warm-up": 0.35, "SFT": 0.5, "ReFT": 0.66}
    return results_of(tmp_path_factory.mktemp("scene"), seeds=(1, 2), skills=skills)


@pytest.fixture(scope="session")
def page(scene: Results) -> Path:
    """Its report."""
    path = scene.folder / "report.html"
    write_report(path, scene)
    return path
