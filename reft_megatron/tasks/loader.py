"""From a `TaskConfig` to a `Task`: reads files, checks them, makes splits.

Owns what no single record can tell: ids that occur twice, questions shared by train and test, and
sizes that the files cannot serve. Formats belong to `gsm8k` and `items`, reading to `records`.

Try it: `load_task(TaskConfig(name="gsm8k", form="nl", train="train.jsonl", test="test.jsonl"))`.
"""

from __future__ import annotations

from collections.abc import Sequence

from reft_megatron.config import TaskConfig
from reft_megatron.errors import ConfigError, DataError
from reft_megatron.tasks import arithmetic, custom, gsm8k
from reft_megatron.tasks.gold import answer_kind
from reft_megatron.tasks.items import problem_from_item
from reft_megatron.tasks.records import Record, read_records
from reft_megatron.tasks.splits import carve_dev, shuffled
from reft_megatron.tasks.task import Task
from reft_megatron.types import Form, Problem

__all__ = ["load_task"]

_ARITHMETIC_TRAIN = 500
_ARITHMETIC_TEST = 1000

_AUTHORS = "The data files are in the folder data of github.com/lqtrung1998/mwp_ReFT."
_REMEDIES = {
    "gsm8k": gsm8k.SOURCE,
    "svamp": _AUTHORS,
    "mathqa": _AUTHORS,
    "mathqa-numeric": _AUTHORS,
    "custom": custom.REMEDY,
}


def load_task(config: TaskConfig) -> Task:
    """The task that `config` names, with its splits; the same config gives the same task.

    An empty `config.train` or `config.test` leaves those splits empty: `Task.problems` says so
    when they are asked for.

    Raises:
        DataError: a file is missing or malformed, an id occurs twice, a question is in train and
            in test.
        ConfigError: the files hold fewer problems than asked for, or the task is generated and a
            file or a form is named that it does not have.
    """
    custom.check_settings(config)
    _check_source(config)
    train, dev, twins = _train_and_dev(config)
    test = _test(config)
    _check_apart(train + dev, test)
    if config.name == "custom":  # ids of other tasks count the problems of one file
        _check_ids_apart(train + dev, test)
    return Task(
        name=config.name,
        form=config.form,
        kind=answer_kind(config),
        parity=config.parity,
        train=train,
        dev=dev,
        test=test,
        twins=twins,
        template=config.prompt,
    )


def _check_source(config: TaskConfig) -> None:
    if config.name == "arithmetic":
        if config.train or config.test:
            raise ConfigError(
                f"task.name is arithmetic, which is generated, but a data file is named: "
                f"{config.train or config.test}. Set task.name to the task of the file."
            )
        if config.form != "program":
            raise ConfigError("the arithmetic task has programs only: set task.form=program")
    elif not (config.train or config.test):
        raise DataError(f"task.train and task.test are empty. {_REMEDIES[config.name]}")


def _train_and_dev(
    config: TaskConfig,
) -> tuple[tuple[Problem, ...], tuple[Problem, ...], int]:
    """The two splits, and how many problems of the file are in neither for their question."""
    if config.name == "arithmetic":
        size = config.train_size or _ARITHMETIC_TRAIN
        train = arithmetic.problems("train", count=size, seed=config.data_seed)
        return train, arithmetic.problems("dev", count=config.dev_size, seed=config.data_seed), 0
    if not config.train:
        return (), (), 0
    problems = _read(config.train, config, config.form)
    if config.dev_size >= len(problems):
        raise ConfigError(
            f"{config.train} holds {len(problems)} problems, and task.dev_size="
            f"{config.dev_size} leaves none to train on: lower task.dev_size"
        )
    train, dev = carve_dev(problems, config.dev_size)
    twins = len(problems) - len(train) - len(dev)
    return _first(train, config.train_size, "train"), dev, twins


def _test(config: TaskConfig) -> tuple[Problem, ...]:
    if config.name == "arithmetic":
        size = config.test_size or _ARITHMETIC_TEST
        return arithmetic.problems("test", count=size, seed=config.data_seed)
    if not config.test:
        return ()
    return _first(shuffled(_read(config.test, config, None)), config.test_size, "test")


def _first(problems: tuple[Problem, ...], size: int, split: str) -> tuple[Problem, ...]:
    if size > len(problems):
        raise ConfigError(
            f"task.{split}_size={size}, but there are {len(problems)} {split} problems: "
            f"lower it, or set it to 0 to take all"
        )
    return problems[: size or None]


def _read(path: str, config: TaskConfig, cot_form: Form | None) -> list[Problem]:
    records = read_records(path, _REMEDIES[config.name])
    problems = [_problem(record, config, cot_form) for record in records]
    first: dict[str, Record] = {}
    for record, problem in zip(records, problems, strict=True):
        if problem.id in first:
            earlier = first[problem.id].place
            field = "id" if config.name == "custom" else "item_id"
            raise record.error(field, f"is {problem.id!r}, as at {earlier}; ids are unique")
        first[problem.id] = record
    return problems


def _problem(record: Record, config: TaskConfig, cot_form: Form | None) -> Problem:
    if config.name == "custom":
        return custom.custom_problem(record, config)
    if config.name == "gsm8k" and "answer" in record.fields:
        return gsm8k.problem_from_line(record, cot_form)
    return problem_from_item(record, config.name, cot_form)


def _check_ids_apart(train: Sequence[Problem], test: Sequence[Problem]) -> None:
    if shared := sorted({problem.id for problem in train} & {problem.id for problem in test}):
        raise DataError(
            f"{len(shared)} ids are in task.train and in task.test, such as {shared[0]!r}: give "
            f"every problem an id of its own"
        )


def _check_apart(train: Sequence[Problem], test: Sequence[Problem]) -> None:
    trained = {problem.question: problem.id for problem in train}
    for problem in test:
        if problem.question in trained:
            raise DataError(
                f"the test problem {problem.id} asks the same question as the training problem "
                f"{trained[problem.question]}: remove one of them from its file"
            )
