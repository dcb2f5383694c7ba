"""FP8 layers of Megatron, on one rank and on two."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from megatron.core.tensor_parallel import ColumnParallelLinear
from megatron.core.transformer.mlp import MLPSubmodules
from torch import Tensor

from reft_megatron.config import Fp8Config, ModelConfig
from reft_megatron.policy import join
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.fp8.linear import (
    Fp8ColumnParallelLinear,
    Fp8Mlp,
    Fp8NormColumnParallelLinear,
    Fp8RowParallelLinear,
)
from reft_megatron.policy.layers import LayerNorm
from reft_megatron.policy.model import _transformer_config
from tests.policy.fp8.test_products import ONE_PRODUCT, TWO_PRODUCTS, far, gauss
from tests.policy.scene import LAYOUTS, ONE, Layout, configure

TINY = find_architecture("galactica-tiny")
SPLIT = replace(LAYOUTS["tp2"])
KEPT_WHOLE = "whole"
S, H = 32, TINY.hidden
Found = dict[str, Tensor]


def make(layout: Layout, precision: str, *, sequence: bool = True) -> Any:
    """Megatron's config of a layout that has been joined."""
    parallel = replace(configure(layout).parallel, sequence=sequence and layout.tensor > 1)
    model = ModelConfig(precision=precision)
    return _transformer_config(TINY, model, parallel, split=(4,), fp8=Fp8Config())


def dress(module: torch.nn.Module, rank: int) -> None:
    """The same weights at every layout: drawn whole, of which a rank takes its part."""
    with torch.no_grad():
        for seed, (name, parameter) in enumerate(sorted(module.named_parameters())):
            part = getattr(parameter, "partition_dim", None)
            split = getattr(parameter, "tensor_model_parallel", False)
            shape = list(parameter.shape)
            size = shape[part] if split else 0
            if split:
                shape[part] *= torch.distributed.get_world_size()
            whole = gauss(*shape, seed=seed + 10, scale=0.1)
            if "norm" in name and name.endswith("weight"):
                whole += 1
            parameter.copy_(whole.narrow(part, rank * size, size) if split else whole)


def run(module: torch.nn.Module, x: Tensor, dy: Tensor) -> Found:
    """Output, gradients of the input and of each parameter."""
    x = x.clone().requires_grad_()
    out, bias = module(x)
    out = out if bias is None else out + bias
    out.backward(dy)
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "x": x.grad, **gradients}


def layers(config: Any) -> dict[str, tuple[torch.nn.Module, int, int]]:
    """Each layer with the width of what goes in and of what comes out, on this rank."""
    ranks = config.tensor_model_parallel_size
    how = {"config": config, "init_method": lambda weight: weight, "bias": True}
    column = partial(Fp8ColumnParallelLinear, H, 4 * H, gather_output=False, skip_bias_add=False)
    normed = partial(Fp8NormColumnParallelLinear, H, 4 * H, gather_output=False)
    row = partial(Fp8RowParallelLinear, 4 * H, H, input_is_parallel=True, skip_bias_add=True)
    parts = MLPSubmodules(linear_fc1=Fp8NormColumnParallelLinear, linear_fc2=Fp8RowParallelLinear)
    block = Fp8Mlp(config, parts, ffn_hidden_size=config.ffn_hidden_size)
    return {
        "column": (column(**how), H, 4 * H // ranks),
        "normed": (normed(skip_bias_add=False, **how), H, 4 * H // ranks),
        "row": (row(**how), 4 * H // ranks, H),
        "block": (block, H, H),
    }


def play(layout: Layout, *, sequence: bool = True) -> dict[str, Found]:
    """Every layer forward and backward, on the rank's part of the same numbers."""
    mesh = join(configure(layout).parallel, seed=0, timeout_s=300, threads=1)
    config = make(layout, "fp8", sequence=sequence)
    rank, ranks, found = mesh.tensor.rank, mesh.tensor.size, {}
    split = config.sequence_parallel
    for name, (module, inside, outside) in layers(config).items():
        module.bfloat16()
        dress(module, rank)
        wide_in, wide_out = name == "row", name in ("column", "normed")
        x = gauss(S, 1, inside * ranks if wide_in else inside, seed=1)
        dy = gauss(S, 1, outside * ranks if wide_out else outside, seed=2)
        tokens, halves = (lambda t: t.chunk(ranks)[rank]), (lambda t: t.chunk(ranks, -1)[rank])
        keep = lambda t: t  # noqa: E731  # the third of a row of three
        x = (halves if wide_in else tokens if split else keep)(x)
        dy = (halves if wide_out else tokens if split else keep)(dy)
        found[name] = run(module, x.contiguous(), dy.contiguous())
    return found


def play_both(layout: Layout) -> list[dict[str, Found]]:
    return [play(layout, sequence=sequence) for sequence in (True, False)]


@pytest.fixture(scope="module")
def whole(alone) -> dict[str, Found]:
    return play(ONE)


@pytest.fixture(scope="module", params=["sequence-parallel", "tensor-parallel"])
def spread(request, ranks) -> tuple[bool, list[dict[str, Found]]]:
    seen = ranks(2, play_both, SPLIT)
    sequence = request.param == "sequence-parallel"
    return sequence, [both[0 if sequence else 1] for both in seen]


def together(seen: list[dict[str, Found]], layer: str, name: str, dim: int | None) -> Tensor:
    """What all ranks have: end to end along `dim`, summed (None), or the same on both (9)."""
    parts = [rank[layer][name] for rank in seen]
    return torch.cat(parts, dim) if dim is not None else parts[0].float() + parts[1].float()


@pytest.mark.megatron
@pytest.mark.parametrize("layer", ["column", "normed"])
def test_a_column_parallel_layer_is_that_of_one_rank_bit_for_bit(whole, spread, layer: str):
    """Tokens and rows of the weight are whole there, so codes are the same. Only the input's
    gradient is a sum over ranks, whose parts have scales of their own."""
    sequence, seen = spread
    for name, dim in (("out", -1), ("weight", 0), ("bias", 0)):
        assert torch.equal(together(seen, layer, name, dim), whole[layer][name]), name
    dx = together(seen, layer, "x", 0) if sequence else seen[0][layer]["x"]
    print(f"\n{layer}: gradient of the input {far(dx, whole[layer]['x']):.1e} from one rank's")
    assert far(dx, whole[layer]["x"]) < ONE_PRODUCT
    if not sequence:
        assert torch.equal(dx, seen[1][layer]["x"])


@pytest.mark.megatron
def test_a_row_parallel_layer_is_that_of_one_rank_within_the_noise(whole, spread):
    """Its ranks have parts of tokens, which have scales of their own; gradients of these come from
    whole ones."""
    sequence, seen = spread
    out = together(seen, "row", "out", 0) if sequence else seen[0]["row"]["out"]
    weight = together(seen, "row", "weight", 1)
    dx = together(seen, "row", "x", -1)
    assert far(out, whole["row"]["out"]) < ONE_PRODUCT
    assert far(weight, whole["row"]["weight"]) < ONE_PRODUCT
    assert torch.equal(dx, whole["row"]["x"])


@pytest.mark.megatron
def test_a_feed_forward_block_is_that_of_one_rank_within_the_noise(whole, spread):
    sequence, seen = spread
    out = together(seen, "block", "out", 0) if sequence else seen[0]["block"]["out"]
    distances = {"out": far(out, whole["block"]["out"])}
    # Of parameters that every rank has, those that are sequence-parallel are summed by Megatron.
    for name, dim in (
        ("linear_fc1.weight", 0),
        ("linear_fc1.bias", 0),
        ("linear_fc2.weight", 1),
        *(
            ((n, None) for n in ("linear_fc1.layer_norm_weight", "linear_fc1.layer_norm_bias"))
            if sequence
            else ()
        ),
    ):
        distances[name] = far(together(seen, "block", name, dim), whole["block"][name])
    print("\nblock: " + ", ".join(f"{name} {d:.1e}" for name, d in distances.items()))
    assert distances["out"] < TWO_PRODUCTS
    assert max(distances.values()) < 1.5 * TWO_PRODUCTS


@pytest.mark.usefixtures("alone")
def test_marks_and_names_are_megatrons():
    config = make(LAYOUTS["tp2"], "fp8")
    normed = layers(make(ONE, "fp8"))["normed"][0]
    assert isinstance(normed, ColumnParallelLinear)
    assert {name for name, _ in normed.named_parameters()} == {
        "weight",
        "bias",
        "layer_norm_weight",
        "layer_norm_bias",
    }
    assert normed.layer_norm_weight.sequence_parallel is False
    normed = Fp8NormColumnParallelLinear(
        H, H, config=config, init_method=lambda weight: weight, skip_bias_add=True
    )
    assert [p.sequence_parallel for n, p in normed.named_parameters() if "norm" in n] == [True] * 2


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("layer", ["column", "normed", "row", "block"])
def test_a_layer_that_is_not_sampling_is_megatrons_bit_for_bit(layer: str):
    """In fp8_rollout training computes as it would in bf16."""
    module, inside, outside = layers(make(ONE, "fp8_rollout"))[layer]
    module.bfloat16()
    dress(module, 0)
    x, dy = gauss(S, 1, inside, seed=1), gauss(S, 1, outside, seed=2)
    found = run(module, x, dy)
    plain = x.clone().requires_grad_()
    hidden = plain
    if layer in ("normed", "block"):
        its = module if layer == "normed" else module.linear_fc1
        norm = LayerNorm(make(ONE, "bf16"), H, eps=TINY.norm.eps).bfloat16()
        norm.load_state_dict({"weight": its.layer_norm_weight, "bias": its.layer_norm_bias})
        hidden = norm(plain)
    if layer == "block":
        fc1, fc2 = module.linear_fc1, module.linear_fc2
        hidden = torch.nn.functional.gelu(hidden @ fc1.weight.t() + fc1.bias)
        out = hidden @ fc2.weight.t() + fc2.bias
    else:
        out = hidden @ module.weight.t() + module.bias
    assert torch.equal(found["out"], out)
    out.backward(dy)
    assert torch.equal(found["x"], plain.grad)
    with module.config.fp8_weights.sampling(), torch.no_grad():
        sampled, bias = module(x)
    sampled = sampled if bias is None else sampled + bias
    assert 1e-3 < far(sampled, out) < TWO_PRODUCTS
