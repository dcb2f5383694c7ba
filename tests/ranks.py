"""Real ranks for tests: a process that imports the engine once and forks every world from itself.

Importing Megatron costs seconds, a fork milliseconds. So the tests talk to one process that has
imported everything, and each world of N ranks is N forks of it that meet over gloo, as under
torchrun. A *play* is a module-level function of a test file; every rank calls it with the same
arguments, and what the ranks return comes back as a list in rank order.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300
GRACE_S = 5.0


class Ranks:
    """The tests' end: `ranks(world, play, *args)`; the same call twice is played once."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[Any, list[Any]] = {}

    def __call__(self, world: int, play: Callable[..., Any], *args: Any) -> list[Any]:
        """What `play(*args)` returned on every rank of a world of that many processes."""
        request = (world, play.__module__, play.__qualname__, args)
        key = pickle.dumps(request)
        if key not in self._seen:
            self._seen[key] = self._ask(request)
        return self._seen[key]

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its input, which ends it

    def _ask(self, request: tuple[Any, ...]) -> list[Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.ranks"],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        pickle.dump(request, self._process.stdin)
        self._process.stdin.flush()
        results, complaint = pickle.load(self._process.stdout)
        if complaint:
            raise AssertionError(complaint)
        return results


def serve() -> None:
    """The forking end: answer requests on standard input until it closes."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the engine prints must not come between the answers
    # Before any test file can import Megatron, which must find its CUDA calls answered.
    importlib.import_module("reft_megatron.policy")
    while True:
        try:
            world, module, name, args = pickle.load(requests)
        except EOFError:
            return
        play = getattr(importlib.import_module(module), name)
        with tempfile.TemporaryDirectory() as folder:
            complaint = _run_world(world, play, args, Path(folder))
            found = [] if complaint else [_read(Path(folder), rank) for rank in range(world)]
        pickle.dump((found, complaint), answers)
        answers.flush()


def _run_world(world: int, play: Callable[..., Any], args: tuple[Any, ...], folder: Path) -> str:
    """Play on `world` forks of this process; returns what went wrong, or nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = {}
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            os._exit(_rank_main(rank, world, port, lambda: play(*args), folder))
        children[pid] = rank
    failed = _wait(dict(children))
    told = [(folder / f"{rank}.error") for rank in sorted(children.values())]
    texts = [path.read_text() for path in told if path.exists()]
    return "\n".join(texts) or ", ".join(failed)


def _wait(children: dict[int, int]) -> list[str]:
    """Wait for all; once one has failed the others have a few seconds left. Returns failures."""
    failed = []
    deadline = time.monotonic() + TIMEOUT_S
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            rank = children.pop(pid)
            if status:
                failed.append(f"rank {rank} ended with status {status}")
                deadline = min(deadline, time.monotonic() + GRACE_S)
        elif time.monotonic() > deadline:
            failed += [f"rank {rank} hung" for rank in children.values()]
            for hung in children:
                os.kill(hung, signal.SIGKILL)
            deadline = float("inf")
        else:
            time.sleep(0.01)
    return failed


def _rank_main(rank: int, world: int, port: int, play: Callable[[], Any], folder: Path) -> int:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    try:
        (folder / f"{rank}.pickle").write_bytes(pickle.dumps(play()))
    except BaseException:
        (folder / f"{rank}.error").write_text(f"on rank {rank}:\n{traceback.format_exc()}")
        return 1
    return 0


def _read(folder: Path, rank: int) -> Any:
    return pickle.loads((folder / f"{rank}.pickle").read_bytes())


if __name__ == "__main__":
    serve()
    os._exit(0)  # the engine takes seconds to unload
