"""The four tasks of the paper in both forms, from the authors' files to rewards, byte for byte.

The files are those of mwp_ReFT (`*_python_sdp.json`, `*_nl.json`, `*_test_set.json`): lists of flat
objects, strings all. Of MathQA and GSM8K only the test sets are at hand, so their training items
here are invented in that format; SVAMP's are the real ones where they are.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from reft_megatron.config import RewardConfig, TaskConfig
from reft_megatron.errors import DataError
from reft_megatron.rewards import Judge, majority, reward
from reft_megatron.tasks import Task, load_task
from reft_megatron.types import AnswerKind, Form, Problem

LIMITS = RewardConfig(workers=1, timeout_s=2.0, memory_mb=256)


class Case(NamedTuple):
    """A training item in one form, and what becomes of it."""

    task: str
    form: Form
    question: str
    answer: str
    cot: str
    kind: AnswerKind
    prompt: str
    """What a completion continues."""
    output: str
    """What supervised fine-tuning trains after `Question:\\n...\\nAnswer reasoning:\\n`."""


DOGS = "ann has 3 dogs and bob 4 . how many dogs have they ?"
WORK = "a man does a job in 4 days . how much of it does he do in one day ?"
OPTIONS = "a ) 1 / 2 , b ) 1 / 4 , c ) 4 , d ) 2 , e ) none of these"
DOGS_PROGRAM = (
    f'def solution():\n    """{DOGS}"""\n    dogs_ann = 3\n    dogs_bob = 4\n'
    "    result = dogs_ann + dogs_bob\n    return result"
)
WORK_PROGRAM = (
    f'def solution():\n    """{WORK}"""\n    days = 4\n    result = 1 / days\n    return result'
)
LETTER_PROGRAM = (
    f'def solution():\n    """{WORK}\n{OPTIONS}"""\n    share = 1 / 4\n'
    "    options = {'a': 1 / 2, 'b': 1 / 4, 'c': 4, 'd': 2}\n    result = 'e'\n"
    "    for letter, option in options.items():\n        if option == share:\n"
    "            result = letter\n    return result"
)
DOGS_WORDS = (
    "Ann has 3 dogs.\n\nTogether they have 3 + 4 = 7 dogs.\n\nTherefore, the answer is <7>."
)
WORK_WORDS = "In 4 days he does all of it, so in one day a fourth, which is 0.25."
LETTER_WORDS = "In one day he does a fourth of it.\n\nThat is option b."

CASES = [
    Case(
        *("gsm8k", "program", DOGS, "7", DOGS_PROGRAM, "number"),
        "Question:\nann has 3 dogs and bob 4 . how many dogs have they ?\nAnswer reasoning:\n"
        'def solution():\n    """ann has 3 dogs and bob 4 . how many dogs have they ?"""\n',
        'def solution():\n    """ann has 3 dogs and bob 4 . how many dogs have they ?"""\n'
        "    dogs_ann = 3\n    dogs_bob = 4\n    result = dogs_ann + dogs_bob\n    return result",
    ),
    Case(
        *("gsm8k", "nl", DOGS, "7", DOGS_WORDS, "number"),
        "Question:\nann has 3 dogs and bob 4 . how many dogs have they ?\nAnswer reasoning:\n",
        "Ann has 3 dogs.\n\nTogether they have 3 + 4 = 7 dogs.\n\nTherefore, the answer is <7>.\n"
        "Therefore, the answer is: 7",
    ),
    Case(
        *("svamp", "program", DOGS, "7.0", DOGS_PROGRAM, "number"),
        "Question:\nann has 3 dogs and bob 4 . how many dogs have they ?\nAnswer reasoning:\n"
        'def solution():\n    """ann has 3 dogs and bob 4 . how many dogs have they ?"""\n',
        'def solution():\n    """ann has 3 dogs and bob 4 . how many dogs have they ?"""\n'
        "    dogs_ann = 3\n    dogs_bob = 4\n    result = dogs_ann + dogs_bob\n    return result",
    ),
    Case(
        *("svamp", "nl", DOGS, "7.0", DOGS_WORDS, "number"),
        "Question:\nann has 3 dogs and bob 4 . how many dogs have they ?\nAnswer reasoning:\n",
        "Ann has 3 dogs.\n\nTogether they have 3 + 4 = 7 dogs.\n\nTherefore, the answer is <7>.\n"
        "Therefore, the answer is: 7.0",
    ),
    Case(
        *("mathqa", "program", f"{WORK}\n{OPTIONS}", "b", LETTER_PROGRAM, "letter"),
        "Question:\na man does a job in 4 days . how much of it does he do in one day ?\n"
        "a ) 1 / 2 , b ) 1 / 4 , c ) 4 , d ) 2 , e ) none of these\nAnswer reasoning:\n"
        'def solution():\n    """a man does a job in 4 days . how much of it does he do in one day '
        '?\na ) 1 / 2 , b ) 1 / 4 , c ) 4 , d ) 2 , e ) none of these"""\n',
        'def solution():\n    """a man does a job in 4 days . how much of it does he do in one day '
        '?\na ) 1 / 2 , b ) 1 / 4 , c ) 4 , d ) 2 , e ) none of these"""\n'
        "    share = 1 / 4\n    options = {'a': 1 / 2, 'b': 1 / 4, 'c': 4, 'd': 2}\n"
        "    result = 'e'\n    for letter, option in options.items():\n"
        "        if option == share:\n            result = letter\n    return result",
    ),
    Case(
        *("mathqa", "nl", f"{WORK}\n{OPTIONS}", "b", LETTER_WORDS, "letter"),
        "Question:\na man does a job in 4 days . how much of it does he do in one day ?\n"
        "a ) 1 / 2 , b ) 1 / 4 , c ) 4 , d ) 2 , e ) none of these\nAnswer reasoning:\n",
        "In one day he does a fourth of it.\n\nThat is option b.\nTherefore, the answer is: b",
    ),
    Case(
        *("mathqa-numeric", "program", WORK, "0.25", WORK_PROGRAM, "number"),
        "Question:\na man does a job in 4 days . how much of it does he do in one day ?\n"
        'Answer reasoning:\ndef solution():\n    """a man does a job in 4 days . how much of it '
        'does he do in one day ?"""\n',
        'def solution():\n    """a man does a job in 4 days . how much of it does he do in one day '
        '?"""\n    days = 4\n    result = 1 / days\n    return result',
    ),
    Case(
        *("mathqa-numeric", "nl", WORK, "0.25", WORK_WORDS, "number"),
        "Question:\na man does a job in 4 days . how much of it does he do in one day ?\n"
        "Answer reasoning:\n",
        "In 4 days he does all of it, so in one day a fourth, which is 0.25.\n"
        "Therefore, the answer is: 0.25",
    ),
]
PARITIES = ("correct", "reference")
EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.task}-{case.form}")


def loaded(case: Case, folder: Path, *, parity: str = "correct", **changes: str) -> Task:
    """The task of a training and a test file, both in the authors' format; no dev split."""
    item = {
        "item_id": f"{case.task}_12",
        "question": f" {case.question}\n",
        "answer_cot": f"{case.cot}\n",
        "answer_value": case.answer,
    } | changes
    asked = {"item_id": f"{case.task}_2984", "question": "how many ?", "answer_value": case.answer}
    files = {"train": [item], "test": [asked]}
    for name, items in files.items():
        (folder / f"{name}.json").write_text(json.dumps(items))
    return load_task(
        TaskConfig(
            name=case.task,
            form=case.form,
            parity=parity,
            train=str(folder / "train.json"),
            test=str(folder / "test.json"),
            dev_size=0,
        )
    )


def judged(case: Case, parity: str, texts: list[str]) -> list[tuple[float, float | str | None]]:
    """(reward, value) of completions in the form of the case, against its gold answer."""
    with Judge(form=case.form, kind=case.kind, config=LIMITS, parity=parity) as judge:
        verdicts = judge.judge([(text, case.answer) for text in texts])
        return [(reward(v, partial=judge.partial), v.value) for v in verdicts]


@EACH
def test_the_texts_are_the_references(case: Case, tmp_path: Path) -> None:
    for parity in PARITIES:
        task = loaded(case, tmp_path, parity=parity)
        [problem] = task.train
        assert (problem.id, problem.answer, task.kind) == (
            f"{case.task}_12",
            case.answer,
            case.kind,
        )
        assert task.prompt_text(problem) == case.prompt
        asked = f"Question:\n{case.question}\nAnswer reasoning:\n"
        assert task.supervised_text(problem) == (asked, case.output)
        assert (asked + case.output).startswith(case.prompt)
        assert [p.id for p in task.test] == [f"{case.task}_2984"]


@EACH
def test_a_gold_chain_is_right_and_a_cut_one_is_not(case: Case, tmp_path: Path) -> None:
    for parity in PARITIES:
        task = loaded(case, tmp_path, parity=parity)
        [problem] = task.train
        gold = "".join(task.supervised_text(problem)).removeprefix(case.prompt)
        texts = [task.answer_text(problem, text) for text in (gold, gold[: len(gold) // 2])]
        [(right, value), (cut, _)] = judged(case, parity, texts)
        assert right == 1.0
        assert value == (case.answer if case.kind == "letter" else float(case.answer))
        # What the reference pays for a failure, where answers are letters, is partial reward.
        assert cut == (0.1 if parity == "reference" and case.kind == "letter" else 0.0)


LETTERS = [
    # form, answer text, (reward, value) here, and the reference's
    ("program", "return 'a'", (0.0, "a"), (0.1, "a")),
    ("program", "return 'f'", (0.0, None), (0.1, "f")),
    ("program", "return 1 / 4", (0.0, None), (0.1, "0.25")),
    ("program", "return None", (0.0, None), (0.1, "none")),
    ("program", "return x", (0.0, None), (0.1, "none")),
    ("program", "return '\"B\"'", (1.0, "b"), (1.0, "b")),
    ("nl", "So.\nTherefore, the answer is: B", (1.0, "b"), (1.0, "b")),
    ("nl", "So.\nTherefore, the answer is: 'b'", (1.0, "b"), (1.0, "b")),
    ("nl", "So.\nTherefore, the answer is: a", (0.0, "a"), (0.1, "a")),
    ("nl", "It is b.", (0.0, None), (0.1, "it is b.")),
]


@pytest.mark.parametrize(("form", "text", "here", "theirs"), LETTERS)
def test_letters_earn_all_or_nothing(form: Form, text: str, here: object, theirs: object) -> None:
    case = next(case for case in CASES if (case.task, case.form) == ("mathqa", form))
    text = f"def solution():\n    {text}" if form == "program" else text
    assert judged(case, "correct", [text]) == [here]
    assert judged(case, "reference", [text]) == [theirs]


def test_a_vote_by_letters() -> None:
    """A failure has no vote, under the reference's rules neither though it is the text `none`."""
    case = next(case for case in CASES if (case.task, case.form) == ("mathqa", "program"))
    bodies = ["x", "x", "x", "'c'", "'b'", "'B'"]
    texts = [f"def solution():\n    return {body}" for body in bodies]
    for parity in PARITIES:
        values = [value for _, value in judged(case, parity, texts)]
        assert majority(values, exact=parity == "reference") == 4


NUMBERS = [
    # answer text, (reward, value) here, and the reference's; gold is 7
    ("So.\nTherefore, the answer is: 7.01", (1.0, 7.01), (1.0, 7.01)),
    ("So.\nTherefore, the answer is: 7.02", (0.1, 7.02), (0.1, 7.02)),
    ("So.\nTherefore, the answer is: 1,007", (0.1, 1007.0), (0.0, None)),
    ("So.\nTherefore, the answer is: $7.", (1.0, 7.0), (0.0, None)),
    ("So.\nTherefore, the answer is: <7>", (0.0, None), (0.0, None)),
    ("7", (0.0, None), (1.0, 7.0)),
]


@pytest.mark.parametrize("task", ["gsm8k", "svamp"])
def test_numbers_in_words(task: str) -> None:
    case = next(case for case in CASES if (case.task, case.form) == (task, "nl"))
    assert judged(case, "correct", [text for text, _, _ in NUMBERS]) == [n[1] for n in NUMBERS]
    assert judged(case, "reference", [text for text, _, _ in NUMBERS]) == [n[2] for n in NUMBERS]


BAD = [
    ({"question": " "}, "field 'question' is blank; wanted text"),
    ({"item_id": "other_12"}, "field 'item_id' is 'other_12', of another task than task.name="),
    ({"answer_cot": ""}, "field 'answer_cot' is blank; wanted text"),
    ({"answer_value": "none"}, "field 'answer_value' holds the answer 'none'; wanted "),
]


@EACH
def test_a_bad_item_is_named(case: Case, tmp_path: Path) -> None:
    for changes, complaint in BAD:
        with pytest.raises(DataError) as caught:
            loaded(case, tmp_path, **changes)
        assert str(caught.value).startswith(f"{tmp_path}/train.json: item 0: {complaint}")


@EACH
def test_the_file_of_the_other_form_is_named(case: Case, tmp_path: Path) -> None:
    other = next(c for c in CASES if c.task == case.task and c.form != case.form)
    with pytest.raises(DataError) as caught:
        loaded(case, tmp_path, answer_cot=other.cot)
    assert str(caught.value).startswith(
        f"{tmp_path}/train.json: item 0: field 'answer_cot' has the form {other.form}, but "
        f"task.form is {case.form}."
    )


@EACH
def test_a_dev_split_is_the_same_whatever_the_form(case: Case, tmp_path: Path) -> None:
    items = [
        {
            "item_id": f"{case.task}_{number}",
            "question": f"how much is {number} ?",
            "answer_cot": "def solution():\n    return 1" if case.form == "program" else "One.",
            "answer_value": case.answer,
        }
        for number in range(40)
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(items[::-1]))
    config = TaskConfig(name=case.task, form=case.form, train=str(path), dev_size=5)
    found = [problem.id for problem in load_task(config).dev]
    ids = [item["item_id"] for item in items]
    assert found == sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:5]


class Real(NamedTuple):
    """One of SVAMP's real training files."""

    task: Task
    problems: tuple[Problem, ...]


@pytest.fixture(scope="module", params=["program", "nl"])
def real(request: pytest.FixtureRequest, shared_data: Path) -> Real:
    name = {"program": "svamp_python_sdp.json", "nl": "svamp_nl.json"}[request.param]
    path = str(shared_data / "mwp_reft" / name)
    task = load_task(TaskConfig(name="svamp", form=request.param, train=path, dev_size=200))
    return Real(task, task.train + task.dev)


@pytest.mark.shared_data
def test_every_gold_chain_of_svamp_is_right(real: Real) -> None:
    """All but the twins of dev questions are there, and judged right, in both parities."""
    task, problems = real
    assert (len(problems), task.twins) == {"program": (3042, 1), "nl": (3073, 3)}[task.form]
    items = [(task.answer_text(p, task.supervised_text(p)[1]), p.answer) for p in problems]
    if task.form == "program":
        items = [(problem.cot, problem.answer) for problem in problems]
    for parity in PARITIES:
        with Judge(form=task.form, kind="number", config=LIMITS, parity=parity) as judge:
            wrong = [
                problem.id
                for problem, verdict in zip(problems, judge.judge(items), strict=True)
                if not verdict.correct
            ]
        assert wrong == []


@pytest.mark.shared_data
def test_the_prompts_of_svamp_have_the_references_lengths(real: Real) -> None:
    """Characters: the strings of the prompt are 29 of them, the head of a program 27 more."""
    task, problems = real
    for problem in problems:
        times, fixed = (2, 29 + 27) if task.form == "program" else (1, 29)
        assert len(task.prompt_text(problem)) == times * len(problem.question) + fixed


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "lines"), [("gsm8k", 1), ("svamp", 1), ("mathqa", 2), ("mathqa-numeric", 1)]
)
def test_real_test_questions_are_asked_as_they_stand(
    shared_data: Path, name: str, lines: int
) -> None:
    path = shared_data / "mwp_reft" / f"{name}_test_set.json"
    items = {item["item_id"]: item for item in json.loads(path.read_text())}
    task = load_task(TaskConfig(name=name, test=str(path)))
    assert {problem.id for problem in task.test} == set(items)
    for problem in task.test:
        question = items[problem.id]["question"]
        assert problem.answer == items[problem.id]["answer_value"]
        assert len(question.splitlines()) == lines
        assert task.prompt_text(problem) == (
            f'Question:\n{question}\nAnswer reasoning:\ndef solution():\n    """{question}"""\n'
        )
