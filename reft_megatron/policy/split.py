"""How many layers each stage of a pipeline has.

Owns the balance. The last stage also makes log-probs of, or draws from, the whole vocabulary, which
in a small model takes as long as several layers; with as many layers as the others it would keep
them all waiting. What a layer computes does not depend on the split. Dropout does, which every
stage draws by itself, and the order in which the gradients' norm is summed.
"""

from __future__ import annotations

from reft_megatron.config import ModelConfig, ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.policy.families import Architecture

__all__ = ["balance", "check_split", "layer_weights", "output_cost", "split_layers"]

_NEAR = 1.1
"""FLOPs are an estimate of time. Splits within a tenth of the best one are taken to be as good."""
_SEEN = 512
"""Tokens that one is taken to attend to: of a question and half of its solution."""


def split_layers(
    architecture: Architecture, model: ModelConfig, parallel: ParallelConfig, *, tokens: int
) -> tuple[int, ...]:
    """Layers of each model chunk, in the order of the layers; `tokens` are the tokenizer's ids.

    There are pipeline x virtual_pipeline chunks, and chunk i is on stage i % pipeline. Raises
    ConfigError as `check_split`.
    """
    check_split(architecture, parallel)
    asked, chunks = parallel.pipeline_layers, parallel.pipeline * parallel.virtual_pipeline
    if not isinstance(asked, str):
        return asked
    if asked == "even" or parallel.virtual_pipeline > 1:
        return (architecture.layers // chunks,) * chunks
    # A reranker has two classes in place of the vocabulary.
    rows = 0 if model.head == "rerank" else architecture.vocab or tokens
    return balance(architecture.layers, chunks, output=output_cost(architecture, rows))


def balance(layers: int, stages: int, *, output: float) -> tuple[int, ...]:
    """Layers of each stage, where the last one has `output` layers' work besides.

    No stage is without a layer, so there must be as many layers as stages. Among the splits whose
    slowest stage is within a tenth of the best the last stage gets most layers. Those that do not
    divide go to late stages, since early ones hold more micro-batches.
    """

    def others(last: int) -> list[int]:
        each, over = divmod(layers - last, max(stages - 1, 1))
        return [each + (stage >= stages - 1 - over) for stage in range(stages - 1)]

    if stages == 1:
        return (layers,)
    cost = {last: max(*others(last), last + output) for last in range(1, layers // stages + 1)}
    enough = _NEAR * min(cost.values())
    last = max(last for last, slowest in cost.items() if slowest <= enough)
    return (*others(last), last)


def output_cost(architecture: Architecture, rows: int) -> float:
    """FLOPs of a token's product with a vocabulary of `rows`, in those of a layer."""
    attention = architecture.attention
    seen = min(_SEEN, architecture.positions, attention.window or _SEEN)
    layer = layer_weights(architecture) + 2 * seen * attention.heads * attention.size
    return rows * architecture.hidden / layer


def layer_weights(architecture: Architecture) -> int:
    """Numbers in the matrices of a layer; each is two FLOPs of a token."""
    attention, mlp = architecture.attention, 3 if architecture.gated else 2
    query, key = attention.heads * attention.size, attention.groups * attention.size
    return architecture.hidden * (2 * query + 2 * key + architecture.ffn * mlp)


def check_split(architecture: Architecture, parallel: ParallelConfig) -> None:
    """ConfigError unless every model chunk gets layers, and all are given away."""
    layers, stages, name = architecture.layers, parallel.pipeline, architecture.name
    asked, virtual = parallel.pipeline_layers, parallel.virtual_pipeline
    if not isinstance(asked, str):
        told = f"parallel.pipeline_layers={[*asked]}"
        if virtual > 1:
            raise ConfigError(
                f"{told} is for stages that are one model chunk each, and "
                f"parallel.virtual_pipeline is {virtual}. Set parallel.virtual_pipeline=1 or "
                "parallel.pipeline_layers=even."
            )
        if len(asked) != stages or sum(asked) != layers:
            raise ConfigError(
                f"{told} has {sum(asked)} layers on {len(asked)} stages; {name} has {layers} "
                f"layers, and parallel.pipeline is {stages}. Give a number for each stage, "
                f"{layers} in all."
            )
    elif asked == "even" or virtual > 1:
        if layers % (stages * virtual):
            key = "parallel.pipeline x parallel.virtual_pipeline"
            raise ConfigError(
                f"{name} has {layers} layers, which {key} = {stages * virtual} does not divide. "
                f"Choose a layout whose {key} divides {layers}, or parallel.virtual_pipeline=1 "
                "with parallel.pipeline_layers=auto."
            )
    elif layers < stages:
        raise ConfigError(
            f"{name} has {layers} layers, fewer than parallel.pipeline = {stages}. Choose a layout "
            f"of at most {layers} pipeline stages."
        )
