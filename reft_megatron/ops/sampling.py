"""Drawing the next token, the same whatever the batch and the parallel layout.

Owns greedy and sampled choice over vocabulary-parallel logits. Sampling is the Gumbel maximum:
token = argmax(logit / temperature + noise), with noise keyed by (seed, problem, sample, position,
token), so neither the slot a sequence sits in nor the number of ranks can change what is drawn
(up to ties of floating point). Four numbers a row travel between ranks, never the logits, unless
top-k or top-p ask for a global view.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from reft_megatron.ops.drawing import draw
from reft_megatron.ops.logprob import VocabShard

__all__ = ["Sampling", "choose", "sequence_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to choose tokens."""

    greedy: bool = False
    """Take the likeliest token; the other settings then have no effect."""
    temperature: float = 1.0
    """Logits are divided by this."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with this probability mass."""
    min_p: float = 0.0
    """Keep tokens at least this likely relative to the likeliest; 0 keeps all."""
    seed: int = 0
    """Seed of the run's sampling."""


def sequence_key(seed: int, problem_id: str, sample: int) -> tuple[int, int]:
    """The two 32-bit words that key one sequence's noise."""
    digest = hashlib.blake2b(f"{seed}/{problem_id}/{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def choose(
    logits: Tensor, keys: Tensor, positions: Tensor, *, sampling: Sampling, shard: VocabShard
) -> tuple[Tensor, Tensor]:
    """Next token int64 [B] and its log-prob fp32 [B] under the distribution it was drawn from.

    logits fp32 [B, V] of this rank's vocabulary rows, keys int64 [B, 2] from `sequence_key`,
    positions int64 [B] of the token being drawn. Every rank returns the same.
    """
    temperature = 1.0 if sampling.greedy else sampling.temperature
    if not sampling.greedy and (sampling.min_p or sampling.top_k or sampling.top_p < 1):
        logits, temperature = _kept(logits / temperature, sampling, shard), 1.0
    score, token, logit, log_sum = draw(
        logits,
        keys,
        positions,
        start=shard.start,
        temperature=temperature,
        greedy=sampling.greedy,
    )
    if shard.group is not None:
        # fp64 holds a token id and an fp32 score exactly, so that one gather moves all four.
        mine = torch.stack([score.double(), token.double(), logit.double(), log_sum.double()])
        every = [torch.empty_like(mine) for _ in range(dist.get_world_size(shard.group))]
        dist.all_gather(every, mine, group=shard.group)
        table = torch.stack(every)
        winner = table[:, 0].max(dim=0).indices[None, None, :].expand(1, 3, -1)
        _, token, logit = table[:, :3].gather(0, winner)[0].unbind()
        token, logit, log_sum = token.long(), logit.float(), table[:, 3].logsumexp(dim=0).float()
    return token, logit - log_sum


def _kept(logits: Tensor, sampling: Sampling, shard: VocabShard) -> Tensor:
    """`logits` with everything that the settings leave out at -inf."""
    if sampling.min_p:
        # p_i >= min_p * p_max, in logits; it needs no more than the maximum over all ranks.
        best = shard.max(logits.max(dim=-1).values)
        far = logits < best[:, None] + math.log(sampling.min_p)
        logits = logits.masked_fill(far, -torch.inf)
    if sampling.top_k or sampling.top_p < 1:
        logits = _filtered(logits, sampling, shard)
    return logits


def _filtered(logits: Tensor, sampling: Sampling, shard: VocabShard) -> Tensor:
    """`logits` with everything outside top-k and top-p at -inf; needs all ranks' logits."""
    full = logits
    if shard.group is not None:
        parts = [torch.empty_like(logits) for _ in range(dist.get_world_size(shard.group))]
        dist.all_gather(parts, logits.contiguous(), group=shard.group)
        full = torch.cat(parts, dim=-1)
    ranked, order = full.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ranked, dtype=torch.bool)
    if sampling.top_k:
        keep[:, sampling.top_k :] = False
    if sampling.top_p < 1:
        mass = ranked.masked_fill(~keep, -torch.inf).softmax(dim=-1)
        # A token stays if the mass before it is still below top_p; the first always stays.
        keep &= mass.cumsum(dim=-1) - mass < sampling.top_p
    kept = torch.zeros_like(keep).scatter(1, order, keep)
    kept = kept[:, shard.start : shard.start + logits.shape[1]]
    return logits.masked_fill(~kept, -torch.inf)
