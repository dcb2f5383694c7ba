"""The engine on ranks of a CPU: what each stage waits, and whether tokens stay.

Owns starting the ranks, what they tell, and holding their tokens against one rank's. A difference
is laid open: either two candidates were a tie of floating point, or the layout is wrong.
"""

from __future__ import annotations

import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reft_megatron.mesh import Mesh
from reft_megatron.ops.philox import gumbel
from reft_megatron.ops.sampling import Sampling, sequence_key
from reft_megatron.types import Completion
from tools.generate_bench.sides import Ours

__all__ = ["LAYOUTS", "Gap", "Layout", "Stage", "Told", "find_gaps", "measure_rank", "start_ranks"]

_ROOT = Path(__file__).resolve().parents[2]
_TOLD = "told.pickle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A way to lay the model over ranks."""

    ranks: int
    """How many, one thread each."""
    settings: tuple[str, ...]
    """Settings that ask for it."""


LAYOUTS = {
    "one": Layout(ranks=1, settings=()),
    "pp2": Layout(ranks=2, settings=("parallel.pipeline=2",)),
    "tp2": Layout(ranks=2, settings=("parallel.tensor=2",)),
}
"""One rank alone, and what is held against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One rank in one run."""

    wall_s: float
    """Seconds it took."""
    waited_s: float
    """Of these, those spent waiting for the pipeline stage before."""
    full_s: float
    """Seconds until the queue was empty."""
    waited_full_s: float
    """Of these, those spent waiting."""
    cpu_s: float
    """Seconds of processor time."""

    @property
    def idle(self) -> float:
        """Share spent waiting while the queue was full."""
        return self.waited_full_s / self.full_s

    @property
    def idle_after(self) -> float:
        """Share spent waiting once the queue was empty."""
        return (self.waited_s - self.waited_full_s) / (self.wall_s - self.full_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the ranks of a layout found."""

    runs: list[list[Stage]]
    """By run and rank."""
    completions: list[Completion]
    """Of the last run."""

    def median(self, name: str) -> list[float]:
        """Median over the runs of the field `name` of each rank."""
        return [
            statistics.median(getattr(stage, name) for stage in stages)
            for stages in zip(*self.runs, strict=True)
        ]

    @property
    def surplus(self) -> list[float]:
        """Share of the busiest rank's processor time that each rank does not use.

        So much each would idle on a machine of their own if no time were lost between them; unlike
        what they wait, other processes on the machine hardly change it.
        """
        busy = self.median("cpu_s")
        return [1 - one / max(busy) for one in busy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Where one sequence first differs between two layouts."""

    where: tuple[str, int, int]
    """Problem, sample and index of the token."""
    distance: float
    """Between the scores of the two tokens, whose maximum is drawn; 0 is a perfect tie."""


def start_ranks(folder: Path, layout: str) -> Told:
    """Have ranks of `layout` do the work that lies in `folder`; CalledProcessError if one fails."""
    ranks = LAYOUTS[layout].ranks
    subprocess.run(
        [
            *("env", "OMP_NUM_THREADS=1", "CUDA_VISIBLE_DEVICES=", "PYTHONWARNINGS=ignore"),
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(ranks), "-m", "tools.bench_generate"),
            *("--rank-of", layout, "--folder", str(folder.resolve())),
        ],
        cwd=_ROOT,
        check=True,
    )
    told: Told = pickle.loads((folder / _TOLD).read_bytes())
    return told


def measure_rank(ours: Ours, mesh: Mesh, folder: Path, *, slots: int, repeats: int) -> None:
    """Run on this rank and have the first one write what all found; every rank calls."""
    prompts = ours.workload.prompts
    ours.run(prompts[::16], slots)
    runs = []
    for _ in range(repeats):
        mesh.world.barrier()
        began = time.process_time()
        ours.run(prompts, slots)
        cpu = time.process_time() - began
        usage = ours.usage
        stage = Stage(
            wall_s=usage.wall_s,
            waited_s=usage.waited_s,
            full_s=usage.full_s,
            waited_full_s=usage.waited_full_s,
            cpu_s=cpu,
        )
        runs.append(mesh.world.gather_objects(stage))
    if mesh.main:
        told = Told(runs=runs, completions=ours.completions)
        (folder / _TOLD).write_bytes(pickle.dumps(told))


def find_gaps(
    found: Sequence[Completion], wanted: Sequence[Completion], *, model: Any, sampling: Sampling
) -> list[Gap]:
    """Where `found` leaves `wanted`, the same sequences in the same order, by `model`'s logits."""
    gaps = []
    for one, other in zip(found, wanted, strict=True):
        assert (one.problem_id, one.sample) == (other.problem_id, other.sample)
        unlike = np.flatnonzero(one.token_ids != other.token_ids)
        if len(unlike):
            at = int(unlike[0])
            scores = _scores(other, at, model=model, sampling=sampling)
            distance = abs(float(scores[one.token_ids[at]] - scores[other.token_ids[at]]))
            gaps.append(Gap(where=(one.problem_id, one.sample, at), distance=distance))
    return gaps


@torch.no_grad()
def _scores(completion: Completion, at: int, *, model: Any, sampling: Sampling) -> torch.Tensor:
    """Scores [V] whose maximum is token `at` of the response, from a whole forward pass."""
    seen = np.concatenate([completion.prompt_ids, completion.token_ids[:at]])
    logits: torch.Tensor = model(torch.from_numpy(seen).long()[None]).logits[0, -1].float()
    key = sequence_key(sampling.seed, completion.problem_id, completion.sample)
    noise = gumbel(torch.tensor([key]), torch.tensor([len(seen)]), start=0, count=len(logits))
    return logits / sampling.temperature + noise[0]
