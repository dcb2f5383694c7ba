"""The losses of all that is trained, as weighted sums over tokens.

Owns the PPO policy and value losses, the negative log-likelihood, alone and in halves, and the
cross-entropy of two classes. A loss takes what the model says (`outputs`) and what was prepared for
the same tokens (`fields`), all [R, L] about tokens, and returns a scalar and the weighted sums to
log. The normaliser is in the weights (`learner.weights`), so losses and sums of parts add up to
those of the whole batch.

Fix the settings with `functools.partial` and hand the result to `policy.update`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from reft_megatron.ops.ppo_loss import SUMS, ppo_sums

__all__ = ["classification_loss", "halves_loss", "ppo_loss", "supervised_loss"]


def ppo_loss(
    outputs: Mapping[str, Tensor],
    fields: Mapping[str, Tensor],
    *,
    clip_range: float,
    value_coef: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped policy loss plus `value_coef` times its clipped value loss (`ops.ppo_loss`).

    `outputs`: logprobs, values. `fields`: mask (bool), weights, old_logprobs, old_values,
    advantages (whitened), returns, and `importance`, which is 1 without it (`learner.mismatch`).
    All [R, L]; computed in float32. What stands where the mask is False, even NaN, reaches neither
    the loss nor its gradient. Returns the loss and the weighted sums (float32, detached); with
    weights that sum to 1 over the batch they are means.
    """
    names = ("weights", "old_logprobs", "old_values", "advantages", "returns")
    importance = fields.get("importance")
    sums = ppo_sums(
        outputs["logprobs"].float(),
        outputs["values"].float(),
        mask=fields["mask"],
        **{name: fields[name].float() for name in names},
        importance=None if importance is None else importance.float(),
        clip_range=clip_range,
        value_coef=value_coef,
    )
    return sums[0], _detached(dict(zip(SUMS, sums.unbind(), strict=True)))


def supervised_loss(
    outputs: Mapping[str, Tensor], fields: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Negative log-likelihood, `-sum w logprobs`; tokens of weight 0 do not count.

    `outputs`: logprobs. `fields`: weights. Both [R, L]; computed in float32. Returns the loss and
    it again, detached, under `loss`.
    """
    weights = fields["weights"].float()
    loss = -(weights * _counted(outputs["logprobs"], weights != 0)).sum()
    return loss, _detached({"loss": loss})


def halves_loss(
    outputs: Mapping[str, Tensor], fields: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Half the loss of sampled sequences and half that of gold ones (train_rl_sl.py lines 329-345).

        L = 1/2 (-sum w_sampled logprobs) + 1/2 (-sum w_gold logprobs)

    `outputs`: logprobs. `fields`: sampled_weights, gold_weights, each of which sums to 1 over the
    batch, or to 0 where it has none of that kind: the other half then stands alone, and weighs no
    more. All [R, L]; computed in float32. Returns the loss, and it and both means, detached, under
    `loss`, `sampled` and `gold`.
    """
    sampled, gold = (
        supervised_loss(outputs, {"weights": fields[name]})[0]
        for name in ("sampled_weights", "gold_weights")
    )
    loss = (sampled + gold) / 2
    return loss, _detached({"loss": loss, "sampled": sampled, "gold": gold})


def classification_loss(
    outputs: Mapping[str, Tensor], fields: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the classes wrong and right, for a reranker (train_reward_model.py).

        L = -sum w log softmax(wrong, right)[y] = sum w log(1 + exp((1 - 2 y) (right - wrong)))

    with y = 1 where the sequence is right, else 0. `outputs`: wrong, right, the scores after each
    token. `fields`: weights, labels (the y). All [R, L]; computed in float32. A sequence counts at
    its last token: elsewhere weights are 0, and what stands there, even NaN, reaches neither the
    loss nor its gradient. Returns the loss and it again, detached, under `loss`.
    """
    weights = fields["weights"].float()
    wrong, right, labels = (
        _counted(x, weights != 0) for x in (outputs["wrong"], outputs["right"], fields["labels"])
    )
    loss = (weights * functional.softplus((1 - 2 * labels) * (right - wrong))).sum()
    return loss, _detached({"loss": loss})


def _counted(x: Tensor, mask: Tensor) -> Tensor:
    """`x` as float32 with 0 where it does not count; a product with the mask would keep a NaN."""
    return torch.where(mask, x.float(), 0.0)


def _detached(sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.detach() for name, x in sums.items()}
