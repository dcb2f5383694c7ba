"""Whole tasks from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_megatron.config import TaskConfig
from reft_megatron.errors import ConfigError, DataError, ReftError
from reft_megatron.tasks import load_task
from reft_megatron.tasks.arithmetic import problems as generated

AUTHORS = "The data files are in the folder data of github.com/lqtrung1998/mwp_ReFT."


def item(number: int, question: str | None = None) -> dict[str, str]:
    question = question or f"What is {number} + 0?"
    program = f'def solution():\n    """{question}"""\n    result = {number}\n    return result'
    return {
        "item_id": f"svamp_{number}",
        "question": question,
        "answer_cot": program,
        "answer_value": f"{number}.0",
    }


def written(path: Path, items: list[dict[str, str]]) -> str:
    path.write_text(json.dumps(items))
    return str(path)


@pytest.fixture
def train(tmp_path: Path) -> str:
    return written(tmp_path / "train.json", [item(number) for number in range(30)])


@pytest.fixture
def test_file(tmp_path: Path) -> str:
    return written(tmp_path / "test.json", [item(number) for number in range(100, 110)])


def message(config: TaskConfig) -> str:
    with pytest.raises(ReftError) as caught:
        load_task(config)
    return str(caught.value)


def test_a_task_holds_every_problem_once(train: str, test_file: str) -> None:
    task = load_task(TaskConfig(name="svamp", train=train, test=test_file, dev_size=8))
    assert (task.name, task.form, task.kind, task.parity) == (
        "svamp",
        "program",
        "number",
        "correct",
    )
    assert (len(task.train), len(task.dev), len(task.test)) == (22, 8, 10)
    assert {p.id for p in task.train + task.dev} == {f"svamp_{n}" for n in range(30)}
    assert {p.id for p in task.test} == {f"svamp_{n}" for n in range(100, 110)}


def test_sizes_take_prefixes_and_leave_dev_alone(train: str, test_file: str) -> None:
    whole = load_task(TaskConfig(name="svamp", train=train, test=test_file, dev_size=8))
    part = load_task(
        TaskConfig(name="svamp", train=train, test=test_file, dev_size=8, train_size=5, test_size=3)
    )
    assert part.train == whole.train[:5]
    assert part.dev == whole.dev
    assert part.test == whole.test[:3]


def test_a_task_may_have_a_test_file_only(test_file: str) -> None:
    task = load_task(TaskConfig(name="svamp", test=test_file))
    assert (task.train, task.dev, len(task.test)) == ((), (), 10)


def test_gsm8k_takes_its_own_lines_and_the_authors_items(tmp_path: Path) -> None:
    lines = tmp_path / "train.jsonl"
    lines.write_text(
        '{"question": "A?", "answer": "1+1=<<1+1=2>>2\\n#### 2"}\n'
        '{"question": "B?", "answer": "1+2=<<1+2=3>>3\\n#### 3"}\n'
    )
    items = [{"item_id": "gsm8k_0", "question": "C?", "answer_value": "7"}]
    test = written(tmp_path / "test.json", items)
    config = TaskConfig(name="gsm8k", form="nl", train=str(lines), test=test, dev_size=1)
    task = load_task(config)
    problems = sorted(task.train + task.dev, key=lambda problem: problem.id)
    assert [(p.id, p.question, p.answer, p.cot) for p in problems] == [
        ("gsm8k_0", "A?", "2", "1+1=2"),
        ("gsm8k_1", "B?", "3", "1+2=3"),
    ]
    assert [(p.id, p.question, p.answer, p.cot) for p in task.test] == [("gsm8k_0", "C?", "7", "")]


def test_an_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "train.json", [item(1), item(2), item(1, "Another?")])
    assert message(TaskConfig(name="svamp", train=path)) == (
        f"{path}: item 2: field 'item_id' is 'svamp_1', as at {path}: item 0; ids are unique. "
        + AUTHORS
    )


def test_a_question_in_train_and_test_is_an_error(train: str, tmp_path: Path) -> None:
    test = written(tmp_path / "test.json", [item(100), item(101, "What is 7 + 0?")])
    assert message(TaskConfig(name="svamp", train=train, test=test, dev_size=8)) == (
        "the test problem svamp_101 asks the same question as the training problem svamp_7: "
        "remove one of them from its file"
    )


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    gone = tmp_path / "gone.jsonl"
    assert message(TaskConfig(name="gsm8k", train=str(gone))) == (
        f"{gone}: No such file or directory. "
        "GSM8K's train.jsonl and test.jsonl are in github.com/openai/grade-school-math."
    )
    assert message(TaskConfig(name="svamp")) == f"task.train and task.test are empty. {AUTHORS}"


def test_sizes_that_the_files_cannot_serve_are_errors(train: str, test_file: str) -> None:
    base = {"name": "svamp", "train": train, "test": test_file}
    assert message(TaskConfig(**base, dev_size=30)) == (
        f"{train} holds 30 problems, and task.dev_size=30 leaves none to train on: "
        "lower task.dev_size"
    )
    assert message(TaskConfig(**base, dev_size=8, train_size=23)) == (
        "task.train_size=23, but there are 22 train problems: lower it, or set it to 0 to take all"
    )
    assert message(TaskConfig(**base, dev_size=8, test_size=11)) == (
        "task.test_size=11, but there are 10 test problems: lower it, or set it to 0 to take all"
    )


def test_the_arithmetic_task_is_generated() -> None:
    task = load_task(TaskConfig(train_size=7, dev_size=3, test_size=4, data_seed=5))
    assert task.train == generated("train", count=7, seed=5)
    assert task.dev == generated("dev", count=3, seed=5)
    assert task.test == generated("test", count=4, seed=5)
    everything = load_task(TaskConfig())
    assert [len(everything.problems(split)) for split in ("train", "dev", "test")] == [
        500,
        200,
        1000,
    ]
    problem = task.train[0]
    asked, output = task.supervised_text(problem)
    assert (asked + output).startswith(task.prompt_text(problem))


def test_the_arithmetic_task_takes_no_file_and_no_words(train: str) -> None:
    assert message(TaskConfig(train=train)) == (
        f"task.name is arithmetic, which is generated, but a data file is named: {train}. "
        "Set task.name to the task of the file."
    )
    with pytest.raises(ConfigError) as caught:
        load_task(TaskConfig(form="nl"))
    assert str(caught.value) == ("the arithmetic task has programs only: set task.form=program")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "form", "train_file", "test_file", "sizes"),
    [
        ("gsm8k", "nl", "gsm8k/train.jsonl", "gsm8k/test.jsonl", (7473, 1319)),
        ("gsm8k", "nl", "gsm8k/train.jsonl", "mwp_reft/gsm8k_test_set.json", (7473, 1319)),
        (
            "svamp",
            "program",
            "mwp_reft/svamp_python_sdp.json",
            "mwp_reft/svamp_test_set.json",
            (3043, 1000),
        ),
        ("svamp", "nl", "mwp_reft/svamp_nl.json", "mwp_reft/svamp_test_set.json", (3076, 1000)),
        ("mathqa", "program", "", "mwp_reft/mathqa_test_set.json", (0, 1605)),
        ("mathqa-numeric", "program", "", "mwp_reft/mathqa-numeric_test_set.json", (0, 1605)),
    ],
)
def test_the_real_files(
    shared_data: Path,
    *,
    name: str,
    form: str,
    train_file: str,
    test_file: str,
    sizes: tuple[int, int],
) -> None:
    train = str(shared_data / train_file) if train_file else ""
    task = load_task(
        TaskConfig(name=name, form=form, train=train, test=str(shared_data / test_file), dev_size=0)
    )
    assert (len(task.train), len(task.test)) == sizes


@pytest.mark.shared_data
def test_twins_of_dev_questions_are_dropped_from_svamp(shared_data: Path) -> None:
    train = str(shared_data / "mwp_reft" / "svamp_python_sdp.json")
    task = load_task(TaskConfig(name="svamp", train=train))
    assert (len(task.train), len(task.dev), task.twins) == (2842, 200, 1)
    assert task.census() == "2842 train, 200 dev, 0 test; 1 left out of train, asked in dev too"
    assert not {p.question for p in task.train} & {p.question for p in task.dev}


@pytest.mark.shared_data
def test_the_original_gsm8k_cannot_serve_programs(shared_data: Path) -> None:
    train = str(shared_data / "gsm8k" / "train.jsonl")
    with pytest.raises(DataError) as caught:
        load_task(TaskConfig(name="gsm8k", train=train))
    assert str(caught.value).startswith(f"{train}: line 1: field 'answer' is a solution in words")
