"""CPython as the oracle: a process that runs programs, and may die of it.

Owns the process, and starts another whenever it dies. A program that kills it, or does not come
back, has met a limit: that of the machine instead of its own.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reft_megatron.closing import Closing

__all__ = ["Answer", "Oracle"]

_PROCESS = Path(__file__).with_name("oracle_process.py")
_LENGTH = struct.Struct("<I")
_PATIENCE = 8  # seconds on a busy machine, for one of processor time
_MEMORY_BYTES = 1 << 30
_READ = 1 << 16


class Answer(NamedTuple):
    """What CPython made of a program."""

    kind: str
    """`value`, `raised`, `syntax`, `no_entry`, `limit` or `denied`."""
    exception: str = ""
    """Name of the exception; of a limit, or of what was denied."""
    type_name: str = ""
    """Type of the result."""
    value: str = ""
    """float.hex() of the result; empty if float() fails."""
    text: str = ""
    """The start of str() of the result."""
    micros: int = 0
    """Processor time."""


class Oracle(Closing):
    """Answers batches of programs. Not for several threads."""

    def __init__(self, python: str = sys.executable, *, seconds: float = 0.5) -> None:
        """`python` is a CPython 3.11, `seconds` of processor time are for a program.

        Raises ValueError if it is another Python.
        """
        self._python = python
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        asked = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
        told = subprocess.run([python, "-I", "-S", "-c", asked], capture_output=True, check=True)
        if told.stdout.split() != [b"cpython", b"3", b"11"]:
            version = told.stdout.decode().strip()
            raise ValueError(f"{python} is {version}; the oracle must be CPython 3.11.")

    def answers(self, programs: Sequence[str]) -> list[Answer]:
        """What became of each program."""
        answers: list[Answer] = []
        while len(answers) < len(programs):
            left = programs[len(answers) :]
            answers += self._ask(left)
            if len(answers) < len(programs):
                self.close()
                answers.append(Answer(kind="limit", exception="killed"))
        return answers

    def again(self, program: str) -> Answer:
        """What becomes of it in a fresh process, where the same things have other addresses."""
        self.close()
        return self.answers([program])[0]

    def close(self) -> None:
        """End the process; the next batch starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, programs: Sequence[str]) -> list[Answer]:
        """The answers that came; fewer than programs if the process died or hangs."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        sources = [program.encode(errors="surrogatepass") for program in programs]
        unsent = b"".join(_LENGTH.pack(len(source)) + source for source in sources)
        into, out = process.stdin.fileno(), process.stdout.fileno()
        received, deadline = b"", time.monotonic() + _PATIENCE * self._seconds
        while received.count(b"\n") < len(programs):
            wait = deadline - time.monotonic()
            readable, writable, _ = select.select([out], [into] if unsent else [], [], max(0, wait))
            if writable:
                unsent = unsent[_send(into, unsent) :]
            if readable:
                data = os.read(out, _READ)
                if not data:
                    break
                received += data
                deadline = time.monotonic() + _PATIENCE * self._seconds
            if not readable and not writable:
                break
        return [Answer(*json.loads(line)) for line in received.split(b"\n")[:-1]]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [self._python, "-sSP", str(_PROCESS), str(self._seconds), str(_MEMORY_BYTES)]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONHASHSEED": "0"},
                bufsize=0,
            )
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
        return self._process


def _send(pipe: int, data: bytes) -> int:
    """How many bytes went out; all, if nobody reads any more."""
    try:
        return os.write(pipe, data[:_READ])
    except BrokenPipeError:
        return len(data)
