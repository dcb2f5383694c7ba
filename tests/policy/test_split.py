"""Layers by stage: balanced, even, or as asked."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from reft_megatron.config import ModelConfig, ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.split import balance, output_cost, split_layers

SMALL = find_architecture("galactica-125m")
TINY = find_architecture("galactica-tiny")


def layers_of(parallel: ParallelConfig, *, head: str = "value", tokens: int = 50_000):
    return split_layers(SMALL, ModelConfig(head=head), parallel, tokens=tokens)


def test_no_split_is_a_tenth_better_than_the_balanced_one():
    for layers, stages, output in product((4, 7, 12, 32), (2, 3, 4), (0.0, 0.4, 1.0, 4.9, 40.0)):

        def slowest(split: tuple[int, ...], output: float = output) -> float:
            return max(*split[:-1], split[-1] + output)

        found = balance(layers, stages, output=output)
        assert sum(found) == layers
        every = [
            (*some, layers - sum(some))
            for some in product(range(1, layers), repeat=stages - 1)
            if sum(some) < layers
        ]
        assert found in every
        assert slowest(found) <= 1.1 * min(map(slowest, every))


@pytest.mark.parametrize(
    ("layers", "stages", "output", "split"),
    [
        (12, 1, 5.0, (12,)),
        (12, 2, 5.0, (8, 4)),
        # Within a tenth of the best the last stage keeps its layers.
        (24, 2, 1.9, (12, 12)),
        (32, 2, 1.0, (16, 16)),
        # What does not divide goes to late stages, the last one aside.
        (24, 4, 1.9, (6, 6, 7, 5)),
        (4, 3, 0.0, (1, 2, 1)),
        # No stage is empty, whatever the vocabulary takes.
        (4, 4, 9.0, (1, 1, 1, 1)),
        (4, 2, 2.0, (3, 1)),
    ],
)
def test_the_balance(layers: int, stages: int, output: float, split: tuple[int, ...]):
    assert balance(layers, stages, output=output) == split


def test_the_cost_of_the_vocabulary_by_hand():
    # 2 FLOPs a weight: 12 H^2 of a layer; attention sees 512 tokens, twice.
    layer = 2 * 12 * 768**2 + 4 * 512 * 768
    assert output_cost(SMALL, 50_000) == pytest.approx(2 * 50_000 * 768 / layer)
    near = replace(SMALL, attention=replace(SMALL.attention, window=64))
    assert output_cost(near, 50_000) == pytest.approx(
        2 * 50_000 * 768 / (2 * 12 * 768**2 + 4 * 64 * 768)
    )
    llama = find_architecture("codellama-7b")
    layer = 2 * (4 * 4096**2 + 3 * 4096 * 11_008) + 4 * 512 * 4096
    assert output_cost(llama, 32_016) == pytest.approx(2 * 32_016 * 4096 / layer)


def test_a_split_is_balanced_unless_another_is_asked_for():
    assert layers_of(ParallelConfig(pipeline=2)) == (8, 4)
    assert layers_of(ParallelConfig(pipeline=2, pipeline_layers="even")) == (6, 6)
    assert layers_of(ParallelConfig(pipeline=2, pipeline_layers=(7, 5))) == (7, 5)
    assert layers_of(ParallelConfig(pipeline=2, virtual_pipeline=2)) == (3, 3, 3, 3)
    assert layers_of(ParallelConfig()) == (12,)


def test_a_reranker_has_no_vocabulary_to_balance():
    assert layers_of(ParallelConfig(pipeline=2), head="rerank") == (6, 6)


def test_the_vocabulary_is_the_models_where_it_has_one():
    bare = replace(SMALL, vocab=0)
    both = [
        split_layers(shape, ModelConfig(), ParallelConfig(pipeline=2), tokens=100)
        for shape in (replace(SMALL, vocab=50_000), bare)
    ]
    assert both == [(8, 4), (6, 6)]


EVEN = (
    "galactica-tiny has 4 layers, which parallel.pipeline x parallel.virtual_pipeline = {} does "
    "not divide. Choose a layout whose parallel.pipeline x parallel.virtual_pipeline divides 4, "
    "or parallel.virtual_pipeline=1 with parallel.pipeline_layers=auto."
)


@pytest.mark.parametrize(
    ("parallel", "message"),
    [
        (ParallelConfig(pipeline=2, virtual_pipeline=3), EVEN.format(6)),
        (ParallelConfig(pipeline=3, pipeline_layers="even"), EVEN.format(3)),
        (
            ParallelConfig(pipeline=8),
            "galactica-tiny has 4 layers, fewer than parallel.pipeline = 8. Choose a layout of at "
            "most 4 pipeline stages.",
        ),
        (
            ParallelConfig(pipeline=2, pipeline_layers=(3, 2)),
            "parallel.pipeline_layers=[3, 2] has 5 layers on 2 stages; galactica-tiny has 4 "
            "layers, and parallel.pipeline is 2. Give a number for each stage, 4 in all.",
        ),
        (
            ParallelConfig(pipeline=2, pipeline_layers=(2, 1, 1)),
            "parallel.pipeline_layers=[2, 1, 1] has 4 layers on 3 stages; galactica-tiny has 4 "
            "layers, and parallel.pipeline is 2. Give a number for each stage, 4 in all.",
        ),
        (
            ParallelConfig(pipeline=2, virtual_pipeline=2, pipeline_layers=(3, 1)),
            "parallel.pipeline_layers=[3, 1] is for stages that are one model chunk each, and "
            "parallel.virtual_pipeline is 2. Set parallel.virtual_pipeline=1 or "
            "parallel.pipeline_layers=even.",
        ),
    ],
)
def test_splits_that_do_not_fit_are_refused(parallel: ParallelConfig, message: str):
    with pytest.raises(ConfigError) as caught:
        split_layers(TINY, ModelConfig(), parallel, tokens=100)
    assert str(caught.value) == message
