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
    assert execute(["bash", "-c", script], tmp_path, stopper=Stopper()) == 3
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
    words = [sys.executable, "-c", again, str(tmp_path)]
    assert execute(words, tmp_path, stopper=Stopper()) == 0
    assert log.read_text() == (
        f"{tmp_path} is being made by another process at this moment: wait for it, or end it.\n"
    )
    assert execute(["true"], tmp_path, stopper=Stopper()) == 0


PARENT = """
import pathlib, sys
from reft_megatron.commands.reproduce.execution import Stopper, execute
stopper = Stopper()
with stopper.listening():
    code = execute(sys.argv[2:], pathlib.Path(sys.argv[1]), stopper=stopper)
print("asked", stopper.asked, "code", code)
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
        [sys.executable, "-c", PARENT, str(log.parent), *words],
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
    shell = ["bash", "-c", "test -t 1 && echo terminal"]
    words = [sys.executable, "-c", PARENT, str(tmp_path), *shell]
    with subprocess.Popen(words, stdout=writer) as process:
        assert process.wait(timeout=120) == 0
    os.close(writer)
    assert os.read(reader, 1000).splitlines() == [b"terminal", b"asked False code 0"]
    os.close(reader)
    assert log.read_text() == "terminal\n"


@pytest.mark.parametrize("screen", ["terminal", "pipe"])
def test_a_screen_that_is_gone_is_given_up(tmp_path: Path, screen: str) -> None:
    reader, writer = pty.openpty() if screen == "terminal" else os.pipe()
    log, gone = tmp_path / "output.log", tmp_path / "gone"
    script = f"echo ready; until [ -e {gone} ]; do sleep 0.05; done; yes | head -c 200000; echo end"
    words = [sys.executable, "-c", PARENT, str(tmp_path), "bash", "-c", script]
    with subprocess.Popen(words, stdout=writer) as process:
        os.close(writer)
        wait_for(log, "ready")
        os.close(reader)
        gone.touch()
        assert process.wait(timeout=120) == 0
    assert log.read_text() == "ready\n" + "y\n" * 100_000 + "end\n"


def test_a_signal_arrives_though_nobody_can_be_told(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    with start(log, "bash", "-c", TRAP) as process:
        wait_for(log, "ready")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        assert process.stdout.read() == "ready\nsaved\nasked True code 0\n"
    assert process.returncode == 0


def test_what_breaks_the_copying_ends_a_command_however_much_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Screen:
        def isatty(self) -> bool:
            return False

        def flush(self) -> None:
            raise MemoryError

    monkeypatch.setattr(sys, "stdout", Screen())
    script = (
        "trap 'yes | head -c 1000000; exit 0' TERM; echo ready; while true; do sleep 0.05; done"
    )
    with pytest.raises(MemoryError):
        execute(["bash", "-c", script], tmp_path, stopper=Stopper())


def test_a_bar_that_moves_for_long_is_one_short_line(tmp_path: Path) -> None:
    script = r"for i in $(seq 20000); do printf '\r\033[K%s of 20000' $i; done; printf '\r\n'"
    assert execute(["bash", "-c", script], tmp_path, stopper=Stopper()) == 0
    assert (tmp_path / "output.log").read_text() == "20000 of 20000\n"
