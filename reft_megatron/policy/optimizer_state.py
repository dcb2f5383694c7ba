"""The optimizer's state as whole tensors of parameters, whatever the layout.

Owns taking it apart and putting it together again: both moments, the fp32 masters of bf16
parameters, and the number of steps, each a tensor with the parameter's place in the whole.

Megatron's distributed optimizer gives each data rank a run of a flat buffer, so a parameter lies in
one rank's run or goes over the border of several. The rank with a parameter's first element keeps
it: it collects the rest from its neighbours for a checkpoint, and hands it out after reading one.
No rank holds more than its share and the parameters that cross its borders, and nothing else
travels. Without the distributed optimizer every data rank has all of a parameter, keeps it for
itself, and the first one writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
import torch.distributed as dist
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from torch import Tensor

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Mesh
from reft_megatron.policy.model import PolicyModel
from reft_megatron.policy.torch_dist import Part

__all__ = ["collect", "restore", "room"]

_PREFIX = "optimizer.state"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_MASTER = "fp32_param"
_STEP = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """A parameter of this rank's model, and what its data ranks have of its state."""

    name: str
    """Unique among this rank's."""
    part: Part
    """The parameter's place in the whole model."""
    main: Tensor | None
    """What the optimizer moves here, fp32; None where it has nothing of the parameter."""
    spans: tuple[range, ...]
    """Elements of the parameter that each data rank has."""
    rank: int
    """This data rank."""

    @property
    def size(self) -> int:
        """Elements of the parameter."""
        return int(self.part.data.numel())

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is kept: an fp32 parameter is its own master and a weight already."""
        return _MOMENTS if self.part.data.dtype == torch.float32 else (*_MOMENTS, _MASTER)

    @property
    def keepers(self) -> list[int]:
        """Data ranks that have, or stand for, the whole parameter."""
        whole = [rank for rank, span in enumerate(self.spans) if len(span) == self.size]
        return whole or [next(rank for rank, span in enumerate(self.spans) if span)]

    @property
    def kept(self) -> bool:
        """True if this rank is one of them."""
        return self.rank in self.keepers

    @property
    def senders(self) -> dict[int, range]:
        """Data ranks that have a piece for the keeper; none if it has all itself."""
        keepers = set(self.keepers)
        return {r: span for r, span in enumerate(self.spans) if span and r not in keepers}


@torch.no_grad()
def collect(
    chunks: Sequence[PolicyModel], optimizer: MegatronOptimizer, mesh: Mesh
) -> dict[str, Part]:
    """The state by name, for writing; every rank calls. Before the first step it is all zeros.

    Raises CheckpointError on every rank if later on a parameter has none.
    """
    inner, shares = optimizer.optimizer, _shares(chunks, optimizer, mesh)
    steps = _checked_steps(inner, shares, mesh)
    content: dict[str, Part] = {}
    for share in shares:
        for kind in share.kinds:
            piece = None if share.main is None else _piece(inner, share.main, kind)
            whole = _gathered(share, piece, mesh)
            if whole is not None:
                content[f"{kind}/{share.name}"] = _placed(share, kind, whole)
    return {**content, _STEP: _counted(steps, mesh)}


@torch.no_grad()
def room(
    chunks: Sequence[PolicyModel], optimizer: MegatronOptimizer, mesh: Mesh
) -> dict[str, Part]:
    """What `collect` gives, as host memory of zeros to read into; every rank calls."""
    content = {
        f"{kind}/{share.name}": _placed(share, kind, torch.zeros(share.part.data.shape))
        for share in _shares(chunks, optimizer, mesh)
        if share.kept
        for kind in share.kinds
    }
    return {**content, _STEP: _counted(0, mesh)}


@torch.no_grad()
def restore(
    chunks: Sequence[PolicyModel],
    optimizer: MegatronOptimizer,
    found: Mapping[str, Tensor],
    *,
    mesh: Mesh,
) -> None:
    """Give the optimizer what was read into `room`; every rank calls."""
    inner = optimizer.optimizer
    for share in _shares(chunks, optimizer, mesh):
        for kind in share.kinds:
            piece = _handed_out(share, found.get(f"{kind}/{share.name}"), mesh)
            if share.main is None or piece is None:
                continue
            if kind == _MASTER:
                share.main.copy_(piece.view_as(share.main))
            else:
                fresh = torch.empty_like(share.main.detach())
                inner.state[share.main][kind] = fresh.copy_(piece.view_as(fresh))
    _set_steps(inner, int(found[_STEP]))


def _shares(
    chunks: Sequence[PolicyModel], optimizer: MegatronOptimizer, mesh: Mesh
) -> list[_Share]:
    """One for each parameter of this rank, in the same order on every data rank."""
    named = {
        f"{index}.{name}": part
        for index, chunk in enumerate(chunks)
        for name, part in chunk.sharded_state_dict().items()
        if isinstance(part, ShardedTensor | ShardedTensorFactory)
        and isinstance(part.data, torch.nn.Parameter)
        and part.data.requires_grad
    }
    mains = dict(_mains(optimizer, [part.data for part in named.values()]))
    nothing = (None, range(0))
    own = [mains.get(part.data, nothing) for part in named.values()]
    spans = mesh.data.gather_objects([span for _, span in own])
    return [
        _Share(name=name, part=part, main=main, spans=tuple(of_ranks), rank=mesh.data.rank)
        for (name, part), (main, _), *of_ranks in zip(named.items(), own, *spans, strict=True)
    ]


def _mains(
    optimizer: MegatronOptimizer, parameters: Sequence[torch.nn.Parameter]
) -> Iterator[tuple[torch.nn.Parameter, tuple[Tensor, range]]]:
    """For each parameter that this rank moves: its fp32 tensor, and which elements those are."""
    if not isinstance(optimizer, DistributedOptimizer):
        for parameter in parameters:
            main = getattr(parameter, "main_param", parameter)
            yield parameter, (main, range(parameter.numel()))
        return
    # Not by Megatron's `model_param_group_index_map`, which goes wrong where a group holds
    # parameters of two types, as trunk and value head of a bf16 model.
    for models, shards in (
        (optimizer.model_float16_groups, optimizer.shard_fp32_from_float16_groups),
        (optimizer.model_fp32_groups, optimizer.shard_fp32_groups),
    ):
        pairs = zip(chain.from_iterable(models), chain.from_iterable(shards), strict=True)
        for parameter, shard in pairs:
            where = optimizer._get_model_param_range_map(parameter)["param"]
            yield parameter, (shard, range(where.start, where.end))


def _piece(inner: torch.optim.Optimizer, main: Tensor, kind: str) -> Tensor:
    """State of `main`, flat; zeros before the first step."""
    if kind == _MASTER:
        return main.detach().view(-1)
    found = inner.state.get(main, {}).get(kind)
    return (torch.zeros_like(main.detach()) if found is None else found).view(-1)


def _gathered(share: _Share, piece: Tensor | None, mesh: Mesh) -> Tensor | None:
    """The whole tensor on its keepers, None elsewhere; pieces travel on the host."""
    shape = share.part.data.shape
    if not share.senders:
        return None if piece is None else piece.view(shape)
    (keeper,) = share.keepers
    group, ranks = mesh.data.object_group, mesh.data.ranks
    if piece is not None and not share.kept:
        dist.send(piece.cpu(), ranks[keeper], group=group)
    if not share.kept or piece is None:
        return None
    whole = torch.empty(share.size)
    _cut(whole, share.spans[keeper]).copy_(piece)
    for rank, span in share.senders.items():
        dist.recv(_cut(whole, span), ranks[rank], group=group)
    return whole.view(shape)


def _handed_out(share: _Share, whole: Tensor | None, mesh: Mesh) -> Tensor | None:
    """This rank's piece of a tensor that its keepers have read, flat."""
    own = share.spans[share.rank]
    if not own:
        return None
    group, ranks = mesh.data.object_group, mesh.data.ranks
    if whole is None:
        piece = torch.empty(len(own))
        dist.recv(piece, ranks[share.keepers[0]], group=group)
        return piece
    flat = whole.reshape(-1)
    for rank, span in share.senders.items():
        dist.send(_cut(flat, span), ranks[rank], group=group)
    return _cut(flat, own)


def _cut(flat: Tensor, span: range) -> Tensor:
    return flat[span.start : span.stop]


def _placed(share: _Share, kind: str, whole: Tensor) -> Part:
    """`whole` at the parameter's place; among its keepers the first one writes."""
    made = make_sharded_optimizer_tensor(share.part, whole, prefix=f"{_PREFIX}.{kind}")
    replica = (*share.part.replica_id[:-1], share.keepers.index(share.rank))
    return dataclasses.replace(made, replica_id=replica)


def _counted(steps: int, mesh: Mesh) -> ShardedTensor:
    return ShardedTensor.from_rank_offsets(
        f"{_PREFIX}.{_STEP}", torch.tensor([steps]), replica_id=mesh.world.rank
    )


def _steps(inner: torch.optim.Optimizer) -> int:
    """Steps taken, which torch's Adam counts for each parameter and fused ones for a group."""
    places = chain(inner.param_groups, inner.state.values())
    return max((int(place[_STEP]) for place in places if _STEP in place), default=0)


def _checked_steps(inner: torch.optim.Optimizer, shares: Sequence[_Share], mesh: Mesh) -> int:
    """Steps taken by all ranks; CheckpointError if there are some and moments are missing."""
    lacking = [
        share.name
        for share in shares
        if share.main is not None and not inner.state.get(share.main, {}).keys() >= {*_MOMENTS}
    ]
    reports = mesh.world.gather_objects((_steps(inner), lacking))
    steps = max(taken for taken, _ in reports)
    missing = sorted({name for _, names in reports for name in names})
    if steps and missing:
        raise CheckpointError(
            f"after {steps} steps the optimizer has no moments of {', '.join(missing)}, so no run "
            "could go on from this checkpoint. Every parameter of the model must be given to the "
            "optimizer and get a gradient at each step."
        )
    return steps


def _set_steps(inner: torch.optim.Optimizer, steps: int) -> None:
    if isinstance(inner, torch.optim.Adam | torch.optim.AdamW):
        for state in inner.state.values():
            state[_STEP] = torch.tensor(float(steps))
    else:
        for group in inner.param_groups:
            group[_STEP] = steps
