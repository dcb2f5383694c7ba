"""Both sides of the benchmark of generation: the same model, the same lengths, honest counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reft_megatron.config import load_config
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy, join
from reft_megatron.policy.generate import Limits
from reft_megatron.tokenizer import load_tokenizer
from tools.generate_bench.sides import CACHES, Cost, HuggingFace, Ours, load_model
from tools.generate_bench.workload import Workload, make_model, make_workload


class Scene:
    """Both sides on one tiny model."""

    def __init__(self, folder: Path, sampling: Sampling) -> None:
        self.workload: Workload = make_workload(
            folder,
            model="tiny",
            data=Path("nowhere"),
            prompts=5,
            samples=2,
            most=40,
            mean=20,
            seed=1,
        )
        made = make_model(folder, model="tiny", precision="fp32")
        tokenizer = replace(load_tokenizer(folder / "hf"), vocab_size=made.vocab)
        config = load_config(None, [f"model.hf={folder / 'hf'}"])
        mesh = join(config.parallel, seed=0, timeout_s=60, threads=1)
        policy = Policy(config, mesh, tokenizer, total_steps=None)
        limits = Limits(max_new_tokens=9, slots=9, prefill_tokens=64)
        self.ours, self.in_bursts = (
            Ours(
                policy,
                self.workload,
                sampling=sampling,
                limits=replace(limits, unwatched_steps=unwatched),
            )
            for unwatched in (1, 6)
        )
        model, pad = load_model(folder / "hf", precision="fp32"), tokenizer.pad_id
        self.rivals = {
            cache: HuggingFace(model, self.workload, cache=cache, sampling=sampling, pad_id=pad)
            for cache in CACHES
        }
        self.theirs = self.rivals["dynamic"]

    def lengths(self, *, by: str) -> dict[tuple[str, int], int]:
        """What a side generated."""
        if by == "theirs":
            return {key: len(tokens) for key, tokens in self.theirs.tokens.items()}
        return {(c.problem_id, c.sample): len(c.token_ids) for c in self.ours.completions}


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("greedy"), Sampling(greedy=True))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("drawn"), Sampling(seed=2))


def test_both_have_the_same_weights(greedy: Scene):
    prompts = greedy.workload.prompts
    greedy.ours.run(prompts, 3)
    ours = {(c.problem_id, c.sample): c.token_ids.tolist() for c in greedy.ours.completions}
    for rival in greedy.rivals.values():
        rival.run(prompts, 4)
        assert rival.tokens == ours


@pytest.mark.parametrize("at_once", [3, 64])
def test_both_keep_to_the_lengths(drawn: Scene, at_once: int):
    prompts = drawn.workload.prompts
    ours, theirs = drawn.ours.run(prompts, at_once), drawn.theirs.run(prompts, at_once)
    assert drawn.lengths(by="ours") == drawn.lengths(by="theirs") == drawn.workload.lengths
    assert ours.useful == theirs.useful == drawn.workload.tokens - 10
    assert ours.wasted == 0


def test_what_ours_wastes_in_bursts(drawn: Scene):
    """Five slots are computed as eight rows, and steps go on past a sequence's end."""
    prompts = drawn.workload.prompts
    apart, cost = drawn.ours.run(prompts, 5), drawn.in_bursts.run(prompts, 5)
    assert apart.computed == apart.useful == cost.useful < cost.computed
    assert cost.wasted == 1 - cost.useful / drawn.in_bursts.usage.decoded
    for one, other in zip(drawn.ours.completions, drawn.in_bursts.completions, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()


def test_what_hugging_face_wastes(drawn: Scene):
    prompts = drawn.workload.prompts
    widths = [len(p.token_ids) for p in prompts for _ in p.samples]
    cost = drawn.theirs.run(prompts, 64)
    assert cost.computed == 10 * (drawn.workload.longest - 1)
    assert cost.read == 10 * max(widths)
    # One row a batch has nothing to wait for.
    cost = drawn.theirs.run(prompts, 1)
    assert (cost.computed, cost.read, cost.wasted) == (cost.useful, sum(widths), 0)


def test_ours_reads_a_prompt_once_for_its_samples(drawn: Scene):
    prompts = drawn.workload.prompts
    assert drawn.ours.run(prompts, 64).read == sum(len(p.token_ids) for p in prompts)


def test_the_wasted_share():
    assert Cost(useful=30, computed=40, read=0).wasted == 0.25
    assert Cost(useful=0, computed=0, read=9).wasted == 0
