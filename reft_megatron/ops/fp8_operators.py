"""The operators of FP8 as torch knows them: who serves, and what tracing sees.

On a GPU the kernels of csrc/kernels serve, or plain torch where that library cannot run or does not
take a shape or dtype. On a CPU plain torch does: exact emulation, for tests and small models, as
the twin follows a GPU's order and is no faster. What they mean stands in `ops.fp8`, which checks
what they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reft_megatron.ops import fp8_kernels, kernels
from reft_megatron.ops.reference import fp8 as reference
from reft_megatron.ops.reference.fp8 import ALIGNMENT

__all__ = ["OPERATORS"]

_E4M3 = torch.float8_e4m3fn


def _fake_rows(x: Tensor, *others: Any, **how: Any) -> tuple[Tensor, Tensor]:
    scale = x.new_empty(len(x), 1, dtype=torch.float32)
    return x.new_empty(x.shape, dtype=_E4M3), scale


def _fake_columns(x: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    tokens, size = x.shape
    padded = (tokens + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    return x.new_empty(size, padded, dtype=_E4M3), x.new_empty(size, 1, dtype=torch.float32)


def _fake_gradient(dy: Tensor, *others: Any, **how: Any) -> tuple[Tensor, ...]:
    return *_fake_rows(dy), *_fake_columns(dy), dy.new_empty(dy.shape[1], dtype=torch.float32)


def _fake_transposed(codes: Tensor) -> Tensor:
    return _fake_columns(codes)[0]


def _fake_normalised(x: Tensor, *others: Any, **how: Any) -> tuple[Tensor, ...]:
    mean, rstd = (x.new_empty(len(x), dtype=torch.float32) for _ in range(2))
    return *_fake_rows(x), mean, rstd


def _on_gpu(name: str, takes: Callable[[Tensor], bool]) -> Callable[..., Any]:
    """An operator on a GPU: by its kernel, or by torch where that cannot."""
    kernel, plain = getattr(fp8_kernels, name), getattr(reference, name)

    def serve(x: Tensor, *others: Any, **how: Any) -> Any:
        library = kernels.cuda(x.device.index)
        if isinstance(library, kernels.Library) and takes(x):
            return kernel(x, *others, library=library, **how)
        return plain(x, *others, **how)

    return serve


def _register(
    name: str, signature: str, takes: Callable[[Tensor], bool], *, fake: Callable[..., Any]
) -> None:
    plain = getattr(reference, name)
    kernels.register(name, signature, cpu=plain, cuda=_on_gpu(name, takes), fake=fake)


_TWO, _FOUR, _FIVE = (f"({', '.join(['Tensor'] * count)})" for count in (2, 4, 5))
_FOLD, _FAULTS = "Tensor? fold", "Tensor(a!)? faults"
_register(
    "quantise_rows",
    f"(Tensor x, *, {_FAULTS}) -> {_TWO}",
    fp8_kernels.takes_rows,
    fake=_fake_rows,
)
_register(
    "quantise_columns",
    f"(Tensor x, *, {_FOLD}, {_FAULTS}) -> {_TWO}",
    fp8_kernels.takes_columns,
    fake=_fake_columns,
)
_register(
    "quantise_gradient",
    f"(Tensor dy, *, {_FOLD}, {_FAULTS}) -> {_FIVE}",
    fp8_kernels.takes_columns,
    fake=_fake_gradient,
)
_register(
    "transpose_codes",
    "(Tensor codes) -> Tensor",
    fp8_kernels.takes_columns,
    fake=_fake_transposed,
)
_register(
    "layer_norm_quantise",
    f"(Tensor x, Tensor weight, Tensor bias, *, float eps, {_FAULTS}) -> {_FOUR}",
    fp8_kernels.takes_rows,
    fake=_fake_normalised,
)
_register(
    "bias_gelu_quantise",
    f"(Tensor x, Tensor? bias, *, {_FAULTS}) -> {_TWO}",
    fp8_kernels.takes_rows,
    fake=_fake_rows,
)
_register(
    "dgelu_quantise",
    f"(Tensor dy, Tensor x, Tensor? bias, *, {_FOLD}, {_FAULTS}) -> {_FIVE}",
    fp8_kernels.takes_columns,
    fake=_fake_gradient,
)
# torch does not type them
OPERATORS: Any = torch.ops.reft
"""Where they are called."""
