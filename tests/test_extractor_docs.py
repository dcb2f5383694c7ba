"""Every program of docs/extractor.md ends as the page says."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from reft_megatron.ops.extractor import Extractor, Route, Status
from reft_megatron.ops.results import Results

PAGE = Path(__file__).parents[1] / "docs" / "extractor.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n((?:\s*-> [^\n]*\n)*)", re.MULTILINE | re.DOTALL)
OUTCOME = re.compile(r"-> (.*?)( by a worker)?(?: with (.+))?")
CALL = re.compile(r"^```python\n(from reft_megatron.*?)^```\n\n```text\n(.*?)^```", re.M | re.S)


class Example(NamedTuple):
    program: str
    outcome: str
    by_worker: bool
    settings: dict[str, str]


def examples() -> list[Example]:
    found = []
    for program, outcomes in BLOCK.findall(PAGE.read_text()):
        for line in outcomes.split("\n"):
            told = OUTCOME.fullmatch(line.strip())
            if told is not None:
                call = ast.parse(f"f({told[3] or ''})", mode="eval").body
                settings = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
                found.append(Example(program, told[1], bool(told[2]), settings))
    return found


def outcome(results: Results) -> str:
    """How the page tells an outcome, with all its details."""
    status = Status(results.status[0])
    if status == Status.OK:
        return str(results.value[0])
    if status == Status.OK_NONFINITE:
        return f"OK_NONFINITE ({results.value[0]})"
    return f"{status.name} ({results.exception(0) or results.why(0) or results.type_name(0)})"


@pytest.mark.parametrize("example", examples())
def test_a_program_ends_as_the_page_says(example: Example) -> None:
    with Extractor(workers=1, **example.settings) as extractor:
        results = extractor.run([example.program])
    told = outcome(results)
    assert example.outcome in (told, told.partition(" ")[0])
    assert bool(results.route[0] == Route.WORKER) is example.by_worker


def test_calls_print_what_the_page_says() -> None:
    calls = CALL.findall(PAGE.read_text())
    assert calls
    for code, printed in calls:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(code, str(PAGE), "exec"), {})
        assert shown.getvalue() == printed


def test_every_block_has_an_outcome() -> None:
    blocks = re.findall(r"^```python\n", PAGE.read_text(), re.MULTILINE)
    with_outcome = {example.program for example in examples()}
    assert len(blocks) == len(with_outcome) + len(CALL.findall(PAGE.read_text()))
    assert any(example.settings for example in examples())
    assert any(example.by_worker for example in examples())


def test_every_status_and_limit_is_explained() -> None:
    text = PAGE.read_text()
    assert [s.name for s in Status if f"| {s.name} |" not in text] == []
    with Extractor() as extractor:
        limits = extractor.limits._fields
    assert [name for name in limits if f"| `{name}` |" not in text] == []
