"""Holding the tokens of two layouts against each other: ties and mistakes are told apart."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from reft_megatron.ops.philox import gumbel
from reft_megatron.ops.sampling import Sampling, sequence_key
from reft_megatron.types import Completion
from tools.generate_bench.layouts import find_gaps

SAMPLING = Sampling(seed=4, temperature=0.5)
LOGITS = torch.tensor([0.0, 1.0, 0.5, -1.0])


def model(ids: torch.Tensor) -> SimpleNamespace:
    """Says the same after every token, shifted by how many there are."""
    return SimpleNamespace(logits=LOGITS.expand(1, ids.shape[1], 4) * ids.shape[1])


def completion(*tokens: int, sample: int = 0) -> Completion:
    return Completion(
        problem_id="p_1",
        sample=sample,
        prompt_ids=np.array([3, 3], np.int32),
        token_ids=np.array(tokens, np.int32),
        logprobs=np.zeros(len(tokens), np.float32),
        finished=True,
    )


def test_equal_tokens_have_no_gap():
    same = [completion(1, 2, 0), completion(2, 2, sample=1)]
    assert find_gaps(same, same, model=model, sampling=SAMPLING) == []


def test_a_gap_is_between_the_scores_of_the_first_tokens_that_differ():
    wanted = [completion(1, 2, 0), completion(1, 2, 0, sample=1)]
    found = [wanted[0], completion(1, 3, 1, sample=1)]
    (gap,) = find_gaps(found, wanted, model=model, sampling=SAMPLING)
    assert gap.where == ("p_1", 1, 1)
    # Token 1 stands at position 3, after three tokens.
    key = torch.tensor([sequence_key(4, "p_1", 1)])
    scores = 3 * LOGITS / 0.5 + gumbel(key, torch.tensor([3]), start=0, count=4)[0]
    assert gap.distance == abs(float(scores[3] - scores[2]))
    assert gap.distance > 0.1
