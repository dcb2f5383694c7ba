"""The audit of a reward from the command line; the examples of its page do what it says."""

from __future__ import annotations

import gzip
import json
import math
import re
import shlex
from pathlib import Path

import pytest

from reft_megatron.cli import main
from reft_megatron.tasks import read_labelled
from tests.ops.extractor.test_adversaries import right as outcomes
from tests.ops.extractor.test_real_programs import SYMPY_NAMES, whole

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
BAR = "reft-megatron: TrainingError: the reward does not meet its bar"


def program(returned: object) -> str:
    return f"def solution():\n    return {returned}"


def row(number: int, answer: str, completion: str, right: bool) -> dict[str, str]:
    label = "right" if right else "wrong"
    return {"id": f"p_{number}", "answer": answer, "completion": completion, "label": label}


def written(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def audited(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict, str]:
    """Exit code, the JSON told, and what stands on the error stream."""
    code = main(["audit", *arguments, "--json"])
    told = capsys.readouterr()
    return code, json.loads(told.out), told.err


def test_a_file_is_judged_and_a_bar_decides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row(1, "3", program(3), True),
        row(2, "3", program("'3 apples'"), True),
        row(3, "3", program(4), False),
        row(4, "3", program(3), False),
    ]
    path = written(tmp_path / "cases.jsonl", rows)
    code, told, error = audited(capsys, "--cases", path)
    assert (code, told["false_positives"], told["false_negatives"]) == (1, 1, 1)
    assert (told["false_positive_rate"], told["false_negative_rate"]) == (0.5, 0.5)
    [finding] = told["findings"]["false_positives"]
    assert (finding["id"], finding["completion"]) == ("p_4", program(3))
    assert error.startswith(BAR)
    bars = ("--max-false-positive-rate", "0.5")
    assert audited(capsys, "--cases", path, *bars)[0] == 0
    code, _, error = audited(capsys, "--cases", path, *bars, "rewards.max_false_negative_rate=0.4")
    assert code == 1
    assert "1 false negatives of 2 cases labelled right (50.00%, wanted at most 40.00%)" in error


def test_it_is_shown_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {**row(n, "3", program(f"'3 {unit}'"), True), "kind": "unit"}
        for n, unit in enumerate(("apples", "pears"))
    ]
    path = written(tmp_path / "cases.jsonl", [*rows, row(9, "3", program(4), False)])
    assert main(["audit", "--cases", path]) == 0
    told = capsys.readouterr().out
    assert re.search(r"unit\s+\S\s+2\s+\S\s+\S\s+\S\s+2\s+\S", told)
    assert "false negatives: p_0 [unit]: wanted '3', verdict non_numeric (str)" in told
    assert "3 apples" in told
    assert "... and 1 more false negatives of these kinds" in told
    assert main(["audit", "--cases", path, "--list", "2"]) == 0
    assert "3 pears" in capsys.readouterr().out


def test_cases_are_built_written_and_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "built.jsonl")
    settings = ("rewards.timeout_s=1", "task.train_size=2")
    code, built, error = audited(capsys, "--build", "--write", out, *settings)
    assert (code, error) == (0, "")
    assert built["false_positives"] == built["faults"] == 0
    code, read, _ = audited(capsys, "--cases", out, *settings)
    assert (code, read) == (0, built)
    assert read["right"] + read["wrong"] == len(Path(out).read_text().splitlines()) > 120


def test_fields_of_ones_own_are_written_too(tmp_path: Path) -> None:
    rows = [
        {**row(1, "1,203", program(1203), True), "kind": "a", "low": 2, "names": ["x"]},
        row(2, "3", program(4), False),
    ]
    path, out = written(tmp_path / "cases.jsonl", rows), str(tmp_path / "out.jsonl")
    assert main(["audit", "--cases", path, "--write", out]) == 0
    assert read_labelled(out, kind="number") == read_labelled(path, kind="number")


def test_what_no_terminal_shows_is_shown_as_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {**row(1, "3", program("'\ud800 3'"), True), "kind": "[/bold] \udfff"},
        row(2, "3", program(4), False),
    ]
    assert main(["audit", "--cases", written(tmp_path / "cases.jsonl", rows)]) == 0
    told = capsys.readouterr().out
    assert r"return '\ud800 3'" in told
    assert told.count(r"[/bold] \udfff") == 2


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "many"])
def test_a_bar_is_a_share(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--build", f"--max-false-positive-rate={share}"]) == 1
    assert "rewards.max_false_positive_rate" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--problems=-1", "--list=-1", "--problems=1.5"])
def test_a_count_is_a_natural_number(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["audit", "--build", option])
    assert "is not a whole number from 0 on" in capsys.readouterr().err


def test_nothing_is_built_for_a_reward_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"id": "a", "question": "?", "answer": 3, "chain": program(3)}
    train = written(tmp_path / "own.jsonl", [problem])
    custom = ("task.name=custom", f"task.train={train}", "task.dev_size=0", "task.reward=own.py")
    assert main(["audit", "--build", *custom]) == 1
    assert "with task.reward nobody knows their labels" in capsys.readouterr().err


def test_the_page_says_what_happens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [rows] = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "labelled.jsonl").write_text(rows)
    monkeypatch.chdir(tmp_path)
    [(command, told)] = re.findall(
        r"^```bash\nreft-megatron (audit .*?)\n```\n\n```text\n(.*?)^```",
        PAGE.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert main(shlex.split(command)) == 1
    shown = capsys.readouterr()
    for line in told.splitlines():
        assert line in (shown.out + shown.err).splitlines(), line


def recorded(shared_data: Path) -> list[dict[str, str]]:
    """Programs of real models, labelled by what CPython 3.11 made of them, where the data set has a
    number as its answer.
    """
    rows = []
    with gzip.open(shared_data / "programs" / "real.jsonl.gz", "rt") as file:
        for number, line in enumerate(file):
            case = json.loads(line)
            try:
                gold = float(str(case["gold"]).rpartition("#### ")[2].replace(",", ""))
            except ValueError:
                continue  # a time of day, a word
            value = math.nan if case["f"] is None else float(case["f"])
            right = case["st"] == "ok" and abs(value - gold) <= 0.01
            rows.append({**row(number, repr(gold), whole(case), right), "kind": case["set"]})
    return rows


def adversaries(shared_data: Path) -> list[dict[str, str]]:
    """Each with the value that is right, if there is one, and with another."""
    with gzip.open(shared_data / "programs" / "adversaries.json.gz") as file:
        cases = json.load(file)
    rows = []
    for number, case in enumerate(cases, 100_000):
        values = [value for value in outcomes(case) if type(value) is float]
        for gold in (*values[:1], 1.5, 12345.5):
            made = row(number, repr(gold), case["code"], gold in values)
            rows.append({**made, "kind": f"adversary: {case['exp']}"})
    return rows


@pytest.mark.shared_data
def test_programs_of_real_models_and_adversaries(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [r for r in recorded(shared_data)[::6] if not SYMPY_NAMES.search(r["completion"])]
    rows += adversaries(shared_data)
    path = written(tmp_path / "cases.jsonl", rows)
    code, told, error = audited(capsys, "--cases", path, "rewards.timeout_s=3")
    assert (code, told["false_positives"], told["faults"]) == (0, 0, 0), error
    assert min(told["right"], told["wrong"]) > 1_200
    missed = {(f["kind"], f["detail"]) for f in told["findings"]["false_negatives"]}
    # numpy decides whether an array of one is a number; a loop of millions meets the limit.
    assert missed <= {("adversary: any1", "ndarray"), ("GSM8K", "steps")}


def test_a_reward_of_ones_own_is_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(
        "from reft_megatron.rewards import no_answer, right, wrong\n"
        "def reward(problem, completion):\n"
        "    if not completion:\n"
        "        return no_answer()\n"
        "    return right() if problem.extra['word'] in completion else wrong()\n"
    )
    rows = [
        {**row(1, "a long answer", "it is a pear", True), "word": "pear"},
        {**row(2, "another", "no apples, no pears", False), "word": "pear"},
        {**row(3, "another", "", False), "word": "pear"},
    ]
    path = written(tmp_path / "cases.jsonl", rows)
    custom = ("task.name=custom", "task.answers=text", f"task.reward={tmp_path / 'own.py'}")
    code, told, error = audited(capsys, "--cases", path, *custom)
    assert (code, told["false_positives"], told["false_negatives"]) == (1, 1, 0)
    assert told["findings"]["false_positives"][0]["id"] == "p_2"
    assert error.startswith(BAR)
