"""Whether FP8 can be had as it is asked for.

Owns the refusals: a run that asks for FP8 either computes in FP8 or does not start.
"""

from __future__ import annotations

import torch
from packaging.version import Version

from reft_megatron.config import Fp8Config, ModelConfig, ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.ops.fp8 import ALIGNMENT, refusal
from reft_megatron.packages import INSTALL_TE, transformer_engine
from reft_megatron.policy.families import Architecture

__all__ = ["check_fp8", "precision_note"]

_OTHER = "Set model.precision=bf16"
_LEAST_TE, _NEXT_TE = Version("2.9"), Version("2.12")
"""Those that Megatron Core 0.16 names, and the extra `te` in pyproject.toml."""


def check_fp8(
    architecture: Architecture,
    model: ModelConfig,
    parallel: ParallelConfig,
    *,
    fp8: Fp8Config,
    device: torch.device,
) -> None:
    """ConfigError if `model.precision` asks for FP8 and it cannot be had on this device."""
    if not model.samples_in_fp8:
        return
    asked = f"model.precision={model.precision}"
    if why := refusal(device):
        raise ConfigError(f"{asked}: {why}. {_OTHER}, or use another GPU.")
    alignment = ALIGNMENT
    if fp8.provider == "te":
        _check_transformer_engine(fp8.te_recipe, device)
        alignment = 2 * ALIGNMENT if fp8.te_recipe == "mxfp8" else ALIGNMENT
    kept = fp8.first_layers_bf16 + fp8.last_layers_bf16
    if kept >= architecture.layers:
        raise ConfigError(
            f"{asked}, and fp8.first_layers_bf16={fp8.first_layers_bf16} with fp8.last_layers_bf16="
            f"{fp8.last_layers_bf16} leave none of the {architecture.layers} layers of "
            f"{architecture.name} to it. Lower them, or set model.precision=bf16."
        )
    for what, width in _widths(architecture, parallel.tensor).items():
        if width % alignment:
            raise ConfigError(
                f"{asked}: {architecture.name} has {width} {what} on each of parallel.tensor="
                f"{parallel.tensor} ranks, and FP8 products want multiples of {alignment}. "
                f"{_OTHER}, or another parallel.tensor."
            )


def precision_note(model: ModelConfig, device: torch.device) -> str:
    """The precision as a run tells it when it starts."""
    if model.samples_in_fp8 and device.type == "cpu":
        return f"{model.precision} (emulated exactly on a CPU, which is slow)"
    return model.precision


def _check_transformer_engine(recipe: str, device: torch.device) -> None:
    """ConfigError if it cannot serve the layers on this device."""
    asked = "fp8.provider=te"
    if device.type != "cuda":
        raise ConfigError(
            f"{asked}: Transformer Engine computes on GPUs only. Set fp8.provider=ours, which a "
            "CPU emulates."
        )
    package = transformer_engine()
    if not package.usable:
        raise ConfigError(f"{asked}: {package.told}. {INSTALL_TE}, or set fp8.provider=ours.")
    version = Version(package.version)
    if not _LEAST_TE <= version < _NEXT_TE:
        raise ConfigError(
            f"{asked}: {package.told}, and its layers are used here from {_LEAST_TE} on and before "
            f"{_NEXT_TE}. {INSTALL_TE}, or set fp8.provider=ours."
        )
    from reft_megatron.policy.fp8.transformer_engine import unavailable  # it is there

    if why := unavailable(recipe):
        raise ConfigError(
            f"{asked} with fp8.te_recipe={recipe}: {why}. Set fp8.te_recipe=tensorwise."
        )


def _widths(architecture: Architecture, tensor: int) -> dict[str, int]:
    """Rows and columns of the layers' weights on a tensor rank."""
    attention = architecture.attention
    query, key = attention.heads * attention.size, attention.groups * attention.size
    return {
        "hidden channels": architecture.hidden,
        "columns of queries": query // tensor,
        "columns of queries, keys and values": (query + 2 * key) // tensor,
        "feed-forward columns": architecture.ffn // tensor,
    }
