"""What the extractor is compared with answers as it should."""

from __future__ import annotations

import sys
import types

import pytest

from tools.extractor_bench import rivals

PROGRAMS = [f"def solution():\n    print(0)\n    return {value}" for value in (1, 2, 3)]


def test_exec_and_the_pool_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert rivals.run_exec(PROGRAMS) == [1, 2, 3]
    assert rivals.run_reference(PROGRAMS) == [1, 2, 3]
    assert "0" not in capsys.readouterr().out


class Session:
    def __enter__(self) -> Session:
        return self

    def __exit__(self, *ended: object) -> None:
        pass

    def feed_run(self, text: str) -> object:
        names: dict[str, object] = {}
        body, _, last = text.rpartition("\n")
        exec(body.replace("print(0)", "pass"), names)
        return eval(last, names)


class Pool(Session):
    def __init__(self, **processes: int) -> None:
        assert processes == {"min_processes": 1, "max_processes": 1}

    def checkout(self) -> Session:
        return Session()


class InProcess:
    def __init__(self, text: str) -> None:
        self._text = text

    def run(self) -> object:
        return Session().feed_run(self._text)


@pytest.mark.parametrize(
    ("kind", "name"), [(Pool, "1.4.0, one subprocess"), (InProcess, "1.4.0, in process")]
)
def test_monty_of_either_kind(kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("pydantic_monty")
    module.Monty = kind
    monkeypatch.setitem(sys.modules, "pydantic_monty", module)
    monkeypatch.setattr(rivals, "version", lambda _: "1.4.0")
    rival = rivals.monty()
    assert rival is not None
    assert rival.name == f"pydantic-monty {name}"
    assert rival.run([*PROGRAMS, "def solution():\n    return 1 / 0"]) == [1, 2, 3, None]


def test_without_monty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_monty", None)
    assert rivals.monty() is None
