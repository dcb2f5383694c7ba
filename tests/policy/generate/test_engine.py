"""Completions: those of an uncached model, whatever the slots, the batch and the layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.errors import ConfigError
from reft_megatron.ops.philox import gumbel
from reft_megatron.ops.sampling import Sampling, sequence_key
from reft_megatron.policy import Policy
from reft_megatron.policy.generate import Generator, Limits
from reft_megatron.rollouts.batch import common_shape, lay_out
from reft_megatron.rollouts.packing import pack
from reft_megatron.types import Completion, Prompt
from tests.policy.plain import Plain
from tests.policy.scene import (
    EOS,
    LAYOUTS,
    PAD,
    SPREAD,
    VOCAB,
    Layout,
    make_prompts,
    open_policy,
)

NEW = 24
DRAWN = Sampling(seed=3)
FILTERED = Sampling(seed=3, temperature=0.7, top_k=20, top_p=0.9)
GREEDY = Sampling(greedy=True)


def generate(
    policy: Policy,
    count: int,
    slots: int,
    sampling: Sampling,
    *,
    samples: int = 1,
    prefill: int = 64,
    unwatched: int = 1,
) -> list[Completion]:
    """Those completions of the first prompts that fell to this replica."""
    prompts = [
        dataclasses.replace(prompt, samples=tuple(range(samples)))
        for prompt in make_prompts(64)[:count]
    ]
    generator = Generator(policy._chunks, policy.mesh, eos_id=EOS)
    limits = Limits(
        max_new_tokens=NEW, slots=slots, prefill_tokens=prefill, unwatched_steps=unwatched
    )
    found = generator.run(prompts, sampling=sampling, limits=limits)
    usage = generator.usage
    if unwatched == 1:
        assert usage.decoded == usage.useful, "no idle slot is computed"
    assert usage.useful <= min(usage.decoded, usage.seats)
    assert 0 < usage.full_s < usage.wall_s
    assert 0 <= usage.waited_full_s <= min(usage.waited_s, usage.full_s)
    return found


def score(policy: Policy, completions: Sequence[Completion]) -> list[Any]:
    """Log-probs of the completions' tokens as `Policy.score` gives them; empty off its stage."""
    tokens = [np.concatenate([c.prompt_ids, c.token_ids]) for c in completions]
    lengths = [len(row) for row in tokens]
    stages, split = policy.mesh.pipeline.size, policy.mesh.tensor.size
    plan = pack(lengths, data_size=1, max_tokens=300, multiple_of=stages)
    shape = common_shape(plan, lengths, packed=True, length_multiple=split)
    batches = [
        lay_out(batch, lengths, tokens=tokens, fields={}, pad_id=PAD, packed=True, shape=shape)
        for batch in plan.data[0]
    ]
    rows = policy.score(batches)["logprobs"]
    return [
        row[len(c.prompt_ids) :].numpy() for row, c in zip(rows, completions, strict=bool(rows))
    ]


def play_completions(layout: Layout) -> dict[str, Any]:
    """Everything this rank's replica generates, and scores of it."""
    policy = open_policy(layout, total_steps=None)
    every = generate(policy, 64, 32, DRAWN)
    return {
        "drawn": every,
        "scores": score(policy, every),
        "greedy": generate(policy, 16, 16, GREEDY),
        "filtered": generate(policy, 16, 16, FILTERED),
        "one slot": generate(policy, 2, 1, DRAWN),
        "three slots": generate(policy, 6, 3, DRAWN),
    }


@pytest.fixture(scope="module")
def plain(weights) -> Plain:
    return Plain(weights)


@pytest.fixture(scope="module")
def drawn(still) -> list[Completion]:
    return generate(still, 64, 16, DRAWN)


def perturbed(plain: Plain, completion: Completion, at: int, sampling: Sampling) -> torch.Tensor:
    """Scores whose maximum is the token at `at`, from a whole forward pass."""
    start = len(completion.prompt_ids)
    seen = np.concatenate([completion.prompt_ids, completion.token_ids[:at]])
    with torch.no_grad():
        logits = plain.logits(torch.from_numpy(seen).long())[-1]
    if sampling.greedy:
        return logits
    key = sequence_key(sampling.seed, completion.problem_id, completion.sample)
    noise = gumbel(torch.tensor([key]), torch.tensor([start + at]), start=0, count=VOCAB)[0]
    return logits / sampling.temperature + noise


def same(
    found: Sequence[Completion], wanted: Sequence[Completion], plain: Plain, sampling: Sampling
) -> None:
    """Token for token, unless two candidates are a tie of floating point, which is then shown."""
    assert [(c.problem_id, c.sample) for c in found] == [(c.problem_id, c.sample) for c in wanted]
    for one, other in zip(found, wanted, strict=True):
        a, b = one.token_ids.tolist(), other.token_ids.tolist()
        if a == b:
            assert one.finished == other.finished
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
            continue
        at = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
        scores = perturbed(plain, other, at, sampling)
        gap = abs(float(scores[a[at]] - scores[b[at]]))
        print(f"\n{one.problem_id}: token {at} is {a[at]} or {b[at]}, scores apart by {gap:.1e}")
        assert gap < 1e-4


def whole(seen: Sequence[dict[str, Any]], what: str, layout: Layout) -> list[Completion]:
    """The completions of all replicas in order, once their own ranks are found to agree."""
    size = layout.world // (layout.tensor * layout.pipeline)
    members = [(r // layout.tensor) % size for r in range(layout.world)]
    for rank, member in enumerate(members):
        first = seen[members.index(member)][what]
        for one, other in zip(seen[rank][what], first, strict=True):
            assert one.token_ids.tolist() == other.token_ids.tolist()
            assert one.logprobs.tolist() == other.logprobs.tolist()
    replicas = [seen[members.index(member)][what] for member in range(size)]
    return sorted((c for part in replicas for c in part), key=lambda c: (c.problem_id, c.sample))


@pytest.mark.megatron
@pytest.mark.parametrize("name", SPREAD)
def test_every_layout_draws_the_same_tokens(ranks, still, plain, drawn, name: str):
    layout = SPREAD[name]
    seen = ranks(layout.world, play_completions, layout)
    same(whole(seen, "drawn", layout), drawn, plain, DRAWN)
    same(whole(seen, "one slot", layout), drawn[:2], plain, DRAWN)
    same(whole(seen, "three slots", layout), drawn[:6], plain, DRAWN)
    same(whole(seen, "greedy", layout), generate(still, 16, 16, GREEDY), plain, GREEDY)
    same(whole(seen, "filtered", layout), generate(still, 16, 16, FILTERED), plain, FILTERED)


@pytest.mark.parametrize("slots", [1, 3])
def test_the_number_of_slots_does_not_matter(still, plain, drawn, slots: int):
    same(generate(still, 64, slots, DRAWN), drawn, plain, DRAWN)


@pytest.mark.parametrize("prefill", [1, 7, 1000])
def test_how_prompts_are_read_does_not_matter(still, plain, drawn, prefill: int):
    same(generate(still, 64, 16, DRAWN, prefill=prefill), drawn, plain, DRAWN)


@pytest.mark.parametrize("unwatched", [2, 8, 100])
def test_steps_without_a_look_draw_the_same(still, plain, drawn, unwatched: int):
    same(generate(still, 64, 16, DRAWN, unwatched=unwatched), drawn, plain, DRAWN)


def test_completions_end_where_they_should(drawn):
    assert 10 < sum(c.finished for c in drawn) < 54
    assert sum(len(c.token_ids) for c in drawn) > 800
    for completion, prompt in zip(drawn, make_prompts(64), strict=True):
        tokens = completion.token_ids.tolist()
        assert completion.problem_id == prompt.problem_id
        assert completion.prompt_ids.tolist() == prompt.token_ids.tolist()
        assert completion.finished == (tokens[-1] == EOS)
        assert EOS not in tokens[:-1]
        assert max(tokens) < VOCAB, "padded rows are never drawn"
        assert len(tokens) == NEW or completion.finished
        assert (completion.token_ids.dtype, completion.logprobs.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("sampling", [DRAWN, GREEDY], ids=["drawn", "greedy"])
def test_a_whole_forward_pass_for_each_token_gives_the_same(still, plain, sampling: Sampling):
    for completion in generate(still, 6, 16, sampling):
        for at, token in enumerate(completion.token_ids.tolist()):
            scores = perturbed(plain, completion, at, sampling)
            best = int(scores.argmax())
            assert token == best or float(scores[best] - scores[token]) < 1e-4


@pytest.mark.megatron
@pytest.mark.parametrize("name", LAYOUTS)
def test_sampler_logprobs_are_those_of_scoring(ranks, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play_completions, layout)
    scored = [rank for rank in seen if rank["scores"]]
    assert len(scored) == layout.world // layout.pipeline
    far = max(
        float(abs(row - completion.logprobs).max())
        for rank in scored
        for row, completion in zip(rank["scores"], rank["drawn"], strict=True)
    )
    print(f"\n{name:9} log-probs of sampling and scoring differ by {far:.1e}")
    assert far < 1e-4


def test_samples_share_a_prompt_and_differ(still, plain, drawn):
    many = generate(still, 6, 4, DRAWN, samples=5)
    assert [c.sample for c in many] == [0, 1, 2, 3, 4] * 6
    same(many[::5], drawn[:6], plain, DRAWN)
    for i in range(6):
        texts = {c.token_ids.tobytes() for c in many[5 * i : 5 * i + 5]}
        assert len(texts) == 5
    for completion in many[6:9]:
        for at, token in enumerate(completion.token_ids.tolist()):
            scores = perturbed(plain, completion, at, DRAWN)
            assert float(scores.max() - scores[token]) < 1e-4


def test_each_completion_is_told_as_it_ends(still, drawn):
    told: list[Completion] = []
    prompts = make_prompts(64)[:20]
    completions = still.generate(prompts, sampling=DRAWN, on_finish=told.append)
    assert len(told) == 20
    assert {id(c) for c in told} == {id(c) for c in completions}
    assert [c.problem_id for c in told] != [c.problem_id for c in completions]
    for one, other in zip(completions, drawn, strict=False):
        assert one.token_ids.tolist() == other.token_ids.tolist()


def test_slots_are_in_use(still):
    """Samples of a prompt start together, and yet no slot waits until several are free."""
    prompts = [
        dataclasses.replace(prompt, samples=tuple(range(20))) for prompt in make_prompts(64)[:6]
    ]
    generator = Generator(still.chunks, still.mesh, eos_id=EOS)
    limits = Limits(max_new_tokens=NEW, slots=16, prefill_tokens=64)
    assert len(generator.run(prompts, sampling=DRAWN, limits=limits)) == 120
    usage = generator.usage
    print(f"\n{usage.useful} of {usage.seats} seats taken")
    # The end, where nothing is left to start, takes up to a whole response of the 120.
    assert usage.useful > 0.85 * usage.seats


def test_a_prompt_of_nothing_is_refused(still):
    nothing = Prompt(problem_id="a_0", token_ids=np.zeros(0, np.int32))
    with pytest.raises(ConfigError, match=r"^problem a_0 has a prompt of no tokens; a model wants"):
        still.generate([make_prompts(1)[0], nothing], sampling=GREEDY)


def test_nothing_asked_is_nothing_answered(still):
    assert still.generate([], sampling=DRAWN) == []


def test_a_prompt_that_does_not_fit_is_refused(still):
    short = make_prompts(1)[0]
    fits = Prompt(problem_id="fits", token_ids=np.full(1000, 5, np.int32))
    (completion,) = still.generate([fits], sampling=GREEDY)
    assert completion.length <= 1024
    long = Prompt(problem_id="gsm8k_7", token_ids=np.full(1001, 5, np.int32))
    with pytest.raises(ConfigError) as caught:
        still.generate([short, long], sampling=GREEDY)
    assert str(caught.value) == (
        "problem gsm8k_7 has a prompt of 1001 tokens; with generate.max_new_tokens=24 that "
        "exceeds the model's 1024 positions. Lower generate.max_new_tokens or "
        "generate.max_prompt_tokens."
    )
