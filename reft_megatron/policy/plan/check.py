"""Refusing, before anything is built, what cannot fit.

Owns how much memory a rank has on the machine at hand, and the comparison. A prediction is not a
measurement: only what clearly exceeds the memory is refused.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace

import torch

from reft_megatron.errors import ConfigError
from reft_megatron.mesh import Mesh
from reft_megatron.policy import device as devices
from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.plan.host import free_memory
from reft_megatron.policy.plan.search import plan_for, search, try_remedies
from reft_megatron.policy.plan.speed import nearest_gpu
from reft_megatron.policy.plan.table import complaint, plan_table, text, trial_table

__all__ = ["Available", "available_memory", "check_memory"]

_CLEARLY = 1.1
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """The memory that there is for every rank of a run."""

    size: int
    """Bytes on a rank."""
    sharing: int
    """Ranks that have so much each, but of one memory: what one leaves, another may take."""


def available_memory(mesh: Mesh) -> Available:
    """What every rank of the run can have: the free memory of its GPU, or its share of the host's.

    Collective; the same on every rank.
    """
    if devices.has_gpu():
        free = mesh.world.gather_objects(torch.cuda.mem_get_info()[0])
        return Available(size=min(free), sharing=1)
    with mesh.world.together():
        own = socket.gethostname(), free_memory()
    everywhere = mesh.world.gather_objects(own)
    hosts = [host for host, _ in everywhere]
    return Available(
        size=min(free // hosts.count(host) for host, free in everywhere),
        sharing=max(map(hosts.count, hosts)),
    )


def check_memory(case: Case, available: Available) -> None:
    """ConfigError, with the planner's tables, if `case` clearly needs more than is `available`.

    Also raises ConfigError for a layout that cannot run.
    """
    size, gpu = available.size, nearest_gpu(available.size)
    case = replace(case, sharing=available.sharing)
    asked = plan_for(case, gpu)
    if asked.memory.total <= _CLEARLY * size:
        return
    found = search(case, gpu, memory=size)
    shown = [asked, *found.fitting[:_SHOWN]]
    told = [complaint(asked, size) + ". Predicted, in GB on a rank:"]
    told.append(text(plan_table(shown, usable=size, times=False)))
    if found.fitting:
        told.append(
            "The other rows would fit (SP is parallel.sequence). tools/plan.py explains, and tells "
            "more."
        )
    else:
        told.append(f"No layout of {case.world} ranks fits. What may help:")
        told.append(text(trial_table(try_remedies(case, gpu, memory=size, recipes=False))))
    raise ConfigError("\n".join(told))
