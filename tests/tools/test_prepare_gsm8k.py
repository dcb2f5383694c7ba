"""The tool that turns GSM8K into programs, run whole, with real workers."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_megatron.config import TaskConfig
from reft_megatron.tasks import load_task

TOOL = Path(__file__).parents[2] / "tools" / "prepare_gsm8k.py"
SOURCE = "GSM8K's train.jsonl and test.jsonl are in github.com/openai/grade-school-math."

ROWS = [
    ("Ana has 12 pens and 8 caps. How many?", "In all 12+8=<<12+8=20>>20 things.\n#### 20"),
    ("Max has $26 and pays $9. How much is left?", "He has $26 - $9 = $17 left.\n#### 17"),
    ("Five times Jo's age is 35. How old is Jo?", "Let x be it. 5x = 35, so x = 7.\n#### 7"),
    ("What is twice 1,500?", "It is 2*1500=<<2*1500=3000>>3,000.\n#### 3,000"),
]


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    run: Callable[[list[str]], int] = runpy.run_path(str(TOOL))["main"]
    return run


def test_right_programs_are_written_and_the_rest_is_explained(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "train.jsonl", tmp_path / "programs.json"
    source.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in ROWS))
    assert main(["--input", str(source), "--output", str(output)]) == 0

    items = json.loads(output.read_text())
    assert [item["item_id"] for item in items] == ["gsm8k_0", "gsm8k_1", "gsm8k_3"]
    assert items[0] == {
        "item_id": "gsm8k_0",
        "question": ROWS[0][0],
        "answer_cot": (
            'def solution():\n    """Ana has 12 pens and 8 caps. How many?"""\n'
            "    ana_pens = 12\n    ana_caps = 8\n    things = ana_pens + ana_caps\n"
            "    result = things\n    return result"
        ),
        "answer_value": "20",
    }
    assert items[2]["answer_value"] == "3000"

    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("\u2502")[1:-1]] for line in lines]
    assert [row for row in cells if row and row[0]] == [
        ["kept", "annotated steps", "2"],
        ["kept", "annotated steps and equations in sentences", "1"],
        ["dropped", "no arithmetic in the solution (algebra or words)", "1"],
    ]
    assert lines[-1] == f"3 of 4 (75.0%) are verified programs, now in {output}"


def test_the_output_is_a_training_file(main: Callable[[list[str]], int], tmp_path: Path) -> None:
    source, output = tmp_path / "train.jsonl", tmp_path / "programs.json"
    source.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in ROWS))
    main(["--input", str(source), "--output", str(output)])
    task = load_task(TaskConfig(name="gsm8k", form="program", train=str(output), dev_size=1))
    for problem in task.train + task.dev:
        asked, program = task.supervised_text(problem)
        assert (asked + program).startswith(task.prompt_text(problem))


@pytest.mark.parametrize(
    ("content", "output", "expected"),
    [
        (None, "programs.json", "IN/train.jsonl: No such file or directory. " + SOURCE),
        (
            '{"question": "A?"}\n',
            "programs.json",
            "IN/train.jsonl: line 1: field 'answer' is missing; the fields are ['question']. "
            + SOURCE,
        ),
        (
            '{"question": "A?", "answer": "#### 2"}\n',
            "absent/programs.json",
            "IN/absent: no such folder; create it, or name another --output",
        ),
    ],
)
def test_bad_input_is_one_message(
    main: Callable[[list[str]], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    content: str | None,
    output: str,
    expected: str,
) -> None:
    source = tmp_path / "train.jsonl"
    if content is not None:
        source.write_text(content)
    assert main(["--input", str(source), "--output", str(tmp_path / output)]) == 1
    assert capsys.readouterr().err.replace(str(tmp_path), "IN") == expected + "\n"
    assert not (tmp_path / output).exists()


def test_help_teaches(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "python tools/prepare_gsm8k.py --input train.jsonl --output gsm8k_programs.json" in shown
    assert "task.train=gsm8k_programs.json" in shown
