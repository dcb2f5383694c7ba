"""Spoilt programs: the same for the same seed, of all kinds, and renaming changes no answer."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

from tools.fuzzing.mutation import SEEDS, mutant, renamed, seeds_in, truncation


def answer(text: str) -> Any:
    scope: dict[str, Any] = {}
    exec(text, scope)
    return scope["solution"]()


def test_a_seed_decides() -> None:
    assert mutant(SEEDS, 3, 5) == mutant(SEEDS, 3, 5)
    mutants = {mutant(SEEDS, 1, number) for number in range(300)}
    assert len(mutants) > 290
    assert not mutants & set(SEEDS)


def test_an_empty_text_is_spoilt_too() -> None:
    assert all(isinstance(mutant([""], 1, number), str) for number in range(300))


def test_every_place_is_cut() -> None:
    assert [truncation(["abc", "de"], number) for number in range(6)] == [
        *("a", "ab", "abc", "d", "de", "a"),
    ]


def test_renamed_programs_mean_the_same() -> None:
    changed = 0
    for seed in SEEDS:
        other = renamed(seed, random.Random(1))
        changed += other != seed
        assert answer(other) == answer(seed)
    assert changed >= 3


def test_what_may_be_an_attribute_keeps_its_name() -> None:
    text = "def solution():\n    real = 5\n    return (3).real"
    assert renamed(text, random.Random(1)) == text


def test_real_programs_are_found(tmp_path: Path) -> None:
    assert seeds_in(None) == list(SEEDS)
    assert seeds_in(tmp_path) == list(SEEDS)
    (tmp_path / "programs").mkdir()
    with gzip.open(tmp_path / "programs" / "real.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps({"code": f"x = {number}"}) + "\n" for number in range(8))
    (tmp_path / "mwp_reft").mkdir()
    items = [{"answer_cot": f"y = {number}"} for number in range(6)]
    (tmp_path / "mwp_reft" / "svamp_python_sdp.json").write_text(json.dumps(items))
    assert seeds_in(tmp_path) == [*SEEDS, "x = 0", "x = 4", "y = 0", "y = 3"]
