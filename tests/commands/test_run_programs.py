"""The command that runs the programs of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reft_megatron.cli import main
from reft_megatron.commands import run_programs

BODIES = {
    "right": "return 6 * 7",
    "wrong": "return 6 + 7",
    "loop": "while True:\n        pass",
    "fails": "return 1 / 0",
    "half": "from fractions import Fraction\n    return Fraction(1, 2)",
    "again": "return 6 * 7",
    "inf": "return 1e999",
}


def program(body: str) -> str:
    return f"def solution():\n    {body}\n"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    with path.open("w") as file:
        for name, body in BODIES.items():
            row = {"name": name, "program": program(body), "answer": "42"}
            file.write(json.dumps(row) + "\n")
    return path


def verdicts(path: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["name"]: line for line in lines}


def test_every_program_gets_its_verdict(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run-programs", str(rows), "--gold", "answer"]) == 0
    found = verdicts(rows.with_name("in.verdicts.jsonl"))
    assert list(found) == list(BODIES)
    assert found["right"] == {
        "name": "right",
        "program": program(BODIES["right"]),
        "answer": "42",
        "status": "OK",
        "value": 42.0,
        "exception": "",
        "why": "",
        "type": "int",
        "steps": found["right"]["steps"],
        "route": "FAST",
        "correct": True,
    }
    ends = {name: (line["status"], line["value"]) for name, line in found.items()}
    assert ends == {
        "right": ("OK", 42.0),
        "wrong": ("OK", 13.0),
        "loop": ("STEP_LIMIT", None),
        "fails": ("RUNTIME_ERROR", None),
        "half": ("OK", 0.5),
        "again": ("OK", 42.0),
        "inf": ("OK_NONFINITE", None),
    }
    assert found["fails"]["exception"] == "ZeroDivisionError"
    assert found["half"]["route"] == "WORKER"
    assert found["again"]["route"] == "DUPLICATE"
    assert [name for name, line in found.items() if line["correct"]] == ["right", "again"]
    out = capsys.readouterr().out
    assert "7 programs" in out
    assert "accuracy 28.6% (2 of 7)" in out
    cells = [[cell.strip() for cell in line.split("\u2502")[1:-1]] for line in out.splitlines()]
    assert ["OK", "2", "1", "1", "4", "57.14%"] in cells
    assert ["STEP_LIMIT", "1", "", "", "1", "14.29%"] in cells
    assert ["all", "5", "1", "1", "7", ""] in cells


def test_chunks_are_put_together(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_programs, "_CHUNK", 3)
    output = rows.with_name("out.parquet")
    arguments = [str(rows), "--output", str(output), "--fallback", "none", "--prefix", "v_"]
    assert main(["run-programs", *arguments]) == 0
    table = pq.read_table(output).to_pydict()
    assert table["name"] == list(BODIES)
    assert table["v_status"] == [
        *("OK", "OK", "STEP_LIMIT", "RUNTIME_ERROR", "UNSUPPORTED", "OK", "OK_NONFINITE")
    ]
    assert table["v_value"][-1] == float("inf")
    assert "v_correct" not in table


def test_letters(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    items = [
        {"name": str(number), "code": program(f"return {letter!r}"), "gold": "b"}
        for number, letter in enumerate(["B", "c"])
    ]
    path.write_text(json.dumps(items))
    arguments = ["--column", "code", "--gold", "gold", "--kind", "letter"]
    assert main(["run-programs", str(path), *arguments]) == 0
    found = verdicts(tmp_path / "in.verdicts.jsonl")
    assert [(line["text"], line["correct"]) for line in found.values()] == [
        ("B", True),
        ("c", False),
    ]


def test_settings_reach_the_extractor(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    text = "```python\nRATE = 2\nans = RATE * 3\n```"
    path.write_text(json.dumps({"name": "a", "program": text}) + "\n")
    assert main(["run-programs", str(path), "--entry", "ans", "--strip-fences"]) == 0
    assert verdicts(tmp_path / "in.verdicts.jsonl")["a"]["value"] == 6
    limits = ["--limit", "max_source_bytes=5", "wall_s=0.5", "--limit", "max_steps=10"]
    assert main(["run-programs", str(path), *limits, "--entry", "ans", "--strip-fences"]) == 0
    assert verdicts(tmp_path / "in.verdicts.jsonl")["a"]["status"] == "INPUT_LIMIT"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "code"], "DataError: IN: line 1: field 'code' is missing; "),
        (["--gold", "name"], "DataError: IN: line 1: field 'name' is \"right\"; wanted a finite"),
        (["--output", "x.csv"], "DataError: x.csv: the output ends in .jsonl or .parquet"),
        (["--limit", "max_steps=0"], "ConfigError: max_steps must be between 1 and 2**31 - 1"),
    ],
)
def test_bad_input_is_told_before_any_work(
    rows: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run-programs", str(rows), *arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"reft-megatron: {message.replace('IN', str(rows))}")
    assert [path.name for path in rows.parent.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("limit", ["steps=3", "max_steps", "max_steps=x"])
def test_bad_limits(rows: Path, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run-programs", str(rows), "--limit", limit])
    assert ended.value.code == 2
    assert "argument --limit: " in capsys.readouterr().err
