"""Tests of the tokenizer training tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_megatron.config import TaskConfig
from reft_megatron.tasks import arithmetic
from reft_megatron.tokenizer import load_tokenizer
from tools.train_tokenizer import file_texts, main, task_texts


def test_arithmetic_texts_are_documents_then_training_problems() -> None:
    texts = list(task_texts(TaskConfig(name="arithmetic", train_size=5), documents=3))
    assert texts[:3] == ["".join(parts) for parts in arithmetic.documents(count=3, seed=0)]
    assert texts[3:] == [
        f"Question:\n{problem.question}\nAnswer reasoning:\n{problem.cot}"
        for problem in arithmetic.problems("train", count=5, seed=0)
    ]


def test_a_task_read_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, output = tmp_path / "svamp.json", tmp_path / "svamp.model"
    items = [
        {
            "item_id": f"svamp_{number}",
            "question": f"Tom has {number} eggs and eats 1. How many eggs are left?",
            "answer_cot": f"He has {number} - 1 = {number - 1} eggs.",
            "answer_value": str(number - 1),
        }
        for number in range(1, 301)
    ]
    train.write_text(json.dumps(items))
    arguments = ["--task", "svamp", "--form", "nl", "--train", str(train)]
    status = main([*arguments, "--vocab-size", "350", "--output", str(output)])
    tokenizer = load_tokenizer(output)
    assert status == 0
    assert capsys.readouterr().out == (
        f"{output}: 350 pieces, fingerprint {tokenizer.fingerprint}\n"
    )
    assert len(tokenizer.encode(" eggs are left")) < len(" eggs are left") / 2


def test_a_text_file(tmp_path: Path) -> None:
    text, output = tmp_path / "text.txt", tmp_path / "text.model"
    text.write_text("".join(f"{number} zebras run\n  far\n" for number in range(100)))
    assert list(file_texts(text))[:2] == ["0 zebras run\n", "  far\n"]
    sizes = ["--vocab-size", "390", "--whole-numbers", "50"]
    assert main(["--text", str(text), *sizes, "--output", str(output)]) == 0
    tokenizer = load_tokenizer(output)
    assert [tokenizer.decode([i]) for i in tokenizer.encode("49 zebras")] == ["49", " zebras"]


def test_errors_are_one_line_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent, latin = tmp_path / "absent.txt", tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    end = ["--vocab-size", "300", "--output", str(tmp_path / "x.model")]
    assert main(["--text", str(absent), *end]) == 1
    assert main(["--text", str(latin), *end]) == 1
    assert main(["--task", "arithmetic", "--form", "nl", *end]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"train_tokenizer: cannot read the text file {absent}: No such file or directory",
        f"train_tokenizer: {latin} is not UTF-8 text: bad byte at 3",
        "train_tokenizer: the arithmetic task has programs only: set task.form=program",
    ]
