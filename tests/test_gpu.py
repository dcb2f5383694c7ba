"""The way to a GPU: a process of its own, which sees what the tests do not."""

from __future__ import annotations

import os

import pytest

from tests import gpu


def play(seen: int) -> tuple[str | None, int, int]:
    print("this must not come between")
    return os.environ.get(gpu.VISIBLE), os.getpid(), seen


def broken() -> None:
    raise RuntimeError("of the play")


def test_a_play_has_a_process_of_its_own_and_sees_what_is_hidden(monkeypatch: pytest.MonkeyPatch):
    for hidden, visible in (("3,4", "3,4"), (gpu.EVERY, None)):
        monkeypatch.setenv(gpu.HIDDEN, hidden)
        seen, process, given = gpu.perform(play, 5)
        assert (seen, given) == (visible, 5)
        assert process != os.getpid()
        gpu.hide()
        assert os.environ[gpu.HIDDEN] == hidden, "it is hidden once"
    assert os.environ[gpu.VISIBLE] == ""


def test_what_fails_in_a_play_is_told():
    with pytest.raises(AssertionError, match="RuntimeError: of the play"):
        gpu.perform(broken)
