"""Plans as tables for people, and as values for machines.

Owns units (a GB is 10^9 bytes), the names of the items, and what is said where nothing fits.
"""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from reft_megatron.config import ParallelConfig
from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.plan.memory import Memory
from reft_megatron.policy.plan.search import Plan, Search, Trial

__all__ = [
    "WIDTH",
    "as_dict",
    "complaint",
    "gigabytes",
    "largest_item",
    "plan_table",
    "reasons",
    "text",
    "trial_table",
]

WIDTH = 128
"""Columns of a printed table."""

_NAMES = {
    "weights": "weights",
    "gradients": "grads",
    "optimizer": "Adam",
    "reference": "ref.",
    "visit": "visit",
    "activations": "activ.",
    "layer": "layer",
    "logits": "logits",
    "codes": "FP8",
    "cache": "cache",
    "prefill": "prefill",
    "sampler": "FP8",
}
"""Items as columns are headed."""

_PHASES = {
    "update": ("activations", "layer", "logits", "codes"),
    "generation": ("cache", "prefill", "sampler"),
    "visit": ("visit",),
}
"""What each of them adds, of which there is only one at a time."""

_RARE = ("visit", "codes", "sampler")
"""Items that most plans do not have."""

_TOLD = {
    "weights": "the weights",
    "gradients": "the gradients",
    "optimizer": "the optimizer's state",
    "reference": "the reference model",
    "visit": "the reference model's visit",
    "activations": "the activations",
    "layer": "the layer at hand",
    "logits": "the logits",
    "codes": "the FP8 codes of the weights",
    "cache": "the key-value cache",
    "prefill": "the prefill",
    "sampler": "the FP8 codes of the weights",
}


def plan_table(plans: Sequence[Plan], *, usable: float, times: bool = True) -> Table:
    """One row a plan: layout, GB by item, total and free, and with `times` seconds by phase.

    Below, the layers of stages that do not have equally many.
    """
    phases = ("generate", "score", "update", "step") if times else ()
    # Some are rare, and a line has no room to spare.
    names = [n for n in _NAMES if n not in _RARE or any(getattr(p.memory, n) for p in plans)]
    if "codes" in names:
        names.remove("sampler")  # of what the updates' codes have anyway
    table = Table(
        box=box.SIMPLE, pad_edge=False, padding=0, caption=_uneven(plans), caption_justify="left"
    )
    for name in (
        "TP",
        "PP",
        "VPP",
        "DP",
        "SP",
        *(_NAMES[n] for n in names),
        "total",
        "free",
        *phases,
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for plan in plans:
        memory = plan.memory
        sizes = [getattr(memory, item) for item in names]
        sizes += [memory.total, usable - memory.total]
        seconds = [_digits(getattr(plan.times, phase)) for phase in phases]
        layout = [*map(str, _sizes(plan.case)), "on" if plan.case.parallel.sequence else "-"]
        table.add_row(*layout, *map(gigabytes, sizes), *seconds)
    return table


def _uneven(plans: Sequence[Plan]) -> str | None:
    """Which pipelines have stages of unlike numbers of layers; None if none has."""
    cases = [plan.case for plan in plans if len({*plan.case.split}) > 1]
    told = {case.parallel.pipeline: ", ".join(map(str, case.split)) for case in cases}
    stages = "; ".join(f"PP {stages}: {layers}" for stages, layers in sorted(told.items()))
    return f"Layers of each stage: {stages}." if stages else None


def trial_table(trials: Sequence[Trial]) -> Table:
    """One row a change: what the smallest layout needs, and the fastest that fits."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("what to try", "needs", "fits", "fastest TP x PP x VPP x DP"):
        table.add_column(name, no_wrap=True)
    for trial in trials:
        found = trial.found
        best = next((_layout(plan.case) for plan in found.fitting), "")
        needs = gigabytes(found.smallest.memory.total)
        table.add_row(trial.change, needs, "yes" if best else "no", best)
    return table


def complaint(plan: Plan, usable: float) -> str:
    """Says that `plan` does not fit, and which item is too big."""
    item, case = largest_item(plan.memory), plan.case
    rank = "a rank"
    if case.sharing > 1:
        rank += f" (the mean of {case.sharing} that share a host)"
    return (
        f"{case.architecture.name} as TP x PP x VPP x DP = {_layout(case)} needs "
        f"{gigabytes(plan.memory.total)} GB on {rank}, which has {gigabytes(usable)}; the largest "
        f"item is {_TOLD[item]} with {gigabytes(getattr(plan.memory, item))} GB"
    )


def largest_item(memory: Memory) -> str:
    """The field of the largest item that is there at the worst moment."""
    worst = max(_PHASES, key=lambda phase: getattr(memory, phase))
    idle = {item for phase, items in _PHASES.items() if phase != worst for item in items}
    there = [item for item in _NAMES if item not in idle]
    return max(there, key=lambda item: getattr(memory, item))


def reasons(left_out: Sequence[tuple[ParallelConfig, str]]) -> list[str]:
    """Why layouts were left out, each reason once with the number of layouts."""
    counts = Counter(reason for _, reason in left_out)
    return [f"{count} x {reason}" for reason, count in counts.most_common()]


def as_dict(found: Search, trials: Sequence[Trial]) -> dict[str, Any]:
    """Everything of a search as JSON has it; bytes and seconds."""
    return {
        "usable": found.usable,
        "fitting": [_plan(plan, found.usable) for plan in found.fitting],
        "too_big": [_plan(plan, found.usable) for plan in found.too_big],
        "left_out": [
            {**_parallel(parallel), "reason": reason} for parallel, reason in found.left_out
        ],
        "to_try": [
            {
                "change": trial.change,
                "needs": trial.found.smallest.memory.total,
                "fits": bool(trial.found.fitting),
            }
            for trial in trials
        ],
    }


def text(table: Table) -> str:
    """The table as plain text of at most `WIDTH` columns."""
    page = io.StringIO()
    # Plain even where FORCE_COLOR and the like make rich believe that it writes to a terminal.
    Console(file=page, width=WIDTH, force_terminal=False, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines() if line.strip())


def gigabytes(size: float) -> str:
    """`size` bytes in GB: three digits, if that takes no more than three decimals."""
    return _digits(size / 1e9)


def _digits(number: float) -> str:
    rounded = abs(float(f"{number:.3g}"))  # 9.996 is 10.0
    decimals = sum(rounded < limit for limit in (1, 10, 100))
    return f"{number:.{decimals}f}" if number else "0"


def _sizes(case: Case) -> tuple[int, int, int, int]:
    parallel = case.parallel
    return parallel.tensor, parallel.pipeline, parallel.virtual_pipeline, case.data


def _layout(case: Case) -> str:
    sequence = " with SP" if case.parallel.sequence else ""
    return " x ".join(map(str, _sizes(case))) + sequence


def _plan(plan: Plan, usable: float) -> dict[str, Any]:
    memory, times = plan.memory, plan.times
    return {
        **_parallel(plan.case.parallel),
        "layers": [*plan.case.split],
        "data": plan.case.data,
        "memory": dataclasses.asdict(memory) | {"total": memory.total},
        "free": usable - memory.total,
        "seconds": dataclasses.asdict(times) | {"step": times.step},
    }


def _parallel(parallel: ParallelConfig) -> dict[str, Any]:
    names = ("tensor", "pipeline", "virtual_pipeline", "sequence")
    return {name: getattr(parallel, name) for name in names}
