"""From scored rollouts to PPO's targets.

Owns the order of the learner's formulas for one batch (train_rl_reft.py): KL reward, generalised
advantages, whitening over all data ranks, weights. Each formula lives in `learner`; the buffer
keeps the result on the ranks that need it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reft_megatron.config import Config, PpoConfig
from reft_megatron.learner.advantage import gae, mean_and_variance, moments, whiten
from reft_megatron.learner.mismatch import importance_weights, mismatch_statistics
from reft_megatron.learner.reward import token_kl, token_rewards
from reft_megatron.learner.statistics import rollout_statistics
from reft_megatron.learner.weights import sequence_mean_weights
from reft_megatron.mesh import Mesh
from reft_megatron.policy import Policy
from reft_megatron.rollouts.buffer import RolloutBuffer

__all__ = ["set_scores", "set_targets"]


def set_scores(
    buffer: RolloutBuffer, policy: Policy, reference: Policy | None, *, layout: dict[str, Any]
) -> None:
    """Put the policy's log-probs, values and entropies and the reference's log-probs in `buffer`.

    Without a reference (no KL term) the policy stands in for it.
    """
    batches = buffer.micro_batches((), **layout)
    scores = policy.score(batches)
    against = reference.score(batches) if reference is not None else scores
    if buffer.holds("old_logprobs"):
        buffer.put("old_logprobs", scores["logprobs"])
        buffer.put("old_values", scores["values"])
        buffer.put("entropies", scores["entropies"])
        buffer.put("ref_logprobs", against["logprobs"])


def set_targets(
    buffer: RolloutBuffer, config: Config, mesh: Mesh, *, version: int
) -> dict[str, float]:
    """Put advantages, returns and weights in `buffer`; returns the batch's metrics, everywhere.

    `version` is the policy's: how far sampler and trainer are apart is told of its own rollouts.
    """
    metrics: dict[str, float] | None = None
    if buffer.holds("advantages"):
        metrics = _set_targets(buffer, config.ppo, mesh)
        metrics |= _set_importance(buffer, config.importance_cap, mesh, version=version)
    return mesh.pipeline.broadcast_object(metrics, source=mesh.pipeline.size - 1)


def _set_targets(buffer: RolloutBuffer, config: PpoConfig, mesh: Mesh) -> dict[str, float]:
    mask = buffer.mask
    logprobs, ref_logprobs = buffer.padded("old_logprobs"), buffer.padded("ref_logprobs")
    values = buffer.padded("old_values")
    rewards = token_rewards(
        scores=torch.from_numpy(buffer.rewards).to(mask.device),
        logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        mask=mask,
        kl_coef=config.kl_coef,
    )
    found = gae(rewards=rewards, values=values, mask=mask, gamma=config.gamma, lam=config.lam)
    mean, var = mean_and_variance(mesh.data.sum(moments(found.advantages, mask)))
    white = whiten(found.advantages, mask, mean=mean, var=var)
    buffer.put("advantages", white)
    buffer.put("returns", found.returns)
    buffer.put("weights", sequence_mean_weights(mask, num_sequences=buffer.num_sequences))
    kl = token_kl(logprobs, ref_logprobs, mask)
    flat = {
        "kl": kl,
        "values": values,
        "returns": found.returns,
        "advantages": found.advantages,
        "entropies": buffer.padded("entropies"),
    }
    everywhere = {name: _all_ranks(x[mask], mesh) for name, x in flat.items()}
    return _metrics(everywhere, buffer.num_sequences, config.kl_coef)


def _set_importance(
    buffer: RolloutBuffer, cap: float, mesh: Mesh, *, version: int
) -> dict[str, float]:
    """Put importance weights in `buffer`, if `cap` asks for them; returns how far they are due."""
    mask, trainer = buffer.mask, buffer.padded("old_logprobs")
    sampler = buffer.padded("sampler_logprobs")
    if cap:
        buffer.put("importance", importance_weights(sampler, trainer, mask, cap=cap))
    fresh = torch.from_numpy(buffer.versions == version).to(mask.device)
    counted = mask & fresh[:, None]
    found = mismatch_statistics(
        _all_ranks(sampler[counted], mesh), _all_ranks(trainer[counted], mesh)
    )
    return {f"mismatch/{name}": value for name, value in found.items()}


def _all_ranks(flat: Tensor, mesh: Mesh) -> Tensor:
    """The entries of all data ranks, on the CPU."""
    return torch.cat(mesh.data.gather_objects(flat.cpu()))


def _metrics(flat: dict[str, Tensor], num_sequences: int, kl_coef: float) -> dict[str, float]:
    entropies = flat.pop("entropies")
    found = rollout_statistics(**flat, num_sequences=num_sequences)
    # Without a KL term there is no reference, and nothing is known of how far it is.
    kl = {
        "kl/sequence": found["mean_seq_kl"],
        "kl/token": flat["kl"].double().mean().item(),
    }
    return {
        **(kl if kl_coef else {}),
        "reward/kl": -kl_coef * found["mean_seq_kl"],
        "policy/entropy": entropies.double().mean().item(),
        "value/explained_variance": found["vf_expl_var"],
        "value/mean": found["mean_value"],
        "return/mean": found["mean_return"],
        "advantage/mean": found["mean_advantage"],
        "advantage/variance": found["var_advantage"],
    }
