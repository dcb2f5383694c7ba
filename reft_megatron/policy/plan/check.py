"""Refusing, before anything is built, what cannot fit.

Owns how much memory a rank has on the machine at hand, and the comparison. A prediction is not a
measurement: only what clearly exceeds the memory is refused.
"""

from __future__ import annotations

import socket

import psutil  # type: ignore[import-untyped]  # it has no types
import torch

from reft_megatron.errors import ConfigError
from reft_megatron.mesh import Mesh
from reft_megatron.policy import device as devices
from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.plan.search import plan_for, search, try_remedies
from reft_megatron.policy.plan.speed import nearest_gpu
from reft_megatron.policy.plan.table import complaint, plan_table, text, trial_table

__all__ = ["available_memory", "check_memory"]

_CLEARLY = 1.1
_SHOWN = 3


def available_memory(mesh: Mesh) -> int:
    """Bytes that every rank of the run can have: free ones of its GPU, or its share of the host's.

    Collective; the same on every rank.
    """
    gpu = devices.has_gpu()
    mine = torch.cuda.mem_get_info()[0] if gpu else psutil.virtual_memory().available
    host = socket.gethostname()
    everywhere = mesh.world.gather_objects((host, mine))
    hosts = [host for host, _ in everywhere]
    return min(free if gpu else free // hosts.count(host) for host, free in everywhere)


def check_memory(case: Case, available: int) -> None:
    """ConfigError, with the planner's tables, if `case` clearly needs more than `available`.

    `available` is in bytes on a rank. Also raises ConfigError for a layout that cannot run.
    """
    gpu = nearest_gpu(available)
    asked = plan_for(case, gpu)
    if asked.memory.total <= _CLEARLY * available:
        return
    found = search(case, gpu, memory=available)
    shown = [asked, *found.fitting[:_SHOWN]]
    told = [complaint(asked, available) + ". Predicted, in GB on a rank:"]
    told.append(text(plan_table(shown, usable=available, times=False)))
    if found.fitting:
        told.append("The other rows would fit. tools/plan.py explains, and tells more.")
    else:
        told.append(f"No layout of {case.world} ranks fits. What may help:")
        told.append(text(trial_table(try_remedies(case, gpu, memory=available))))
    raise ConfigError("\n".join(told))
