"""Tests that the names are those of the recipes."""

from __future__ import annotations

import ast
from pathlib import Path

from reft_megatron import recipes
from reft_megatron.config.recipes import RECIPES


def test_every_file_that_runs_a_session_is_a_recipe() -> None:
    found = set()
    for path in Path(recipes.__file__).parent.glob("*.py"):
        functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        runs = {f.name: [a.arg for a in f.args.args] for f in functions}
        if runs.get("run") == ["config"]:
            found.add(path.stem)
    assert found == set(RECIPES)
