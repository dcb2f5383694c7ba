"""Drawing tokens: the right distribution, and the same draw on one rank and on two."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reft_megatron.config import ParallelConfig
from reft_megatron.ops.logprob import VocabShard
from reft_megatron.ops.sampling import Sampling, choose, sequence_key
from reft_megatron.policy import join

WHOLE = VocabShard(start=0, real=10, group=None)
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, 0.0, -0.5, -1.0, 1.5, -2.0, 0.3])
CHI_SQUARE_9 = 27.88
"""Exceeded once in a thousand with 9 degrees of freedom; the draws below are fixed."""


def draw(count: int, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` tokens from LOGITS, at as many positions of one sequence."""
    keys = torch.tensor([sequence_key(sampling.seed, "a_1", 0)]).expand(count, 2)
    return choose(
        LOGITS.expand(count, 10), keys, torch.arange(count), sampling=sampling, shard=WHOLE
    )


def chi_square(tokens: torch.Tensor, probabilities: torch.Tensor) -> float:
    wanted = probabilities.double() * len(tokens)
    seen = torch.bincount(tokens, minlength=10).double()
    kept = probabilities > 0
    assert not seen[~kept].any()
    return float(((seen - wanted)[kept] ** 2 / wanted[kept]).sum())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_follow_the_softmax(temperature: float):
    tokens, logprobs = draw(20_000, Sampling(temperature=temperature))
    wanted = (LOGITS / temperature).log_softmax(-1)
    assert chi_square(tokens, wanted.exp()) < CHI_SQUARE_9
    torch.testing.assert_close(logprobs, wanted[tokens])


def filtered(logits: list[float], top_k: int, top_p: float) -> list[float]:
    """Probabilities after top-k, then top-p, in plain Python."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    if top_k:
        order = order[:top_k]
    weights = torch.tensor([logits[i] for i in order]).softmax(-1).tolist()
    kept, mass = [], 0.0
    for i, weight in zip(order, weights, strict=True):
        if mass < top_p:
            kept.append(i)
        mass += weight
    out = torch.full((len(logits),), -torch.inf)
    out[kept] = torch.tensor([logits[i] for i in kept])
    return out.softmax(-1).tolist()


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(3, 1.0), (1, 1.0), (10, 1.0), (0, 0.5), (0, 0.9), (0, 0.01), (4, 0.7)]
)
def test_top_k_and_top_p_are_those_of_a_plain_reference(top_k: int, top_p: float):
    tokens, logprobs = draw(20_000, Sampling(top_k=top_k, top_p=top_p))
    wanted = torch.tensor(filtered(LOGITS.tolist(), top_k, top_p))
    assert chi_square(tokens, wanted) < CHI_SQUARE_9
    torch.testing.assert_close(logprobs, wanted.log()[tokens])


@pytest.mark.parametrize("min_p", [0.001, 0.2, 0.5, 1.0])
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(min_p: float):
    tokens, logprobs = draw(20_000, Sampling(min_p=min_p))
    wanted = LOGITS.softmax(-1)
    wanted = torch.where(wanted >= min_p * wanted.max(), wanted, 0)
    wanted = wanted / wanted.sum()
    assert chi_square(tokens, wanted) < CHI_SQUARE_9
    torch.testing.assert_close(logprobs, wanted.log()[tokens])


def test_greedy_is_the_likeliest_token_and_ignores_the_rest():
    sampling = Sampling(greedy=True, temperature=5.0, top_k=1, top_p=0.1)
    tokens, logprobs = draw(3, sampling)
    assert tokens.tolist() == [0, 0, 0]
    torch.testing.assert_close(logprobs, LOGITS.log_softmax(-1)[:1].expand(3))


def test_padded_rows_are_never_drawn():
    logits = torch.cat([torch.zeros(5), torch.full((3,), -torch.inf)]).expand(2000, 8)
    shard = VocabShard(start=0, real=5, group=None)
    keys = torch.tensor([[1, 2]]).expand(2000, 2)
    for sampling in (Sampling(), Sampling(top_k=7), Sampling(top_p=0.999)):
        tokens, logprobs = choose(logits, keys, torch.arange(2000), sampling=sampling, shard=shard)
        assert sorted(set(tokens.tolist())) == [0, 1, 2, 3, 4]
        torch.testing.assert_close(logprobs.exp(), torch.full((2000,), 0.2))


def test_every_sequence_has_its_own_key():
    assert sequence_key(0, "gsm8k_1", 0) == (3174806971, 1283847864)  # fixed for good
    keys = {
        sequence_key(seed, problem, sample)
        for seed in range(5)
        for problem in ("gsm8k_1", "gsm8k_11", "svamp_1")
        for sample in range(11)
    }
    assert len(keys) == 5 * 3 * 11


RULES = (
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(top_k=5),
    Sampling(top_p=0.8),
    Sampling(min_p=0.1),
    Sampling(greedy=True),
)


def many_logits() -> torch.Tensor:
    """[64, 30]: 25 real tokens, among them ties, and 5 rows of padding."""
    logits = torch.randn(64, 30, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    logits[:, 25:] = -torch.inf
    return logits


def choose_from(logits: torch.Tensor, shard: VocabShard) -> list[Any]:
    keys = torch.tensor([sequence_key(0, f"a_{i}", 0) for i in range(len(logits))])
    return [
        choose(logits, keys, torch.arange(len(logits)), sampling=rule, shard=shard)
        for rule in RULES
    ]


def play_choosing(cut: int) -> list[Any]:
    """The same draws with rows below `cut` on rank 0 and the others on rank 1."""
    mesh = join(ParallelConfig(tensor=2), seed=0, timeout_s=300, threads=1)
    begin, end = ((0, cut), (cut, 30))[mesh.tensor.rank]
    shard = VocabShard(start=begin, real=25, group=mesh.tensor.group)
    return choose_from(many_logits()[:, begin:end], shard)


@pytest.mark.megatron
def test_two_ranks_draw_what_one_draws(ranks):
    alone = choose_from(many_logits(), VocabShard(start=0, real=25, group=None))
    for rank in ranks(2, play_choosing, 15):
        for (token, logprob), (wanted, its_logprob) in zip(rank, alone, strict=True):
            assert torch.equal(token, wanted)
            torch.testing.assert_close(logprob, its_logprob)
