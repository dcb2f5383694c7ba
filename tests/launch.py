"""Real runs for tests: ranks of the command line that train, fail and are killed.

A run is a play (see `tests.ranks`) that calls `cli.main` on every rank. It goes on while the test
looks at the files it leaves, and can be sent a signal. What a run imports, and be it late, is
imported here, so that the forking process has it and its forks need not import it again.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas

from reft_megatron.cli import main
from reft_megatron.config import Config, load_config
from reft_megatron.recipes import (
    evaluate,
    offline_sl,
    online_sl,
    ppo,
    pretrain,
    rerank,
    sample,
    sft,
)
from reft_megatron.tasks import load_task
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from tests.ranks import Ranks

RECIPES = (evaluate, offline_sl, online_sl, ppo, pretrain, rerank, sample, sft)
LATE = (pandas,)
"""pyarrow looks for it at its first conversion, on every rank."""
QUAD = ("parallel.tensor=2", "parallel.pipeline=2", "parallel.sequence=true")
"""TP2 x PP2, for a world of 4."""
INDICES = ("weights/.metadata", "optimizer/.metadata")
"""Of a checkpoint: torch's lists of tensors."""
CONSTANT_LR = ("optimizer.schedule=constant", "optimizer.warmup_fraction=0")


def write_items(path: Path, count: int) -> None:
    """Problems that a tiny model learns in seconds: three of four are answered by `return 7`.

    One in five has a longer prompt.
    """
    items = []
    for number in range(count):
        question = f"How many{', all in all,' if number % 5 == 0 else ''} is {number}?"
        items.append(
            {
                "item_id": f"svamp_{number}",
                "question": question,
                "answer_value": "7" if number % 4 else "5",
                "answer_cot": f'def solution():\n    """{question}"""\n    return 7',
            }
        )
    path.write_text(json.dumps(items))


class Launcher:
    """Starts runs on a tiny task; `folder` holds them all."""

    def __init__(self, ranks: Ranks, tokenizer: Path, folder: Path) -> None:
        write_items(folder / "items.json", 40)
        self.folder = folder
        """Where all runs are."""
        self._ranks = ranks
        self._numbers = itertools.count()
        self.base = (
            f"run.dir={folder}",
            f"tokenizer.path={tokenizer}",
            "task.name=svamp",
            f"task.train={folder / 'items.json'}",
            "task.dev_size=8",
            "generate.max_new_tokens=10",
            "optimizer.lr=0.003",
            "optimizer.micro_batch_tokens=160",
            "rewards.workers=1",
            "log.tensorboard=false",
            "log.report=false",
            "run.threads=1",
        )

    def __call__(self, world: int, recipe: str, name: str, *overrides: str) -> Run:
        """Run to the end; AssertionError unless every rank ended well."""
        run = self.start(world, recipe, name, *overrides)
        run.wait()
        assert run.codes == [0] * world, "\n".join([run.complaint, *run.out, *run.err])
        return run

    def refused(self, world: int, recipe: str, name: str, *overrides: str) -> str:
        """Run what cannot be run; the message, which is all that any rank says of it."""
        run = self.start(world, recipe, name, *overrides)
        run.wait()
        assert run.codes == [1] * world, "\n".join([run.complaint, *run.out, *run.err])
        assert len(set(run.err)) == 1, "\n".join(run.err)
        return run.err[0]

    def config(self) -> Config:
        """The settings that all runs share."""
        return load_config(None, self.base)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that all runs share."""
        return load_tokenizer(self.config().tokenizer.path)

    def prompt_lengths(self, split: str) -> dict[str, int]:
        """Tokens of the prompt of each problem of a split."""
        task, tokenizer = load_task(self.config().task), self.tokenizer()
        prompts = {problem.id: task.prompt_text(problem) for problem in task.problems(split)}
        return {name: len(tokenizer.encode(prompt)) for name, prompt in prompts.items()}

    def start(self, world: int, recipe: str, name: str, *overrides: str) -> Run:
        """Start a run and return at once."""
        told = self.folder / f"told-{next(self._numbers)}"
        told.mkdir()
        run = Run(world, folder=self.folder / name, told=told)
        run.start(self._ranks, (recipe, *self.base, f"run.name={name}", *overrides))
        return run


class Run:
    """A run that has been started."""

    def __init__(self, world: int, *, folder: Path, told: Path) -> None:
        self.world = world
        self.folder = folder
        """The run's own folder."""
        self.codes: list[int] = []
        """Exit code of each rank, if all ended by themselves."""
        self.complaint = ""
        """What ended it otherwise."""
        self._told = told
        self._thread: threading.Thread

    def start(self, ranks: Ranks, arguments: tuple[str, ...]) -> None:
        """Play in the background."""

        def play() -> None:
            try:
                self.codes = ranks(self.world, play_main, str(self._told), arguments)
            except AssertionError as error:
                self.complaint = str(error)

        self._thread = threading.Thread(target=play)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def signal(self, number: int, *, once: Callable[[], object]) -> None:
        """Send a signal to every rank as soon as `once()` is true, and wait for the end."""
        while self._thread.is_alive() and not once():
            time.sleep(0.002)
        for pid in self.pids:
            os.kill(pid, number)
        self.wait()

    @property
    def pids(self) -> list[int]:
        """Process of each rank, as soon as all have started."""
        while len(list(self._told.glob("*.pid"))) < self.world:
            time.sleep(0.002)
        return [int(self._told_by(rank, "pid")) for rank in range(self.world)]

    @property
    def out(self) -> list[str]:
        """Standard output of each rank."""
        return [self._told_by(rank, "out") for rank in range(self.world)]

    @property
    def err(self) -> list[str]:
        """Standard error of each rank."""
        return [self._told_by(rank, "err") for rank in range(self.world)]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Records of the metrics file; empty before there is one."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def step(self) -> int:
        """The last step recorded."""
        return max((record["step"] for record in self.metrics), default=0)

    def series(self, name: str) -> list[float]:
        """One metric, in the order recorded."""
        return [record[name] for record in self.metrics if name in record]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary it left."""
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def checkpoints(self) -> list[str]:
        """Names in the folder of checkpoints, links with their targets."""
        found = sorted((self.folder / "checkpoints").iterdir())
        return [f"{p.name}->{p.readlink()}" if p.is_symlink() else p.name for p in found]

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint of a step."""
        return self.folder / "checkpoints" / f"step_{step:08d}"

    def has(self, step: int) -> bool:
        """True if the checkpoint of a step is complete."""
        return (self.checkpoint(step) / "manifest.json").exists()

    def content(self, pattern: str) -> dict[str, bytes]:
        """Bytes of the run's files that match, by name."""
        found = [path for path in self.folder.glob(pattern) if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}

    def _told_by(self, rank: int, what: str) -> str:
        return (self._told / f"{rank}.{what}").read_text()


def differences(one: Run, other: Run, step: int) -> list[str]:
    """Files in which two runs' checkpoints of a step differ, their names and folders apart."""
    manifests = [read(run.checkpoint(step) / "manifest.json")["files"] for run in (one, other)]
    metas = [read(run.checkpoint(step) / "meta.json") for run in (one, other)]
    for manifest, meta in zip(manifests, metas, strict=True):
        del manifest["meta.json"], meta["extra"]["config"]["run"]
        for index in INDICES:
            del manifest[index]
    names = {name for manifest in manifests for name in manifest}
    found = [name for name in names if manifests[0].get(name) != manifests[1].get(name)]
    found += ["meta.json"] if metas[0] != metas[1] else []
    found += [index for index in INDICES if _index(one, step, index) != _index(other, step, index)]
    return sorted(found)


def _index(run: Run, step: int, name: str) -> Any:
    index = pickle.loads((run.checkpoint(step) / name).read_bytes())
    index.storage_meta = None  # torch names every save with a random id
    return index


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())


def play_main(told: str, arguments: tuple[str, ...]) -> int:
    """The command line on this rank, its output in files; returns its exit code."""
    rank = os.environ["RANK"]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{told}/{rank}.{name}", os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    Path(told, f"{rank}.new").write_text(str(os.getpid()))
    Path(told, f"{rank}.new").rename(f"{told}/{rank}.pid")
    return main(arguments)
