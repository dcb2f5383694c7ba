"""Tests of one command: what is shown and kept of it, its end, and signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.execution import Stopper, execute


def test_output_is_shown_and_kept_and_the_exit_code_told(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    script = r"printf 'one\nhalf\rwhole\n\033[1mbold\033[0m'; echo err >&2; exit 3"
    log = tmp_path / "output.log"
    log.write_text("before\n")
    outcome = execute(["bash", "-c", script], log, stopper=Stopper())
    assert outcome.code == 3
    assert outcome.seconds >= 0
    assert capfdbinary.readouterr().out == b"one\nhalf\rwhole\n\x1b[1mbold\x1b[0merr\n"
    assert log.read_text() == "before\none\nwhole\nbolderr\n"


def test_a_stage_runs_once_at_a_time(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    again = textwrap.dedent(
        """
        import sys, pathlib
        from reft_megatron.commands.reproduce.execution import Stopper, execute
        from reft_megatron.errors import ConfigError
        try:
            execute(["true"], pathlib.Path(sys.argv[1]), stopper=Stopper())
        except ConfigError as error:
            print(error)
        """
    )
    assert execute([sys.executable, "-c", again, str(log)], log, stopper=Stopper()).code == 0
    assert log.read_text() == (
        f"{tmp_path} is being made by another process at this moment: wait for it, or end it.\n"
    )
    assert execute(["true"], log, stopper=Stopper()).code == 0


PARENT = """
import pathlib, sys
from reft_megatron.commands.reproduce.execution import Stopper, execute
stopper = Stopper()
with stopper.listening():
    outcome = execute(sys.argv[2:], pathlib.Path(sys.argv[1]), stopper=stopper)
print("asked", stopper.asked, "code", outcome.code)
"""
TRAP = "trap 'echo saved; exit 0' TERM; echo ready; while true; do sleep 0.05; done"
DEAF = "trap '' TERM; echo ready; while true; do sleep 0.05; done"


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 120
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < deadline, f"no {text}"
        time.sleep(0.02)


def start(log: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_becomes_sigterm_for_the_command(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "output.log"
    process = start(log, "bash", "-c", TRAP)
    wait_for(log, "ready")
    process.send_signal(number)
    told, errors = process.communicate(timeout=120)
    assert told == "ready\nsaved\nasked True code 0\n"
    assert errors == "\nstopping: the ranks save a checkpoint first (again: at once)\n"


def test_torchruns_ranks_get_it_and_not_torchrun(tmp_path: Path) -> None:
    torchrun = tmp_path / "torchrun"
    torchrun.write_text(
        f"import subprocess, sys\n"
        f"rank = subprocess.Popen(['bash', '-c', {TRAP!r}], start_new_session=True)\n"
        f"print('rank ended with', rank.wait(), flush=True)\n"
    )
    log = tmp_path / "output.log"
    process = start(log, sys.executable, str(torchrun))
    wait_for(log, "ready")
    process.terminate()
    told, _ = process.communicate(timeout=120)
    assert told == "ready\nsaved\nrank ended with 0\nasked True code 0\n"


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    process = start(log, "bash", "-c", DEAF)
    wait_for(log, "ready")
    process.terminate()
    assert process.stderr is not None
    assert process.stderr.readline() + process.stderr.readline() == (
        "\nstopping: the ranks save a checkpoint first (again: at once)\n"
    )
    process.terminate()
    told, _ = process.communicate(timeout=120)
    assert told == f"ready\nasked True code {-signal.SIGKILL}\n"


def test_on_a_terminal_the_command_has_one_too(tmp_path: Path) -> None:
    reader, writer = pty.openpty()
    log = tmp_path / "output.log"
    words = [sys.executable, "-c", PARENT, str(log), "bash", "-c", "test -t 1 && echo terminal"]
    with subprocess.Popen(words, stdout=writer) as process:
        assert process.wait(timeout=120) == 0
    os.close(writer)
    assert os.read(reader, 1000).splitlines() == [b"terminal", b"asked False code 0"]
    os.close(reader)
    assert log.read_text() == "terminal\n"


def test_what_breaks_the_screen_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Screen:
        def isatty(self) -> bool:
            return False

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Screen())
    with pytest.raises(BrokenPipeError):
        execute(["bash", "-c", TRAP], tmp_path / "output.log", stopper=Stopper())
