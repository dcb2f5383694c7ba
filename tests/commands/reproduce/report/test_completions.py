"""Tests of the choice of problems and completions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_megatron.commands.reproduce.report.completions import Choice, choose
from reft_megatron.config import load_config, to_yaml
from reft_megatron.recipes.ballots import BALLOTS
from tests.commands.reproduce.test_names import METHOD

RIGHT, WRONG = ("correct", 3.0), ("wrong_value", 5.0)


def ballot(
    problem: str, number: int, verdict: tuple[str, float | None], score: float | None
) -> Any:
    reason, value = verdict
    return {"problem_id": problem, "sample": number, "reason": reason, "value": value,
            "right": reason == "correct", "text": f"{problem}, {reason} {number}",
            "score": score}  # fmt: skip


def evaluation(
    folder: Path,
    problems: dict[str, list[Any]],
    *,
    parity: str = "correct",
    greedy: str = "correct",
) -> Path:
    folder.mkdir()
    config = load_config(None, [f"task.parity={parity}"])
    (folder / "config.yaml").write_text(to_yaml(config))
    records = [
        {"id": name, "problem": f"question {name}", "answer": "3", "completion": f"greedy {name}",
         "verdict": greedy, "detail": "int", "value": 3.0, "reward": 1.0}
        for name in problems
    ]  # fmt: skip
    (folder / "completions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    rows = [row for own in problems.values() for row in own]
    if rows:
        table = pa.Table.from_pylist(rows, schema=BALLOTS)
        pq.write_table(table, folder / "ballots.parquet")
    return folder


def chosen(folder: Path, problems: dict[str, list[Any]], **options: Any) -> Choice:
    limit = options.pop("limit", 300)
    method = replace(METHOD, name="ReFT", evaluation=evaluation(folder, problems, **options))
    return choose([method], limit=limit)


def test_those_who_choose_and_the_first_of_each_fault_are_shown(tmp_path: Path):
    own = [
        ballot("a", 0, WRONG, -1.0), ballot("a", 1, ("timeout", None), 9.0),
        ballot("a", 2, RIGHT, 2.0), ballot("a", 3, WRONG, -0.5),
        ballot("a", 4, ("timeout", None), 0.0),
    ]  # fmt: skip
    (card,) = chosen(tmp_path / "e", {"a": own}).cards
    assert [(one.roles, one.verdict, one.text, one.probability) for one in card.shown] == [
        (("greedy",), "correct", "greedy a", ""),
        (("vote",), "wrong_value", "a, wrong_value 0", "0.269"),
        (("reranker",), "correct", "a, correct 2", "0.881"),
        (("sample 1",), "timeout", "a, timeout 1", "1.000"),
    ]
    assert [one.filters for one in card.shown] == [
        (), ("wrong", "disagree"), ("disagree",), ("wrong", "faults"),
    ]  # fmt: skip
    assert (card.question, card.gold, card.votes) == (
        "question a", "3", ("ReFT: 1 of 5 samples are right",),
    )  # fmt: skip


def test_the_same_text_is_shown_once(tmp_path: Path):
    row = ballot("a", 0, RIGHT, 2.0) | {"text": "greedy a"}
    (card,) = chosen(tmp_path / "e", {"a": [row]}).cards
    (one,) = card.shown
    assert (one.roles, one.probability) == (("greedy", "vote", "reranker"), "0.881")


@pytest.mark.parametrize(("parity", "winner"), [("correct", 3.0), ("reference", 5.0)])
def test_votes_are_counted_as_the_evaluation_counts_them(
    tmp_path: Path, parity: str, winner: float
):
    values = [3.0, 3.001, 3.002, 5.0, 5.0]
    own = [ballot("a", n, ("wrong_value", value), None) for n, value in enumerate(values)]
    (card,) = chosen(tmp_path / "e", {"a": own}, parity=parity).cards
    (vote,) = [one for one in card.shown if one.roles == ("vote",)]
    assert vote.value == f"{winner:g}"


@pytest.mark.parametrize(("parity", "winner"), [("correct", 5.0), ("reference", 3.0)])
def test_scores_are_compared_as_the_evaluation_compares_them(
    tmp_path: Path, parity: str, winner: float
):
    """In bf16, as the reference has them, both are sure, and the first one wins."""
    own = [ballot("a", 0, RIGHT, 6.5), ballot("a", 1, WRONG, 30.0)]
    (card,) = chosen(tmp_path / "e", {"a": own}, parity=parity).cards
    (best,) = [one for one in card.shown if "reranker" in one.roles]
    assert best.value == f"{winner:g}"


@pytest.mark.parametrize(
    ("verdict", "filters"),
    [("correct", ()), ("wrong_value", ("wrong",)), ("syntax_error", ("wrong", "errors")),
     ("timeout", ("wrong", "faults")), ("not asked or not judged", ("wrong", "faults"))],
)  # fmt: skip
def test_filters_follow_the_verdict(tmp_path: Path, verdict: str, filters: tuple[str, ...]):
    (card,) = chosen(tmp_path / "e", {"a": []}, greedy=verdict).cards
    assert card.shown[0].filters == filters


def test_what_is_rare_is_among_a_few(tmp_path: Path):
    problems: dict[str, list[Any]] = {
        f"p{n:03d}": [ballot(f"p{n:03d}", 0, RIGHT, 1.0)] for n in range(200)
    }
    problems["p150"] = [ballot("p150", 0, WRONG, 0.0), ballot("p150", 1, RIGHT, 1.0)]
    problems["p151"] = [ballot("p151", 0, ("memory", None), 0.0)]
    found = chosen(tmp_path / "e", problems, limit=10)
    names = [card.problem for card in found.cards]
    assert {"p150", "p151"} <= set(names)
    assert names == sorted(names)
    assert (len(names), found.total) == (10, 200)
    assert (found.disagreements, found.faults) == ((1, 1), (1, 1))
    assert chosen(tmp_path / "again", problems, limit=10) == found


def test_few_problems_are_all_shown(tmp_path: Path):
    found = chosen(tmp_path / "e", {name: [] for name in "abc"})
    assert [card.problem for card in found.cards] == ["a", "b", "c"]


def test_a_very_long_completion_is_cut(tmp_path: Path):
    row = ballot("a", 0, RIGHT, 2.0) | {"text": "x" * 12_345}
    (card,) = chosen(tmp_path / "e", {"a": [row]}).cards
    assert card.shown[1].text == "x" * 2_000 + "\n[10,345 more characters]"
