"""One stage's command: its output, its end, and signals passed on to its ranks.

A run saves a checkpoint when it gets SIGTERM. So that it has time to, the ranks get it, and not
torchrun, which kills what has not ended after 30 seconds. Owns the process from start to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import psutil  # type: ignore[import-untyped]  # it has no types

from reft_megatron.errors import ConfigError

__all__ = ["Stopper", "execute", "held"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Stopper:
    """A wish to stop, from SIGINT, SIGTERM or SIGHUP; a second one ends what runs at once."""

    def __init__(self) -> None:
        self.asked = False
        """True once there was one."""
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take signals as wishes in the block."""
        old = [(number, signal.signal(number, self._heard)) for number in _SIGNALS]
        try:
            yield
        finally:
            for number, handler in old:
                signal.signal(number, handler)

    @contextlib.contextmanager
    def stopping(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Pass wishes on to `process`; whatever ends the block ends it too."""
        self._process = process
        if self.asked:
            _ask_to_end(process)
        try:
            yield
        except BaseException:
            _ask_to_end(process)
            raise
        finally:
            process.wait()
            self._process = None

    def _heard(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if self._process is None:
            return
        if again:
            _end(self._process)
        else:
            _ask_to_end(self._process)
            with contextlib.suppress(OSError, RuntimeError):  # no screen, or one in use
                sys.stderr.write("\nstopping: the ranks save a checkpoint first (again: at once)\n")


@contextlib.contextmanager
def held(folder: Path) -> Iterator[BinaryIO]:
    """The log of the stage in `folder`, to add to; nobody else makes the stage in the block.

    Raises ConfigError if another pipeline does at this moment.
    """
    with (folder / "output.log").open("ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder} is being made by another process at this moment: wait for it, or end it."
            ) from None
        yield log


def execute(words: Sequence[str], folder: Path, *, stopper: Stopper) -> int:
    """Run the command of the stage in `folder` to its end; its exit code.

    Its output is shown as it comes, as long as there is a screen, and added to `output.log`. Raises
    ConfigError if another pipeline runs the stage at this moment.
    """
    with held(folder) as log:
        reader, writer = _channel()
        # In a session of its own, or Ctrl-C would kill the ranks; it holds the lock if we are gone.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
            pass_fds=(log.fileno(),),
        )
        os.close(writer)
        # Whatever ends the block: nobody waits for a command that waits for its output to be read.
        with stopper.stopping(process), os.fdopen(reader, "rb", buffering=0) as output:
            _copy(output, log)
        return process.returncode


def _channel() -> tuple[int, int]:
    """(end to read, end to write): a terminal where the screen is one, so that bars move."""
    if not sys.stdout.isatty():
        return os.pipe()
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, termios.tcgetwinsize(sys.stdout.fileno()))
    modes = termios.tcgetattr(writer)
    modes[1] &= ~termios.OPOST  # the screen ends its lines itself
    termios.tcsetattr(writer, termios.TCSANOW, modes)
    return reader, writer


def _copy(output: BinaryIO, log: BinaryIO) -> None:
    """To the screen as it is; to the log as lines, without colours and overwritten text."""
    line = b""
    while chunk := _read(output):
        _show(chunk)
        *lines, line = (line + chunk).split(b"\n")
        log.writelines(_plain(whole) + b"\n" for whole in lines)
        log.flush()
        line = _seen(line)  # a bar moves on for hours without an end of line
    if line:
        log.write(_plain(line) + b"\n")


def _show(chunk: bytes) -> None:
    """On the screen; one that is gone, as after SIGHUP, is given up: all goes on without it."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except OSError:
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, sys.stdout.fileno())
        os.close(nobody)


def _read(output: BinaryIO) -> bytes:
    try:
        return output.read(1 << 16) or b""
    except OSError:
        return b""  # a terminal's end, once nobody holds its other one


def _seen(line: bytes) -> bytes:
    """What is not overwritten of a line, which may go on."""
    bare = _ESCAPES.sub(b"", line)
    return bare[bare.rstrip(b"\r").rfind(b"\r") + 1 :]


def _plain(line: bytes) -> bytes:
    return _seen(line).rstrip(b"\r")


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the ranks, or to a launcher that passes it on and waits."""
    with contextlib.suppress(psutil.NoSuchProcess):
        launcher = psutil.Process(process.pid)
        torchrun = "torchrun" in [Path(word).name for word in launcher.cmdline()[:2]]
        for target in (launcher.children() if torchrun else []) or [launcher]:
            with contextlib.suppress(psutil.NoSuchProcess):
                target.terminate()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        launcher = psutil.Process(process.pid)
        for target in [launcher, *launcher.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                target.kill()
