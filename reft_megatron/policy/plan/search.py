"""Which layouts fit, and which of them is fastest.

Owns going through the layouts of a number of GPUs, leaving out what cannot run, with the reason,
and ordering the rest; and, where nothing fits, trying what would help.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from reft_megatron.config import ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.policy.mesh import check_world
from reft_megatron.policy.model import check_layout
from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.plan.memory import Memory, predict_memory
from reft_megatron.policy.plan.speed import Gpu, Times, predict_times

__all__ = ["KEPT_BACK", "Plan", "Search", "Trial", "plan_for", "search", "try_remedies"]

KEPT_BACK = 0.05
"""Share of a GPU's memory left to CUDA, NCCL and fragmentation."""

_FEW_SLOTS, _MOST_CHUNKS, _MOST_GPUS = 8, 4, 4096
_LIGHTER = {
    "ppo": ("sft", "evaluate"),
    "online_sl": ("sft", "evaluate"),
    "sft": ("evaluate",),
    "offline_sl": ("evaluate",),
}
"""Recipes that need less memory for the same model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One layout with what it needs."""

    case: Case
    """Model, job and layout."""
    memory: Memory
    """Of the rank that needs most."""
    times: Times
    """Of one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What became of every layout."""

    usable: float
    """Bytes that a rank may use."""
    fitting: tuple[Plan, ...]
    """Fastest first."""
    too_big: tuple[Plan, ...]
    """Smallest first."""
    left_out: tuple[tuple[ParallelConfig, str], ...]
    """Layouts that cannot run, each with the reason."""

    @property
    def smallest(self) -> Plan:
        """The layout that needs least memory; data ranks alone can always run."""
        return min((*self.fitting, *self.too_big), key=lambda plan: plan.memory.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A change to what was asked, and what it leads to."""

    change: str
    """What to set, or to do instead."""
    found: Search
    """The layouts under it."""


def plan_for(case: Case, gpu: Gpu) -> Plan:
    """`case` as it is laid out; ConfigError if it cannot run so."""
    check_world(case.parallel, case.world)
    check_layout(case.architecture, case.parallel)
    return Plan(case=case, memory=predict_memory(case), times=predict_times(case, gpu))


def search(case: Case, gpu: Gpu, *, memory: float) -> Search:
    """Every layout of `case.world` GPUs with `memory` bytes each.

    Sequence parallelism goes with tensor parallelism, where it costs nothing.
    """
    usable = (1 - KEPT_BACK) * memory
    plans: list[Plan] = []
    left_out: list[tuple[ParallelConfig, str]] = []
    for parallel in _layouts(case):
        try:
            plans.append(plan_for(case.changed(parallel=parallel), gpu))
        except ConfigError as error:
            left_out.append((parallel, str(error).split(". ", 1)[0]))
    fitting = [plan for plan in plans if plan.memory.total <= usable]
    too_big = [plan for plan in plans if plan.memory.total > usable]
    return Search(
        usable=usable,
        fitting=tuple(sorted(fitting, key=lambda plan: plan.times.step)),
        too_big=tuple(sorted(too_big, key=lambda plan: plan.memory.total)),
        left_out=tuple(left_out),
    )


def try_remedies(case: Case, gpu: Gpu, *, memory: float, recipes: bool = True) -> list[Trial]:
    """What would save memory: settings one by one and together, more GPUs.

    With `recipes`, also what else the same memory is enough for: the lighter recipes.
    """

    def trial(change: str, changed: Case) -> Trial:
        return Trial(change=change, found=search(changed, gpu, memory=memory))

    trials, together = [], case
    for section, name, value, effect in _remedies(case):
        settings = {name: value}
        change = f"{section}.{name}={str(value).lower()}{effect}"
        trials.append(trial(change, _with(case, section, settings)))
        together = _with(together, section, settings)
    if len(trials) > 1:
        trials.append(trial("all of these", together))
    for recipe in _LIGHTER.get(case.recipe, ()) if recipes else ():
        other = dataclasses.replace(case, recipe=recipe)
        trials.append(trial(f"the recipe {recipe}", other))
        if not trials[-1].found.fitting and other.rows > _FEW_SLOTS:
            other = _with(other, "generate", {"slots": _FEW_SLOTS})
            trials.append(trial(f"the recipe {recipe}, generate.slots={_FEW_SLOTS}", other))
    world = case.world
    while world < _MOST_GPUS and not (trials and trials[-1].found.fitting and world > case.world):
        world *= 2
        trials.append(
            trial(f"{world} ranks with as much each", dataclasses.replace(case, world=world))
        )
    return trials


def _remedies(case: Case) -> Iterator[tuple[str, str, Any, str]]:
    """(section, setting, value, what it does) of each setting that is not as small as it can be."""
    config, longest = case.config, case.prompt + case.response
    if not config.model.half:
        yield "model", "precision", "bf16", ""
    if config.model.recompute != "full" and case.job.trains:
        yield "model", "recompute", "full", ""
    if not config.parallel.distributed_optimizer and case.job.trains:
        yield "parallel", "distributed_optimizer", True, ""
    if case.reference and config.model.reference_waits == "device":
        yield "model", "reference_waits", "host", " (a copy for each scoring)"
    if case.reference:
        yield "ppo", "kl_coef", 0, " (no KL penalty, so no reference)"
    if case.rows > _FEW_SLOTS:
        yield "generate", "slots", _FEW_SLOTS, ""
    if config.optimizer.micro_batch_tokens > longest and case.job.trains:
        yield "optimizer", "micro_batch_tokens", longest, ""


def _with(case: Case, section: str, settings: dict[str, Any]) -> Case:
    return case.changed(**{section: dataclasses.replace(getattr(case.config, section), **settings)})


def _layouts(case: Case) -> Iterator[ParallelConfig]:
    for tensor in _divisors(case.world):
        for pipeline in _divisors(case.world // tensor):
            per_stage = max(1, case.architecture.layers // pipeline)
            chunks = [d for d in _divisors(per_stage) if d <= _MOST_CHUNKS]
            for virtual in chunks if pipeline > 1 else [1]:
                yield dataclasses.replace(
                    case.parallel,
                    tensor=tensor,
                    pipeline=pipeline,
                    virtual_pipeline=virtual,
                    pipeline_layers=_layers_of(case.parallel, pipeline, virtual),
                    sequence=tensor > 1,
                )


def _layers_of(
    asked: ParallelConfig, pipeline: int, virtual: int
) -> Literal["auto", "even"] | tuple[int, ...]:
    """What is `asked`; where it is numbers, of another layout, those that are best."""
    same = (asked.pipeline, asked.virtual_pipeline) == (pipeline, virtual)
    return asked.pipeline_layers if same or isinstance(asked.pipeline_layers, str) else "auto"


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
