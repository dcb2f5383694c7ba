"""The operators of FP8 as torch knows them: what tracing sees, and who serves a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from reft_megatron.ops import fp8, fp8_kernels, fp8_operators, kernels
from tests.ops.fp8_scene import matrix

OPERATORS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("quantise_rows", (matrix(5, 24),), {}),
    ("quantise_columns", (matrix(5, 24),), {"fold": torch.ones(5, 1)}),
    ("quantise_columns", (matrix(5, 24),), {"fold": None}),
    ("quantise_gradient", (matrix(5, 24),), {"fold": torch.ones(5, 1)}),
    ("layer_norm_quantise", (matrix(5, 24), torch.ones(24), torch.zeros(24)), {"eps": 1e-5}),
    ("bias_gelu_quantise", (matrix(5, 24), torch.ones(24)), {}),
    ("bias_gelu_quantise", (matrix(5, 24), None), {}),
    ("dgelu_quantise", (matrix(5, 24), matrix(5, 24, seed=1), torch.ones(24)), {"fold": None}),
]


@pytest.mark.parametrize(
    ("name", "given", "how"), OPERATORS, ids=lambda x: x if str is type(x) else ""
)
def test_the_operators_are_what_torch_expects(
    name: str, given: tuple[Any, ...], how: dict[str, Any]
):
    # torch's other tests compare tensors, and it cannot subtract FP8
    tests = ("test_faketensor", "test_autograd_registration")
    operator = getattr(torch.ops.reft, name)
    for faults in (None, torch.zeros(1, dtype=torch.int32)):
        torch.library.opcheck(operator, given, how | {"faults": faults}, test_utils=tests)


def test_transposing_is_what_torch_expects():
    codes = fp8.quantise_rows(matrix(5, 24)).codes
    tests = ("test_faketensor", "test_autograd_registration")
    torch.library.opcheck(torch.ops.reft.transpose_codes, (codes,), test_utils=tests)


def test_a_gpu_is_served_by_its_kernel_or_by_torch(monkeypatch: pytest.MonkeyPatch):
    """By torch where there is no library, and for what the kernels do not take."""
    served: list[str] = []

    def note(x: Tensor, **how: Any) -> Any:
        served.append(how["library"].name)
        return kernel(x, **how)

    kernel = fp8_kernels.quantise_rows
    monkeypatch.setattr(fp8_kernels, "quantise_rows", note)
    serve = fp8_operators._on_gpu("quantise_rows", fp8_kernels.takes_rows)
    here: kernels.Library | str = kernels.host()
    monkeypatch.setattr(kernels, "cuda", lambda device: here)
    for x, by_kernel in (
        (matrix(3, 16), True),
        (matrix(3, 12), False),
        (matrix(3, 16, dtype=torch.float16), False),
        (matrix(1, 16392), False),
    ):
        served.clear()
        assert serve(x, faults=None)[0].shape == x.shape
        assert bool(served) == by_kernel
    here = "there is none"
    served.clear()
    assert serve(matrix(3, 16), faults=None)[0].shape == (3, 16)
    assert not served
