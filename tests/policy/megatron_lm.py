"""What Megatron-LM leaves: a checkpoint of its own GPT model, written as its trainer writes one.

The model is `megatron.core.models.gpt.GPTModel` with Megatron's own layers and the sizes of the
scene's, and random weights. Beside them stand, as with Megatron-LM, what is common to all ranks
(arguments, iteration), optimizer state under the weights' names, and random states as objects.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing import ShardedTensor
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional

from reft_megatron.policy import device, join, torch_dist
from reft_megatron.policy.families import find_architecture
from tests.policy.scene import VOCAB, Layout, configure, make_rollouts

ITERATION = 10


def write(
    layout: Layout, folder: Path, *, rows: int, own_writer: bool = False
) -> dict[str, np.ndarray[Any, Any]]:
    """Save a model with `rows` rows of embedding; its log-probs about each rollout's tokens.

    They are of the last pipeline stage, by problem. With `own_writer` Megatron writes, which takes
    it half a minute; otherwise we do, in its format.
    """
    parallel = configure(layout).parallel
    join(parallel, seed=3, timeout_s=300, threads=1)
    model = _model(layout, rows=rows)
    content = model.sharded_state_dict()
    state = {
        "args": argparse.Namespace(hidden_size=96, padded_vocab_size=rows),
        "checkpoint_version": 3.0,
        "iteration": ITERATION,
        "model": content,
        "optimizer": {
            key: replace(part, key=f"optimizer.state.exp_avg.{part.key}", data=part.data.clone())
            for key, part in content.items()
            if isinstance(part, ShardedTensor)
        },
        "rng_state": _random_state(),
    }
    place = folder / f"iter_{ITERATION:07d}"
    if torch.distributed.get_rank() == 0:
        place.mkdir(parents=True)
        (folder / "latest_checkpointed_iteration.txt").write_text(f"{ITERATION}")
    torch.distributed.barrier()
    if own_writer:
        dist_checkpointing.save(state, str(place))
    else:
        torch_dist.write(state, place)
    return {r.completion.problem_id: _logprobs(model, r) for r in make_rollouts()}


def _model(layout: Layout, *, rows: int) -> GPTModel:
    sizes = find_architecture("galactica-tiny")
    config = TransformerConfig(
        num_layers=sizes.layers,
        hidden_size=sizes.hidden,
        ffn_hidden_size=sizes.ffn,
        num_attention_heads=sizes.attention.heads,
        activation_func=functional.gelu,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        tensor_model_parallel_size=layout.tensor,
        pipeline_model_parallel_size=layout.pipeline,
        pipeline_dtype=torch.float32,
        use_cpu_initialization=not device.has_gpu(),
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
    )
    torch.manual_seed(11)  # every rank draws whole matrices and keeps its part
    model = GPTModel(
        config,
        get_gpt_layer_local_spec(),
        vocab_size=rows,
        max_sequence_length=sizes.positions + sizes.position_offset,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        parallel_output=False,
        share_embeddings_and_output_weights=True,
        position_embedding_type="learned_absolute",
    ).to(device.device())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # biases and norms, which begin at 0 and 1
                own = torch.Generator().manual_seed(len(name))
                noise = torch.randn(parameter.shape, generator=own)
                parameter.add_(0.1 * noise.to(parameter.device))
    return model.eval()


def _random_state() -> ShardedObject:
    """One object a rank."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    state = {"random_rng_state": (3, (1, 2), None), "torch_rng_state": torch.get_rng_state()}
    return ShardedObject("rng_state", [state], (world,), (rank,))


@torch.no_grad()
def _logprobs(model: GPTModel, rollout: Any) -> np.ndarray[Any, Any]:
    """Of each token but the first, fp32; by Megatron's own attention, one sequence at a time."""
    completion = rollout.completion
    ids = np.concatenate([completion.prompt_ids, completion.token_ids]).astype(np.int64)
    tokens = torch.from_numpy(ids)[None].to(device.device())
    offset = find_architecture("galactica-tiny").position_offset
    positions = torch.arange(len(ids), device=tokens.device)[None] + offset
    unseen = torch.ones(len(ids), len(ids), dtype=torch.bool, device=tokens.device).triu(1)
    logits: Tensor = model(tokens, positions, unseen[None, None])
    told = logits[0, :-1, :VOCAB].float().log_softmax(-1).gather(1, tokens[0, 1:, None])
    return told[:, 0].cpu().numpy()
