"""Problems of one's own: what the file must hold, and which settings go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_megatron.config import RewardConfig, TaskConfig
from reft_megatron.errors import ConfigError, DataError, ReftError
from reft_megatron.rewards import Judge
from reft_megatron.tasks import load_task

ROW = {"id": "a", "question": "How many?", "answer": 3}
CHAIN = "def solution():\n    return 3"


def written(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def config(path: str, **settings: object) -> TaskConfig:
    return TaskConfig(**{"name": "custom", "train": path, "dev_size": 0, **settings})


def message(made: TaskConfig, kind: type[ReftError]) -> str:
    with pytest.raises(kind) as caught:
        load_task(made)
    return str(caught.value)


def test_a_record_becomes_a_problem(tmp_path: Path) -> None:
    row = {**ROW, "answer": "1,200.5", "chain": CHAIN, "low": 2, "tests": ["x"]}
    task = load_task(config(written(tmp_path / "a.jsonl", row)))
    [problem] = task.train
    assert (problem.id, problem.question, problem.answer) == ("a", "How many?", "1200.5")
    assert (problem.cot, problem.extra) == (CHAIN, {"low": 2, "tests": ["x"]})
    assert hash(problem) == hash(problem)
    assert task.prompt_text(problem).endswith('def solution():\n    """How many?"""\n')
    assert task.supervised_text(problem)[1] == CHAIN


def test_a_prompt_of_ones_own_is_the_whole_prompt(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", {**ROW, "chain": "It is 3."})
    task = load_task(config(path, prompt="{{Q}} {question} A:", reward="own.py"))
    [problem] = task.train
    assert task.prompt_text(problem) == "{{Q}} How many? A:"
    assert task.supervised_text(problem) == ("{{Q}} How many? A:", "It is 3.")
    assert task.gold_completion(problem) == "It is 3."
    assert task.answer_text(problem, " 3 ") == " 3 "
    assert not task.over("    return 3\n")


@pytest.mark.parametrize(
    ("form", "chain", "missing"),
    [
        ("nl", "So 3.\nTherefore, the answer is: 3", ""),
        ("nl", "So 3.", "'\\nTherefore, the answer is: '"),
        ("nl", "Therefore, the answer is: 3", "'\\nTherefore, the answer is: '"),
        ("program", f"import math\n{CHAIN}", ""),
        ("program", "    return 3", "'def solution():'"),
    ],
)
def test_chains_behind_a_prompt_of_ones_own_are_what_is_judged(
    tmp_path: Path, form: str, chain: str, missing: str
) -> None:
    path = written(tmp_path / "a.jsonl", {**ROW, "chain": chain})
    made = config(path, prompt="{question}", form=form)
    if missing:
        told = f"{path}: line 1: field 'chain' has no {missing}, and without it the built-in reward"
        assert message(made, DataError).startswith(told)
    else:
        [problem] = load_task(made).train
        with Judge(form=form, kind="number", config=RewardConfig(), parity="correct") as judge:
            assert judge.check([(problem, problem.cot)])[0].correct


@pytest.mark.parametrize(
    ("answers", "answer", "wanted"),
    [("number", 3, "3"), ("number", 2.5, "2.5"), ("letter", "B", "b"), ("text", "x y", "x y")],
)
def test_answers_have_their_kind(tmp_path: Path, answers: str, answer: object, wanted: str) -> None:
    path = written(tmp_path / "a.jsonl", {**ROW, "answer": answer})
    task = load_task(config(path, answers=answers))
    assert (task.kind, task.train[0].answer) == (answers, wanted)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answer": "three"}, "line 2: field 'answer' holds the answer 'three'; wanted a finite"),
        ({"answer": True}, "line 2: field 'answer' is true; wanted a string"),
        ({"answer": None}, "line 2: field 'answer' is null; wanted a string"),
        ({"answer": ""}, "line 2: field 'answer' is blank; wanted text"),
        ({"question": 3}, "line 2: field 'question' is 3; wanted a string"),
        ({"id": "a"}, "line 2: field 'id' is 'a', as at {path}: line 1; ids are unique"),
        ({"chain": "So 3."}, "line 2: field 'chain' does not begin with 'def solution():', but"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, change: dict[str, object], told: str) -> None:
    path = written(tmp_path / "a.jsonl", ROW, {**ROW, "id": "b", "question": "Who?", **change})
    seen = message(config(path), DataError)
    assert seen.startswith(f"{path}: {told.format(path=path)}")
    assert seen.endswith("docs/tasks.md says what a file of your own problems holds.")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", {"id": "a", "question": "?"})
    assert "field 'answer' is missing; the fields are ['id', 'question']" in message(
        config(path), DataError
    )


def test_splits_share_nothing(tmp_path: Path) -> None:
    train = written(tmp_path / "a.jsonl", ROW)
    test = written(tmp_path / "b.jsonl", {**ROW, "question": "Who?"})
    assert message(config(train, test=test), DataError) == (
        "1 ids are in task.train and in task.test, such as 'a': give every problem an id of its own"
    )
    same = written(tmp_path / "c.jsonl", {**ROW, "id": "c"})
    assert "asks the same question" in message(config(train, test=same), DataError)


def test_a_problem_without_a_chain_is_not_learnt_from(tmp_path: Path) -> None:
    task = load_task(config(written(tmp_path / "a.jsonl", ROW)))
    with pytest.raises(DataError, match="the problem a has no chain of thought to learn from"):
        task.supervised_text(task.train[0])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"name": "svamp", "reward": "x.py"},
            "task.reward is for tasks of your own, and task.name",
        ),
        ({"name": "svamp", "prompt": "{question}"}, "task.prompt is for tasks of your own"),
        ({"name": "svamp", "answers": "letter"}, "task.answers is for tasks of your own"),
        ({"parity": "reference"}, "task.parity=reference restores the authors' code"),
        ({"prompt": "Solve:"}, "task.prompt is 'Solve:' and asks nothing: wanted {question} in it"),
    ],
)
def test_settings_that_do_not_go_together(
    tmp_path: Path, settings: dict[str, object], told: str
) -> None:
    path = written(tmp_path / "a.jsonl", ROW)
    assert message(config(path, **settings), ConfigError).startswith(told)


def test_no_file_at_all() -> None:
    assert message(TaskConfig(name="custom"), DataError) == (
        "task.train and task.test are empty. docs/tasks.md says what a file of your own problems "
        "holds."
    )
