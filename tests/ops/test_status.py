"""The public numbers, here and in C++."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reft_megatron.ops.status import EXCEPTIONS, Status, exception_number

CORE = Path(__file__).parents[2] / "csrc" / "extractor" / "base"


def test_exceptions_are_those_of_the_core() -> None:
    lines = (CORE / "exceptions.inc").read_text().splitlines()
    names = [found[1] for line in lines if (found := re.match(r"EXC\((\w+),", line))]
    assert tuple(names) == EXCEPTIONS


def test_statuses_are_those_of_the_core() -> None:
    body = (CORE / "status.hpp").read_text().partition("enum class Status")[2].partition("};")[0]
    core = {int(number): name for name, number in re.findall(r"k(\w+) = (\d+)", body)}
    assert core == {status.value: status.name.title().replace("_", "") for status in Status}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (BaseException, "BaseException"),
        (ZeroDivisionError, "ZeroDivisionError"),
        (IOError, "OSError"),
        (type("ValueError", (Exception,), {}), "Other"),
        (ExceptionGroup, "ExceptionGroup"),
    ],
)
def test_number_of_an_exception(kind: type[BaseException], name: str) -> None:
    assert EXCEPTIONS[exception_number(kind) - 1] == name
