"""The libraries of kernels: found, checked and called.

Owns loading (`_kernels_cuda.so` for GPUs, `_kernels_host.so`, its twin for CPUs), how an operator
is registered with torch, and the report of which backend serves each here and why. The C structs of
csrc/kernels/reft_kernels.h stand with the operators that fill them. Nothing is compiled here, and
no library of CUDA is needed to import this.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reft_megatron.errors import ConfigError

__all__ = [
    "ABI",
    "CUDA",
    "DTYPES",
    "HOST",
    "Library",
    "Served",
    "cuda",
    "host",
    "register",
    "served",
    "state",
    "summary",
]

ABI = 7
"""REFT_KERNELS_ABI of the header that this module mirrors."""
_FOLDER = Path(__file__).parents[1]
CUDA = _FOLDER / "_kernels_cuda.so"
HOST = _FOLDER / "_kernels_host.so"
DTYPES = {torch.bfloat16: 0, torch.float32: 1, torch.float8_e4m3fn: 2}
"""Their numbers in the header."""
_OF_TRAINING = (
    *("softmax", "softmax_gradient", "gae", "ppo_loss"),
    *("quantise_rows", "quantise_columns", "quantise_gradient", "transpose_codes"),
    *("layer_norm_quantise", "bias_gelu_quantise", "dgelu_quantise"),
)


class Library:
    """A library of kernels. Its functions take tensors of one device, as their operators do."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if there is no library at `path`, or one of another ABI number."""
        if not path.is_file():
            raise ConfigError(f"{path.name} is not built: {_HOW}.")
        self.name = path.name
        try:
            self._functions = ctypes.CDLL(str(path))
            abi = int(self._functions.reft_abi())
        except (OSError, AttributeError) as error:
            raise ConfigError(f"{path.name} cannot be loaded ({error}): {_HOW}.") from None
        if abi != ABI:
            raise ConfigError(f"{path.name} has ABI {abi}, and this package wants {ABI}: {_HOW}.")
        self._functions.reft_target.restype = ctypes.c_char_p
        self._functions.reft_message.restype = ctypes.c_char_p

    @property
    def target(self) -> str:
        """What its code runs on: "host", or "cuda" and the architectures."""
        text: bytes = self._functions.reft_target()
        return text.decode()

    def message(self, status: int) -> str:
        """What a status of its functions means."""
        text: bytes = self._functions.reft_message(status)
        return text.decode()

    def probe(self, device: int) -> int:
        """0 if it can run on that device, else the status that says why not."""
        # A library makes a device the current one, and leaves it at that.
        with torch.cuda.device(device) if torch.cuda.is_available() else nullcontext():
            return int(self._functions.reft_probe(device))

    def call(self, name: str, args: ctypes.Structure, like: Tensor) -> None:
        """Call a function on the device of `like`; raises ValueError for a status other than 0."""
        function = getattr(self._functions, name)
        function.argtypes = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p)
        if like.is_cuda:
            with torch.cuda.device(like.device):
                stream = torch.cuda.current_stream().cuda_stream
                status = function(ctypes.byref(args), like.device.index, stream)
        else:
            status = function(ctypes.byref(args), 0, None)
        if status:
            raise ValueError(f"{name}: {self.message(status)} (status {status}).")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Who serves an operator on the machine at hand."""

    operator: str
    """Its name in `ops`."""
    backend: str
    """What computes it."""
    why: str
    """What decided so."""


@cache
def host() -> Library:
    """The host twin; raises ConfigError where it is not built."""
    return Library(HOST)


@cache
def cuda(device: int) -> Library | str:
    """The library for that GPU, or why there is none."""
    try:
        library = Library(CUDA)
    except ConfigError as error:
        return str(error)
    return state(library, device) if library.probe(device) else library


def register(
    name: str,
    signature: str,
    *,
    cpu: Callable[..., Any],
    cuda: Callable[..., Any],
    fake: Callable[..., Any],
) -> None:
    """Make `reft::<name>` an operator of torch, which each device serves with its own function.

    `fake` gives what comes out as tensors without content, for tracing.
    """
    operator = f"reft::{name}"
    torch.library.define(operator, signature)
    torch.library.impl(operator, "CPU", cpu)
    torch.library.impl(operator, "CUDA", cuda)
    torch.library.register_fake(operator, fake)


def state(library: Library, device: int) -> str:
    """What a library has code for, and what keeps it from running on a device."""
    status = library.probe(device)
    trouble = f", but {library.message(status)} (status {status})" if status else ""
    return f"has code for {library.target}{trouble}"


def served() -> list[Served]:
    """Who serves each operator here: on the current GPU, or on a CPU where there is none.

    Raises ConfigError on a CPU whose twin is not built.
    """
    gpu = torch.cuda.is_available()
    library = cuda(torch.cuda.current_device()) if gpu else host()
    masked = "torch: scaled_dot_product_attention under a mask"
    return [
        _served("append", library, otherwise="torch"),
        _served("decode_attention", library if gpu else "no GPU", otherwise=masked),
        _served("draw", library, otherwise="torch"),
        *(_served(name, library if gpu else "no GPU", otherwise="torch") for name in _OF_TRAINING),
    ]


def summary() -> str:
    """The same in one line, as a run begins with; raises the same."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in served():
        groups.setdefault((row.backend.partition(":")[0], row.why), []).append(row.operator)
    told = (f"{', '.join(names)} by {by} ({why})" for (by, why), names in groups.items())
    return "; ".join(told)


def _served(operator: str, library: Library | str, *, otherwise: str) -> Served:
    if isinstance(library, str):
        return Served(operator=operator, backend=otherwise, why=library)
    return Served(operator=operator, backend=library.name, why=f"it has code for {library.target}")


_HOW = "`pip install -e .` builds it, for GPUs where nvcc is (REFT_BUILD_CUDA=on insists)"
