"""Where tensors live, and Megatron on a machine without a GPU.

Owns the choice of device and, when there is no GPU, the answers to the CUDA calls that
Megatron-core makes. Megatron asks for the current CUDA device, streams, generators and tensor types
while it builds and trains; on a CPU each question has a plain answer, so the real engine (tensor,
pipeline and data parallelism, schedules, the distributed optimizer) runs unchanged on gloo. Nothing
is touched on a machine with a GPU. `answer_cuda_calls` must run before `megatron.core` is imported;
`reft_megatron.policy` does so.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._device import _device_constructors

__all__ = ["answer_cuda_calls", "device", "has_gpu", "rng_state", "set_rng_state"]

_CPU = torch.device("cpu")
_FACTORIES = ("empty", "zeros", "ones", "full", "tensor", "arange", "rand", "randn", "as_tensor")
_TYPES = {
    "FloatTensor": torch.FloatTensor,
    "DoubleTensor": torch.DoubleTensor,
    "HalfTensor": torch.HalfTensor,
    "BFloat16Tensor": torch.BFloat16Tensor,
    "LongTensor": torch.LongTensor,
    "IntTensor": torch.IntTensor,
    "ByteTensor": torch.ByteTensor,
}


def has_gpu() -> bool:
    """True if a CUDA device can be used."""
    return torch.cuda.is_available()


def device() -> torch.device:
    """The device of this process: its current GPU, or the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if has_gpu() else _CPU


def rng_state() -> torch.Tensor:
    """State of the generator that Megatron draws from on this device, as a byte tensor."""
    return torch.cuda.get_rng_state()


def set_rng_state(state: torch.Tensor) -> None:
    """Restore a state returned by `rng_state`."""
    torch.cuda.set_rng_state(state)


class _NoStream:
    """A stream or event: work on a CPU is done when the call returns, so every method does
    nothing and `query` is always true."""

    cuda_stream = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: None

    def query(self) -> bool:
        return True

    def __enter__(self) -> _NoStream:
        return self

    def __exit__(self, *exc: object) -> None: ...


class _OneGenerator:
    """The generators of all devices, of which there is one, whatever the index."""

    def __getitem__(self, index: object) -> torch.Generator:
        return torch.default_generator


def answer_cuda_calls() -> None:
    """Answer Megatron's CUDA calls on a machine without a GPU; does nothing where there is one."""
    if has_gpu() or getattr(torch.cuda.current_device, "answers_for_cpu", False):
        return
    _answer_device_questions()
    _answer_random_state()
    # `with torch.device(...)` knows the factories as they are when it first asks. Let it be now:
    # it would not know ours, and transformers, which loads models so, would leave buffers unset.
    _device_constructors()
    for name in _FACTORIES:
        setattr(torch, name, _on_cpu(getattr(torch, name)))
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]  # on purpose
    torch.nn.Module.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]  # on purpose
    torch.Tensor.to = _to_cpu(torch.Tensor.to)  # type: ignore[method-assign]  # on purpose
    torch.Tensor.type = _cuda_type_name(torch.Tensor.type)  # type: ignore[method-assign]  # on purpose


def _answer_device_questions() -> None:
    def current_device() -> torch.device:
        return _CPU

    current_device.answers_for_cpu = True  # type: ignore[attr-defined]  # a mark of our own
    cuda: Any = torch.cuda
    cuda.current_device = current_device
    cuda.Stream = cuda.Event = _NoStream
    for name in ("current_stream", "default_stream"):
        setattr(cuda, name, lambda *args, **kwargs: _NoStream())
    cuda.stream = lambda *args, **kwargs: contextlib.nullcontext()
    for name in ("synchronize", "empty_cache", "set_device", "reset_peak_memory_stats"):
        setattr(cuda, name, lambda *args, **kwargs: None)
    cuda.nvtx.range_push = cuda.nvtx.range_pop = lambda *args, **kwargs: None
    cuda.memory_stats = lambda *args, **kwargs: {}
    cuda.memory_allocated = cuda.max_memory_allocated = lambda *args, **kwargs: 0
    cuda.get_device_capability = lambda *args, **kwargs: (0, 0)
    for name, kind in _TYPES.items():
        setattr(cuda, name, kind)


def _answer_random_state() -> None:
    cuda: Any = torch.cuda
    for module in (cuda, cuda.random):
        module.get_rng_state = lambda *args, **kwargs: torch.get_rng_state()
        module.set_rng_state = lambda state, *args, **kwargs: torch.set_rng_state(state)
        module.manual_seed = torch.default_generator.manual_seed
    cuda._lazy_call = lambda call, **kwargs: call()
    cuda.default_generators = _OneGenerator()
    # At each dropout it warns that the CPU's generator moved: here that is the one meant to move.
    logging.getLogger("megatron.core.tensor_parallel.random").setLevel(logging.ERROR)


def _is_cuda(place: object) -> bool:
    return (isinstance(place, str) and place.startswith("cuda")) or (
        isinstance(place, torch.device) and place.type == "cuda"
    )


def _on_cpu(factory: Callable[..., Any]) -> Callable[..., Any]:
    """`factory` with a literal `device="cuda"` read as the CPU."""

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> Any:
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = _CPU
        return factory(*args, **kwargs)

    return make


def _to_cpu(to: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(to)
    def move(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if args and _is_cuda(args[0]):
            args = (_CPU, *args[1:])
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = _CPU
        return to(self, *args, **kwargs)

    return move


def _cuda_type_name(type_: Callable[..., Any]) -> Callable[..., Any]:
    """`Tensor.type()` with the `torch.cuda.` name: Megatron's gradient clipping asserts on it."""

    @functools.wraps(type_)
    def named(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        out = type_(self, *args, **kwargs)
        return out.replace("torch.", "torch.cuda.", 1) if isinstance(out, str) else out

    return named
