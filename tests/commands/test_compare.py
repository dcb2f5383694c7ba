"""Two evaluations side by side: differences, what is sure of them, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_megatron.cli import main
from reft_megatron.rewards.statistics import paired_bootstrap

IDS = [f"p_{number}" for number in range(200)]


def write(folder: Path, **figures: Any) -> str:
    """An evaluation's folder."""
    folder.mkdir()
    content = {"problems": IDS, **{name.replace("_", "@"): f for name, f in figures.items()}}
    (folder / "outcomes.json").write_text(json.dumps(content))
    return str(folder)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    """A is right wherever B is and on 12 more by vote@4; by pass@1 they are about alike."""
    random = np.random.default_rng(5)
    chance = random.random(200)
    vote = [(chance < limit).astype(float).tolist() for limit in (0.56, 0.5)]
    luck = [random.random(200).round(3).tolist() for _ in range(2)]
    ours = write(tmp_path / "a", vote_4=vote[0], pass_1=luck[0], rerank_4=[1.0] * 200)
    # The other one lists its problems in another order.
    theirs = write(tmp_path / "b", pass_1=luck[1][::-1], vote_4=vote[1][::-1])
    path = tmp_path / "b" / "outcomes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "problems": IDS[::-1]}))
    return ours, theirs


def test_differences_are_of_pairs(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *runs, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["num_problems"]) == ([*runs], 200)
    assert (told["only_first"], told["only_second"]) == (["rerank@4"], [])
    assert list(told["figures"]) == ["vote@4", "pass@1"]
    trees = [json.loads((Path(run) / "outcomes.json").read_text()) for run in runs]
    for name, figure in told["figures"].items():
        pair = [dict(zip(tree["problems"], tree[name], strict=True)) for tree in trees]
        wanted = paired_bootstrap(*pair)
        assert (figure["difference"], figure["low"], figure["high"]) == (
            wanted.value, wanted.low, wanted.high,
        )  # fmt: skip
        assert figure["first"] - figure["second"] == pytest.approx(figure["difference"])
    sure = {name: figure["excludes_zero"] for name, figure in told["figures"].items()}
    assert sure == {"vote@4": True, "pass@1": False}


def test_the_table_says_the_same(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", *runs, "--json"])
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert main(["compare", *runs]) == 0
    shown = capsys.readouterr().out
    assert "A minus B on 200 problems, in points" in shown
    for name, figure in figures.items():
        (line,) = (line for line in shown.splitlines() if f" {name} " in line)
        assert f"{100 * figure['difference']:+.1f}" in line
        assert f"{100 * figure['low']:+.1f} to {100 * figure['high']:+.1f}" in line
        assert ("yes" in line) == figure["excludes_zero"]
    assert f"A: {runs[0]} (left out, as it alone has them: rerank@4)\n" in shown
    assert shown.endswith(f"B: {runs[1]}\n")


def test_a_run_does_not_differ_from_itself(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", runs[0], runs[0], "--json"]) == 0
    for figure in json.loads(capsys.readouterr().out)["figures"].values():
        assert (figure["difference"], figure["low"], figure["high"]) == (0, 0, 0)
        assert figure["excludes_zero"] is False


BAD = {
    "other problems": (
        {"problems": [*IDS[1:], "p_200"], "vote@4": [0] * 200},
        "2 problems have an outcome of one method only, p_0 among them; compare methods on the "
        "same problems.",
    ),
    "no figure in common": (
        {"problems": IDS, "top-1": [0] * 200},
        "A and B have no figure in common: vote@4, pass@1, rerank@4; and top-1.",
    ),
    "nothing": (
        None,
        "cannot read B/outcomes.json: No such file or directory. Name the folder of a run of the "
        "recipe evaluate that has ended.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_compared(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str], case: str
) -> None:
    content, message = BAD[case]
    path = Path(runs[1]) / "outcomes.json"
    path.write_text(json.dumps(content))
    if content is None:
        path.unlink()
    assert main(["compare", *runs]) == 1
    told = capsys.readouterr()
    for letter, run in zip("AB", runs, strict=True):
        message = message.replace(f"{letter} and", f"{run} and").replace(
            f"and {letter} ", f"and {run} "
        )
        message = message.replace(f"{letter}/outcomes", f"{run}/outcomes")
    assert (told.out, told.err) == ("", f"reft-megatron: DataError: {message}\n")
