"""What the benchmark of the kernels measures: bytes, and what it takes for wrong."""

from __future__ import annotations

import pytest
import torch

from reft_megatron.ops.fp8 import quantise_rows
from tools.kernel_bench.cases import Shapes, cases, trouble

SHAPES = Shapes(tokens=32, hidden=16, inner=64, vocabulary=40, chunk=8)


def test_bytes_are_those_of_inputs_and_outputs():
    """A gradient is read twice, before and after its scales are known; dGELU is counted once."""
    for case in cases(SHAPES, torch.device("cpu")):
        given = case.inputs(0)
        found = case.reference(*given)
        outputs = found if isinstance(found, tuple) else (found,)
        large = [x for x in (*given, *outputs) if x.dim() > 1 and min(x.shape[-2:]) > 2]
        nbytes = sum(x.numel() * x.element_size() for x in large)
        if case.name == "quantise_gradient":
            nbytes += given[0].numel() * given[0].element_size()
        assert case.nbytes == nbytes, case.name


def test_seeds_give_other_inputs():
    for case in cases(SHAPES, torch.device("cpu")):
        one, same, other = (case.inputs(seed)[0].float() for seed in (1, 1, 11))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda codes, scale: None, ""),
        (lambda codes, scale: codes.view(torch.uint8)[0].add_(1), "output 0: 3.12% of the codes"),
        (lambda codes, scale: scale.mul_(1.001), "output 1: off by 1.0e-03"),
        (lambda codes, scale: scale[0].fill_(torch.nan), "output 1: off by nan"),
    ],
)
def test_what_is_wrong_is_told(change, told: str):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(32, 64, generator=draw)
    found, wanted = quantise_rows(x), quantise_rows(x)
    change(*found)
    said = trouble(found, wanted, steps=1e-3)
    assert said.startswith(told) if told else not said
