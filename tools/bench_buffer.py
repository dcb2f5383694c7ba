"""Measures the rollout buffer: ledger, balancing, iterating, memory.

The ledger is held against the bare disk. Owns the command, the table and the line of JSON at the
end. Rollouts have the lengths of real programs where they are at hand (`tools/generate_bench`), and
random tokens. They are made chunk by chunk: nothing but the buffer could hold them all.

Try it: `python tools/bench_buffer.py --count 100000`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

if not __package__:  # started by its path: `tools` is found from the root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reft_megatron.errors import ReftError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.rollouts.ledger import Ledger, Origin
from reft_megatron.rollouts.packing import pack
from reft_megatron.rollouts.schema import SCORES, to_table
from reft_megatron.rollouts.store import TokenStore
from reft_megatron.rollouts.training_set import TrainingSet
from reft_megatron.rollouts.views import correct
from reft_megatron.types import Completion, Reason, Rollout, Verdict
from tools.generate_bench.workload import make_workload
from tools.machine import describe_machine

_FOLDER = Path("build/bench_buffer")
_CHUNK = 8192
_CHUNKS_PER_ITERATION = 2
_VOCAB = 2048
_PROBLEMS, _SAMPLES = 1000, 10
_COLUMNS = {"prompt_ids": np.int32, "token_ids": np.int32}
_LEDGER, _ALONE = "ledger", "write and fsync alone"
"""What is held against each other, in turn for each iteration."""
_ORIGIN = Origin(task="gsm8k (program)", tokenizer="of random tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """What rollouts look like."""

    prompts: tuple[NDArray[np.int32], ...]
    """Tokens of each problem's prompt."""
    responses: NDArray[np.int64]
    """Lengths to draw from."""
    told: str
    """Where both come from."""


class Clock:
    """Seconds by what they were spent on, and the most memory that was resident then."""

    def __init__(self) -> None:
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        """Of each block, in order."""
        self.mib: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Add the block's seconds up, and look at the memory at its end."""
        start = time.perf_counter()
        yield
        self.times[what].append(time.perf_counter() - start)
        self.mib[what] = max(self.mib.get(what, 0.0), resident_mib())

    @property
    def seconds(self) -> dict[str, float]:
        """The sums."""
        return {what: sum(times) for what, times in self.times.items()}


def resident_mib() -> float:
    """Resident memory of this process, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, say what came out, and return the exit status."""
    options = _parser().parse_args(arguments)
    print(describe_machine("pyarrow", "numpy", "torch", "reft-megatron"))
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as work:
        options.folder = Path(work)
        try:
            shapes = _shapes(options)
            print(shapes.told)
            _measure(options, shapes)
        except ReftError as error:
            print(f"bench_buffer: {error}", file=sys.stderr)
            return 1
    return 0


def _measure(options: argparse.Namespace, shapes: Shapes) -> None:
    clock = Clock()
    ledger = Ledger(options.folder / "ledger", origin=_ORIGIN)
    with TokenStore(_COLUMNS, memory_mb=options.memory_mb, folder=options.folder) as store:
        nbytes, growth = _append(options, shapes, clock, ledger=ledger, store=store)
        lengths = store.lengths("prompt_ids") + store.lengths("token_ids")
        balance = _balance(options, clock, lengths)
        everything = TrainingSet(
            store,
            rows=np.arange(len(store)),
            labels=None,
            finished=np.ones(len(store), np.bool_),
            problems=np.zeros(len(store), np.int32),
            names=["any"],
            left_out={},
        )
        for rank in range(options.data_size):
            with clock("iterate"):
                _iterate(everything, rank, options)
    with (
        clock("choose the right ones"),
        correct(
            ledger.batches,
            unique=True,
            per_problem=100,
            memory_mb=options.memory_mb,
            folder=options.folder,
        ) as chosen,
    ):
        print(f"{len(chosen):,} right rollouts were chosen, {chosen.left_out} left out.")
    _report(options, clock, nbytes=nbytes, tokens=int(lengths.sum()))
    ratios = [
        alone / ours for alone, ours in zip(clock.times[_ALONE], clock.times[_LEDGER], strict=True)
    ]
    low, middle, high = (
        quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    print(
        f"The ledger writes at {middle:.2f} of the bare disk: median of {len(ratios)} iterations, "
        f"half of which lie between {low:.2f} and {high:.2f}."
    )
    record = {
        **balance,
        "write_ratio": round(middle, 3),
        "write_ratio_quartiles": [round(low, 3), round(high, 3)],
        "rss_mib": round(max(clock.mib.values()), 1),
        "rss_growth_mib": round(growth, 1),
        "count": options.count,
    }
    print(json.dumps(record))


def _append(
    options: argparse.Namespace, shapes: Shapes, clock: Clock, *, ledger: Ledger, store: TokenStore
) -> tuple[int, float]:
    """Everything into ledger and store, and the ledger's files once more by hand.

    Returns the bytes of the ledger, and the MiB by which memory grew after the store was full.
    """
    nbytes, after = 0, []
    for iteration, chunks in enumerate(_iterations(options.count, shapes), 1):
        with clock("rollouts to columns"):
            tables = [to_table(*chunk) for chunk in chunks]
        del chunks
        with clock("store"):
            for table in tables:
                store.append(table)
        with clock(_LEDGER):
            ledger.append_parts(iteration, 0, tables)
            ledger.seal(iteration, data_size=1)
        del tables
        folder = options.folder / "ledger" / f"iteration-{iteration:06d}"
        contents = [path.read_bytes() for path in sorted(folder.iterdir())]
        nbytes += sum(map(len, contents))
        with tempfile.TemporaryDirectory(dir=options.folder) as alone, clock(_ALONE):
            _write_alone(Path(alone), contents)
        del contents
        if store.spilled:
            after.append(resident_mib())
    # Medians, as what is made here to be stored makes memory swing by a hundred MiB.
    part = -(-len(after) // 3)
    return nbytes, median(after[-part:]) - median(after[:part]) if after else 0.0


def _balance(
    options: argparse.Namespace, clock: Clock, lengths: NDArray[np.int64]
) -> dict[str, float]:
    budget, ranks = options.micro_batch_tokens, options.data_size
    with clock("balance"):
        plan = pack(lengths, data_size=ranks, max_tokens=budget)
    tokens = np.array([lengths[list(plan.kept(rank))].sum() for rank in range(ranks)])
    room = ranks * plan.num_micro_batches * budget
    return {
        "fill": round(float(lengths.sum() / room), 4),
        "imbalance": round(float(np.ptp(tokens) / tokens.mean()), 5),
        "balance_s_per_100k": round(clock.seconds["balance"] * 1e5 / options.count, 3),
    }


def _write_alone(folder: Path, contents: list[bytes]) -> None:
    """The same bytes to files, and to the disk, by nothing but the system's calls."""
    for number, content in enumerate(contents):
        with (folder / str(number)).open("wb", buffering=0) as file:
            file.write(content)
            os.fsync(file.fileno())


def _iterate(everything: TrainingSet, rank: int, options: argparse.Namespace) -> None:
    """Lay out every micro-batch of one data rank."""
    axis = Axis(rank=rank, size=options.data_size, ranks=tuple(range(options.data_size)))
    batches = everything.micro_batches(
        np.arange(len(everything)),
        mesh=dataclasses.replace(Mesh.single(), data=axis),
        pad_id=1,
        max_tokens=options.micro_batch_tokens,
        packed=True,
    )
    for batch in batches:
        assert batch.tokens is not None
        assert batch.fields["weights"].shape == batch.tokens.shape


Chunk = tuple[list[Rollout], dict[str, list[NDArray[np.float32] | None]]]


def _iterations(count: int, shapes: Shapes) -> Iterator[list[Chunk]]:
    """Rollouts and their scores, a few chunks at a time."""
    starts = list(range(0, count, _CHUNK))
    for first in range(0, len(starts), _CHUNKS_PER_ITERATION):
        some = starts[first : first + _CHUNKS_PER_ITERATION]
        yield [_chunk(range(start, min(start + _CHUNK, count)), shapes) for start in some]


def _chunk(numbers: range, shapes: Shapes) -> Chunk:
    """Rollouts of those numbers, every problem in turn."""
    rng = np.random.default_rng(numbers.start)
    lengths = rng.choice(shapes.responses, len(numbers))
    ends = lengths.cumsum()
    ids = rng.integers(0, _VOCAB, ends[-1], dtype=np.int32)
    noise = -rng.exponential(0.3, (1 + len(SCORES), ends[-1])).astype(np.float32)
    spans = [slice(end - n, end) for n, end in zip(lengths.tolist(), ends.tolist(), strict=True)]
    rollouts = [
        Rollout(
            completion=Completion(
                problem_id=f"gsm8k_{number % len(shapes.prompts)}",
                sample=number // len(shapes.prompts),
                prompt_ids=shapes.prompts[number % len(shapes.prompts)],
                token_ids=ids[span],
                logprobs=noise[0, span],
                finished=True,
            ),
            # Some three characters a token, as programs have.
            text=f"    step = {number // 3000}\n" + "    total += step\n" * (len(ids[span]) // 6),
            verdict=Verdict(reason=Reason.CORRECT if number % 2 else Reason.WRONG_VALUE, value=7.0),
            reward=1.0 if number % 2 else 0.1,
            policy_version=number // _CHUNK,
            seed=0,
        )
        for number, span in zip(numbers, spans, strict=True)
    ]
    scores: dict[str, list[NDArray[np.float32] | None]] = {
        name: [noise[row, span] for span in spans] for row, name in enumerate(SCORES, 1)
    }
    return rollouts, scores


def _shapes(options: argparse.Namespace) -> Shapes:
    workload = make_workload(
        options.folder,
        model="tiny",
        data=Path(os.path.expandvars(options.data)),
        prompts=_PROBLEMS,
        samples=_SAMPLES,
        most=options.most,
        mean=0,
        seed=0,
    )
    return Shapes(
        prompts=tuple(prompt.token_ids for prompt in workload.prompts),
        responses=np.array([*workload.lengths.values()], np.int64),
        told=workload.told,
    )


def _report(options: argparse.Namespace, clock: Clock, *, nbytes: int, tokens: int) -> None:
    title = f"{options.count:,} rollouts, {tokens:,} tokens, {nbytes / 1e6:,.0f} MB"
    table = Table(title=title)
    for column in ("what", "seconds", "rollouts/s", "MB/s", "most MiB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, seconds in clock.seconds.items():
        disk = what in (_LEDGER, _ALONE)
        table.add_row(
            what,
            f"{seconds:.2f}",
            f"{options.count / seconds:,.0f}",
            f"{nbytes / 1e6 / seconds:,.0f}" if disk else "",
            f"{clock.mib[what]:,.0f}",
        )
    Console(width=100).print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measure the rollout buffer: ledger, balancing, iterating, memory."
    )
    add = parser.add_argument
    add("--count", type=int, default=1_000_000, help="rollouts (%(default)s)")
    add("--data-size", type=int, default=8, help="data ranks to balance (%(default)s)")
    add("--micro-batch-tokens", type=int, default=4096, help="of a micro-batch (%(default)s)")
    add("--memory-mb", type=float, default=256, help="that the store may keep (%(default)s)")
    add("--most", type=int, default=700, help="cut responses at so many tokens (%(default)s)")
    add("--data", default="$REFT_DATA", help="folder with gsm8k/ and programs/ ($REFT_DATA)")
    add("--folder", type=Path, default=_FOLDER, help="to work in, in a new folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
