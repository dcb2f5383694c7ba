"""What a user's file holds, and what its function does, becomes one message."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from reft_megatron.rewards.reward_process import LoadError, answer, load

PROBLEM = {"id": "a", "question": "?", "answer": "3", "cot": "", "extra": {"low": 2}}
ASKED = {"problem": PROBLEM, "completion": "so 3"}


@pytest.fixture(autouse=True)
def _import_path() -> None:
    before = list(sys.path)
    yield
    sys.path[:] = before
    sys.modules.pop("custom_reward", None)


def written(folder: Path, text: str) -> Path:
    path = folder / "own.py"
    path.write_text(text)
    return path


def answered(folder: Path, body: str) -> dict[str, object]:
    head = "from reft_megatron.rewards import right, wrong, no_answer\n"
    path = written(folder, f"{head}def reward(problem, completion):\n    {body}\n")
    return answer(load(path), ASKED, str(path))


def test_a_verdict_is_told_by_its_fields(tmp_path: Path) -> None:
    found = answered(tmp_path, "return right(problem.extra['low'] + len(completion))")
    assert found == {"verdict": {"reason": "correct", "value": 6.0, "detail": ""}}
    found = answered(tmp_path, "return no_answer(problem.answer * 300)")
    assert found == {"verdict": {"reason": "no_solution", "value": None, "detail": "3" * 200}}
    assert answered(tmp_path, "return wrong('b')")["verdict"]["value"] == "b"
    numpy = "import numpy; return wrong(numpy.float32(0.5))"
    assert answered(tmp_path, numpy)["verdict"]["value"] == np.float32(0.5)


@pytest.mark.parametrize("number", ["10**400", "-10**400", "float('nan')", "float('-inf')"])
def test_a_number_that_cannot_vote_is_none(tmp_path: Path, number: str) -> None:
    found = answered(tmp_path, f"return wrong({number})")
    assert found == {"verdict": {"reason": "wrong_value", "value": None, "detail": ""}}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return None", "TypeError: reward returned None; wanted right(...), wrong(...) or no_"),
        ("return True", "TypeError: reward returned True; wanted"),
        ("return 1.0", "TypeError: reward returned 1.0; wanted"),
        ("return right('abc')", "ValueError: reward gave the value 'abc'; wanted a number or one"),
        ("return right('3')", "ValueError: reward gave the value '3'; wanted a number or one"),
        ("return right(True)", "ValueError: reward gave the value True"),
        ("return {}['x']", "KeyError: 'x' (own.py, line 3)"),
        ("raise SystemExit(3)", "SystemExit: 3 (own.py, line 3)"),
        ("problem.id = 'b'", "dataclasses.FrozenInstanceError: cannot assign to field 'id'"),
    ],
)
def test_anything_else_is_a_fault(tmp_path: Path, body: str, told: str) -> None:
    assert str(answered(tmp_path, body)["fault"]).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def rewards(a, b): ...", r"has no function `reward` but \['rewards'\]; wanted `def rew"),
        (
            "def reward(problem): ...",
            r"`reward` of .* takes \(problem\); wanted `def reward\(probl",
        ),
        ("def reward(a, b, c): ...", r"takes \(a, b, c\)"),
        ("reward = 3", "is no plain function"),
        ("async def reward(a, b): ...", "is no plain function"),
        ("import nowhere", r"ModuleNotFoundError: No module named 'nowhere' \(own.py, line 1\)"),
        ("\n\nx = 1 / 0", r"ZeroDivisionError: division by zero \(own.py, line 3\)"),
        ("def reward(:", r"SyntaxError: .* \(own.py, line 1\)"),
        ("import sys; sys.exit(2)", r"SystemExit: 2 \(own.py, line 1\)"),
    ],
)
def test_a_file_without_a_reward_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(LoadError, match=told):
        load(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="there is no file"):
        load(tmp_path / "none.py")
    (tmp_path / "own.txt").write_text("x")
    with pytest.raises(LoadError, match=r"is no Python file; its name should end in \.py"):
        load(tmp_path / "own.txt")


def test_defaults_and_neighbours_are_fine(tmp_path: Path) -> None:
    (tmp_path / "beside_the_reward.py").write_text("LIMIT = 4\n")
    text = "from beside_the_reward import LIMIT\ndef reward(a, b, limit=LIMIT): return limit\n"
    assert load(written(tmp_path, text))(1, 2) == 4
