from __future__ import annotations

import numpy as np
import torch

from reft_megatron.learner.weights import sequence_mean_weights, token_mean_weights

MASK = torch.tensor(
    [
        [False, True, True, True, False],
        [False, False, True, False, False],
        [False, False, False, False, False],
    ]
)


def test_sequence_mean_is_over_tokens_and_then_over_sequences():
    losses = np.arange(15, dtype=float).reshape(3, 5)
    weights = sequence_mean_weights(MASK, num_sequences=3)
    assert weights.dtype == torch.float32
    per_sequence = [losses[i][m].mean() if m.any() else 0.0 for i, m in enumerate(MASK.numpy())]
    np.testing.assert_allclose((weights.numpy() * losses).sum(), np.mean(per_sequence), rtol=1e-6)
    assert not weights[~MASK].any()


def test_sequence_mean_of_parts_adds_up_to_the_whole():
    whole = sequence_mean_weights(MASK, num_sequences=3)
    parts = [sequence_mean_weights(row[None], num_sequences=3) for row in MASK]
    assert torch.equal(torch.cat(parts), whole)


def test_token_mean_takes_masks_and_weights():
    from_mask = token_mean_weights(MASK, total=4)
    torch.testing.assert_close(from_mask, MASK.float() / 4)
    uneven = torch.where(MASK, 0.1, 0.0)
    torch.testing.assert_close(token_mean_weights(uneven, total=0.4).sum(), torch.tensor(1.0))
