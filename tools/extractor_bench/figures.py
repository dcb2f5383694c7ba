"""The figures of the benchmark: how each is measured, and what is wanted of it.

Owns the measurements and the targets. Processor time where work is what counts, the clock where
waiting is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from reft_megatron.ops.extractor import Extractor, Results, Status
from tools.extractor_bench import memory
from tools.extractor_bench.corpus import Corpus, batch
from tools.extractor_bench.rivals import monty, run_exec, run_reference
from tools.extractor_bench.timing import Spread, interleave

__all__ = ["Figure", "Plan", "measure_all"]

_LOOPS_PER_PROGRAM = 33 / 131_900  # as in a recorded epoch
_MONTY_PROGRAMS = 500
_FEW, _MORE = 4, 64
_NL_TURNS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int
    """Interleaved rounds of each comparison."""
    calls: int = 300
    """Small calls in a round."""
    shape: tuple[int, int] = (100, 1319)
    """Of the big batch: completions of each problem of GSM8K's test set."""
    repeats: int
    """Runs of the big batch."""
    reference_calls: int = 5
    """Calls in the reference's way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    key: str
    """Its name in the JSON."""
    label: str
    """What it is."""
    spread: Spread
    """Over the rounds."""
    unit: str
    """`/s`, `us`, `s`, `x`, `%` or `MiB`."""
    at_least: float | None = None
    """The target, where more is better."""
    at_most: float | None = None
    """The target, where less is better."""

    @property
    def met(self) -> bool | None:
        """True if the median meets the target; None if there is none."""
        if self.at_least is not None:
            return self.spread.median >= self.at_least
        return None if self.at_most is None else self.spread.median <= self.at_most


def measure_all(corpus: Corpus, plan: Plan) -> Iterator[Figure | str]:
    """Every figure, as soon as there is one, and remarks in between."""
    yield from _throughput(corpus, plan)
    yield from _reference(corpus, plan)
    yield from _small_calls(corpus, plan)
    yield from _big_batch(corpus, plan)
    yield from _single_programs(corpus, plan)
    yield from _texts(corpus, plan)
    yield from _memory(corpus)


def _throughput(corpus: Corpus, plan: Plan) -> Iterator[Figure | str]:
    """Programs for each second of processor time, on one thread, without deduplication."""
    some = corpus.svamp[:_MONTY_PROGRAMS]
    rival = monty()
    with Extractor(threads=1, fallback="none", dedup=False) as extractor:
        calls: dict[str, Callable[[], object]] = {
            "svamp": lambda: extractor.run(corpus.svamp),
            "exec": lambda: run_exec(corpus.svamp),
            "real": lambda: extractor.run(corpus.real),
        }
        if rival is not None:
            calls["monty"] = lambda: rival.run(some)
        right = _right(extractor.run(corpus.svamp, gold=corpus.svamp_gold))
        yield f"SVAMP programs: {right:,} of {len(corpus.svamp):,} right."
        times = interleave(calls, rounds=plan.rounds)
    pairs = list(zip(times["svamp"], times["exec"], strict=True))
    yield Figure(
        key="svamp_per_s",
        label="SVAMP programs",
        spread=Spread.of(len(corpus.svamp) / mine.cpu for mine, _ in pairs),
        unit="/s",
        at_least=200_000,
    )
    yield Figure(
        key="exec_per_s",
        label="the same with plain exec",
        spread=Spread.of(len(corpus.svamp) / plain.cpu for _, plain in pairs),
        unit="/s",
    )
    yield Figure(
        key="ratio_exec",
        label="exec's time / the extractor's",
        spread=Spread.of(plain.cpu / mine.cpu for mine, plain in pairs),
        unit="x",
        at_least=10,
    )
    if rival is None:
        yield "pydantic-monty is not installed: skipped."
    else:
        yield Figure(
            key="monty_per_s",
            label=f"{rival.name} (clock)",
            spread=Spread.of(len(some) / time.wall for time in times["monty"]),
            unit="/s",
        )
    yield Figure(
        key="real_per_s",
        label=f"{len(corpus.real):,} programs of models",
        spread=Spread.of(len(corpus.real) / time.cpu for time in times["real"]),
        unit="/s",
        at_least=100_000,
    )


def _reference(corpus: Corpus, plan: Plan) -> Iterator[Figure | str]:
    """The reference's own calls: few programs, a new pool for each."""
    four = corpus.svamp[:_FEW]
    calls = {"pool": partial(run_reference, four)}
    times = interleave(calls, rounds=plan.reference_calls, warm_up=False)["pool"]
    yield Figure(
        key="reference_call4_us",
        label="4 in a new pool of 8 (clock)",
        spread=Spread.of(time.wall * 1e6 for time in times),
        unit="us",
    )


def _small_calls(corpus: Corpus, plan: Plan) -> Iterator[Figure | str]:
    """Calls with a few programs, as a trainer makes them step by step."""
    with Extractor(threads=2, fallback="none") as extractor:

        def call_often(size: int) -> None:
            for start in range(plan.calls):
                extractor.run(corpus.svamp[start : start + size])

        calls = {str(size): partial(call_often, size) for size in (_FEW, _MORE)}
        times = interleave(calls, rounds=plan.rounds)
    for size, at_most in ((_FEW, 25), (_MORE, 400)):
        yield Figure(
            key=f"call{size}_us",
            label=f"one call with {size} programs",
            spread=Spread.of(time.cpu / plan.calls * 1e6 for time in times[str(size)]),
            unit="us",
            at_most=at_most,
        )
        yield Figure(
            key=f"call{size}_wall_us",
            label="the same on the clock",
            spread=Spread.of(time.wall / plan.calls * 1e6 for time in times[str(size)]),
            unit="us",
        )


def _big_batch(corpus: Corpus, plan: Plan) -> Iterator[Figure | str]:
    """Many completions of every problem of a test set, some of which never end."""
    rows, columns = plan.shape
    loops = max(1, round(rows * columns * _LOOPS_PER_PROGRAM))
    nest = batch(corpus.finite, shape=plan.shape, loops=loops)
    size = sum(len(text) for row in nest for text in row) / (1 << 20)
    yield (
        f"The batch: {rows} x {columns:,} programs of models without sympy, {size:.0f} MiB, over "
        f"and over, each with a comment of its own, and {loops} infinite loops of different "
        "names among them: all rows are distinct, so deduplication hides no work."
    )
    with Extractor(threads=2, fallback="none") as extractor:
        statuses = extractor.run(nest).status
        looped = np.count_nonzero(statuses == Status.STEP_LIMIT)
        yield f"{looped} rows of the batch ended at the step limit."
        calls = {"batch": lambda: extractor.run(nest)}
        times = interleave(calls, rounds=plan.repeats, warm_up=False)["batch"]
    clock = [time.wall for time in times]
    processor = Spread.of(time.cpu for time in times)
    p99 = float(np.percentile(clock, 99))
    yield Figure(
        key=f"batch_{rows}x{columns}_s",
        label=f"{rows} x {columns:,}, 2 threads (clock)",
        spread=Spread.of(clock),
        unit="s",
        at_most=1.2,
    )
    yield Figure(
        key="batch_p99_s",
        label=f"the same, p99 of {plan.repeats}",
        spread=Spread.of([p99]),
        unit="s",
        at_most=2.0,
    )
    yield Figure(key="batch_cpu_s", label="the same, of both threads", spread=processor, unit="s")


def _single_programs(corpus: Corpus, plan: Plan) -> Iterator[Figure | str]:
    """How long single programs take in the core, and how many of them it runs."""
    with Extractor(threads=1, fallback="none", dedup=False) as extractor:
        rounds = [extractor.run(corpus.plain) for _ in range(plan.rounds)]
    ran = rounds[0].status != Status.UNSUPPORTED
    nanos = np.array([results.nanos[ran] for results in rounds]) / 1000
    for key, at, at_most in (("p50_us", 50, 8), ("p99_us", 99, 50), ("max_us", 100, 40_000)):
        yield Figure(
            key=key,
            label=f"one program, {'slowest' if at == 100 else f'p{at}'}",
            spread=Spread.of(np.percentile(nanos, at, axis=1).tolist()),
            unit="us",
            at_most=at_most,
        )
    yield Figure(
        key="fast_share",
        label="the core's share, sympy apart",
        spread=Spread.of([float(np.mean(ran))]),
        unit="%",
        at_least=0.995,
    )
    whys = Counter(rounds[0].why(int(row)) for row in np.flatnonzero(~ran))
    told = ", ".join(f"{why} ({count})" for why, count in whys.most_common(5))
    yield f"Of {len(ran):,} programs without sympy the core did not run: {told or 'nothing'}."


def _texts(corpus: Corpus, plan: Plan) -> Iterator[Figure | str]:
    """Natural-language solutions read in a second of processor time."""
    with Extractor(threads=1) as extractor:
        calls: dict[str, Callable[[], object]] = {
            "strict": lambda: [extractor.run_nl(corpus.strict) for _ in range(_NL_TURNS)],
            "lenient": lambda: [
                extractor.run_nl(corpus.lenient, mode="lenient") for _ in range(_NL_TURNS)
            ],
        }
        gold = corpus.texts_gold
        strict = _right(extractor.run_nl(corpus.strict, gold=gold))
        lenient = _right(extractor.run_nl(corpus.lenient, mode="lenient", gold=gold))
        yield (
            f"Texts: {strict:,} (strict) and {lenient:,} (lenient, without the trigger) of "
            f"{len(gold):,} right."
        )
        times = interleave(calls, rounds=plan.rounds)
    for mode, at_least in (("strict", 3e6), ("lenient", 1e6)):
        yield Figure(
            key=f"nl_{mode}_per_s",
            label=f"natural-language texts, {mode}",
            spread=Spread.of(_NL_TURNS * len(corpus.strict) / time.cpu for time in times[mode]),
            unit="/s",
            at_least=at_least,
        )


def _memory(corpus: Corpus) -> Iterator[Figure | str]:
    """Resident memory of fresh processes whose threads have met programs that want it all."""
    start, one = memory.of_fresh_process(corpus.svamp, threads=1)
    _, two = memory.of_fresh_process(corpus.svamp, threads=2)
    for key, label, used, at_most in (
        ("memory_start_mib", "memory after the import", start, 64),
        ("memory_1_mib", "after 1 thread has worked", one, 64 + 32),
        ("memory_mib", "after 2 threads have worked", two, 64 + 2 * 32),
    ):
        yield Figure(key=key, label=label, spread=Spread.of([used]), unit="MiB", at_most=at_most)


def _right(results: Results) -> int:
    return int(np.count_nonzero(results.correct)) if results.correct is not None else 0
