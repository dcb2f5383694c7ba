"""Whether FP8 can be had as it is asked for.

Owns the refusals: a run that asks for FP8 either computes in FP8 or does not start.
"""

from __future__ import annotations

import torch

from reft_megatron.config import Fp8Config, ModelConfig, ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.ops.fp8 import ALIGNMENT, refusal
from reft_megatron.packages import transformer_engine
from reft_megatron.policy.families import Architecture

__all__ = ["check_fp8", "precision_note"]

_OTHER = "Set model.precision=bf16"


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
    if fp8.provider == "te":
        raise ConfigError(
            f"fp8.provider=te: {transformer_engine().told}, and the layers of this version are its "
            "own in any case. Set fp8.provider=ours."
        )
    if why := refusal(device):
        raise ConfigError(f"{asked}: {why}. {_OTHER}, or use another GPU.")
    kept = fp8.first_layers_bf16 + fp8.last_layers_bf16
    if kept >= architecture.layers:
        raise ConfigError(
            f"{asked}, and fp8.first_layers_bf16={fp8.first_layers_bf16} with fp8.last_layers_bf16="
            f"{fp8.last_layers_bf16} leave none of the {architecture.layers} layers of "
            f"{architecture.name} to it. Lower them, or set model.precision=bf16."
        )
    for what, width in _widths(architecture, parallel.tensor).items():
        if width % ALIGNMENT:
            raise ConfigError(
                f"{asked}: {architecture.name} has {width} {what} on each of parallel.tensor="
                f"{parallel.tensor} ranks, and FP8 products want multiples of {ALIGNMENT}. "
                f"{_OTHER}, or another parallel.tensor."
            )


def precision_note(model: ModelConfig, device: torch.device) -> str:
    """The precision as a run tells it when it starts."""
    if model.samples_in_fp8 and device.type == "cpu":
        return f"{model.precision} (emulated exactly on a CPU, which is slow)"
    return model.precision


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
