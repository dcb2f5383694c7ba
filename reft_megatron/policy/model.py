"""The network: Megatron's GPT with a value head, or a rerank head, inside.

Owns building model chunks for this rank from an architecture and a layout, and what the last stage
makes of hidden states: log-probs, values, classes, next-token logits. The head stands inside the
module, before data-parallel wrapping, so that its gradients, its optimizer state and its place in
checkpoints come from the same machinery as every other weight; its gradient flows into the trunk.

Legend: R rows, L positions, H hidden, V vocabulary rows of this rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
    gather_from_tensor_model_parallel_region,
)
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional

from reft_megatron.config import Fp8Config, ModelConfig, ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.mesh import Mesh
from reft_megatron.ops.logprob import VocabShard, linear_logprob, project
from reft_megatron.policy import device as devices
from reft_megatron.policy.attention import Layout, Positioned
from reft_megatron.policy.families import Architecture
from reft_megatron.policy.fp8.readiness import check_fp8
from reft_megatron.policy.layers import PolicyTransformerConfig, block_spec, fp8_settings
from reft_megatron.policy.split import check_split, split_layers

__all__ = [
    "CLASSES",
    "HEADS",
    "Head",
    "PolicyModel",
    "Vocabulary",
    "build_chunks",
    "check_layout",
    "unpublished",
    "vocabulary_of",
]

CLASSES = 2
"""Of the rerank head: wrong and right."""
HEADS = ("value_head", "rerank_head")
"""Modules that a model may have beside its language model; a checkpoint may lack them."""

_ACTIVATIONS = {"gelu": functional.gelu, "relu": functional.relu, "swiglu": functional.silu}

Head = Callable[["PolicyModel", Tensor], Tensor]
"""What to compute from the last stage's hidden states [L, R, H]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Three sizes of a vocabulary, each at least the one before."""

    real: int
    """Ids that the tokenizer has; no other takes part in a softmax."""
    rows: int
    """Rows of the embedding: some published ones have spare ones."""
    padded: int
    """Rows that are held, so that they divide over tensor-parallel ranks."""


class PolicyModel(GPTModel):
    """One chunk of the policy: embedding, layers and heads as its pipeline stage has them."""

    def __init__(
        self,
        config: TransformerConfig,
        architecture: Architecture,
        *,
        vocab: Vocabulary,
        head: Literal["value", "rerank"],
        logprob_chunk: int,
        pre_process: bool,
        post_process: bool,
        chunk: int | None,
    ) -> None:
        """Build the part of the model that chunk `chunk` of this pipeline rank holds."""
        super().__init__(
            config=config,
            transformer_layer_spec=block_spec(config, architecture, chunk),
            vocab_size=vocab.padded,
            max_sequence_length=architecture.positions + architecture.position_offset,
            pre_process=pre_process,
            post_process=post_process,
            share_embeddings_and_output_weights=architecture.tied,
            # Rotation is our attention's part: packed and cached tokens stand anywhere.
            position_embedding_type="none" if architecture.attention.rope else "learned_absolute",
            vp_stage=chunk,
        )
        self.architecture, self.vocab, self.head = architecture, vocab, head
        rank = parallel_state.get_tensor_model_parallel_rank()
        size = parallel_state.get_tensor_model_parallel_world_size()
        group = parallel_state.get_tensor_model_parallel_group() if size > 1 else None
        self.shard = VocabShard(start=rank * vocab.padded // size, real=vocab.real, group=group)
        self._logprob_chunk = logprob_chunk
        if pre_process:
            # OPT drops nothing right after the embedding; Megatron would.
            self.embedding.embedding_dropout = torch.nn.Dropout(0.0)
        # In fp32 whatever the trunk's precision: one number a token decides the advantages.
        if post_process and head == "value":
            self.value_head = torch.nn.Linear(config.hidden_size, 1)
        if post_process and head == "rerank":
            self.rerank_head = torch.nn.Linear(config.hidden_size, CLASSES, bias=False)

    def forward(
        self, tokens: Tensor | None, positions: Tensor, layout: Layout, head: Head
    ) -> Tensor:
        """Hidden states [L, R, H] for the next stage, or `head` of the final ones.

        tokens int64 [R, L] (None past the first stage), positions int64 [R, L].
        """
        hidden = None
        if self.pre_process:
            hidden = self.embedding(tokens, positions + self.architecture.position_offset)
        where = Positioned(layout, positions, self.architecture.attention)
        hidden = self.decoder(hidden_states=hidden, attention_mask=None, attention_bias=where)
        return head(self, hidden) if self.post_process else hidden

    def vocabulary_weight(self) -> Tensor:
        """Output projection [V, H]: the tied embedding or the output layer's own."""
        if self.share_embeddings_and_output_weights:
            return self.shared_embedding_or_output_weight()
        return self.output_layer.weight

    def logprobs(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Log-prob of `targets` and entropy, each fp32 [R, L]; hidden [L, R, H], targets [R, L]."""
        if self.config.sequence_parallel:
            hidden = gather_from_sequence_parallel_region(hidden)
        else:
            hidden = copy_to_tensor_model_parallel_region(hidden)
        length, rows, width = hidden.shape
        logprob, entropy = linear_logprob(
            hidden.reshape(-1, width),
            self.vocabulary_weight(),
            targets.t().reshape(-1),
            shard=self.shard,
            chunk=self._logprob_chunk,
        )
        return logprob.view(length, rows).t(), entropy.view(length, rows).t()

    def values(self, hidden: Tensor) -> Tensor:
        """State values fp32 [R, L] of hidden [L, R, H]; needs the value head."""
        return self.value_head(self._whole(hidden))[..., 0].t()

    def classes(self, hidden: Tensor) -> Tensor:
        """Scores of the classes wrong and right, fp32 [2, R, L]; needs the rerank head."""
        return self.rerank_head(self._whole(hidden)).permute(2, 1, 0)

    def _whole(self, hidden: Tensor) -> Tensor:
        """fp32 hidden states of all positions, for a head that is the same on every rank.

        Every tensor-parallel rank computes the same from the same hidden states, so no gradient is
        summed over them: hence the gather whose backward only splits.
        """
        if self.config.sequence_parallel:
            hidden = gather_from_sequence_parallel_region(hidden, tensor_parallel_output_grad=False)
        return hidden.float()

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 logits [R, L, real] of every token id, whole on every tensor-parallel rank.

        hidden [L, R, H]. For comparing models: training never holds all of them.
        """
        if self.config.sequence_parallel:
            hidden = gather_from_sequence_parallel_region(hidden)
        length, rows, width = hidden.shape
        own = project(hidden.reshape(-1, width), self.vocabulary_weight(), self.shard)
        whole = gather_from_tensor_model_parallel_region(own)[:, : self.vocab.real]
        return whole.view(length, rows, -1).transpose(0, 1)

    def next_logits(self, hidden: Tensor, after: Tensor | slice) -> Tensor:
        """fp32 logits [K, V] after K tokens of one row, `after` their indices; hidden [L, 1, H]."""
        return project(hidden[after, 0], self.vocabulary_weight(), self.shard)


def unpublished(head: str) -> frozenset[str]:
    """Names of the weights that a published model with `head` comes without.

    A classifier (rerank) has no use for the output projection.
    """
    return frozenset({"output_layer.weight"} if head == "rerank" else ())


def check_layout(architecture: Architecture, parallel: ParallelConfig) -> None:
    """ConfigError unless heads and feed-forward width divide over the layout, and layers fit it."""
    attention = architecture.attention
    for what, amount, over, key in (
        ("attention heads", attention.heads, parallel.tensor, "parallel.tensor"),
        ("key-value heads", attention.groups, parallel.tensor, "parallel.tensor"),
        ("feed-forward columns", architecture.ffn, parallel.tensor, "parallel.tensor"),
    ):
        if amount % over:
            raise ConfigError(
                f"{architecture.name} has {amount} {what}, which {key} = {over} does not divide. "
                f"Choose a layout whose {key} divides {amount}."
            )
    check_split(architecture, parallel)


def build_chunks(
    architecture: Architecture,
    model: ModelConfig,
    parallel: ParallelConfig,
    *,
    mesh: Mesh,
    vocab_size: int,
    fp8: Fp8Config | None = None,
) -> list[PolicyModel]:
    """This rank's model chunks, uninitialised, on the mesh's device, in the asked precision.

    `vocab_size` is the tokenizer's, `fp8` how FP8 is done where it is asked for. Raises ConfigError
    if the embedding has fewer rows, for a layout that does not divide the model, or for FP8 that
    cannot be had.
    """
    fp8 = fp8 or Fp8Config()
    check_layout(architecture, parallel)
    check_fp8(architecture, model, parallel, fp8=fp8, device=mesh.device)
    split = split_layers(architecture, model, parallel, tokens=vocab_size)
    config = _transformer_config(architecture, model, parallel, split=split, fp8=fp8)
    vocab = vocabulary_of(architecture, model, parallel, tokens=vocab_size)
    chunks = []
    for index in range(parallel.virtual_pipeline):
        chunk = index if parallel.virtual_pipeline > 1 else None
        built = PolicyModel(
            config,
            architecture,
            vocab=vocab,
            head=model.head,
            logprob_chunk=model.logprob_chunk,
            pre_process=mesh.pipeline.first and index == 0,
            post_process=mesh.pipeline.last and index == parallel.virtual_pipeline - 1,
            chunk=chunk,
        )
        chunks.append(_in_precision(built, config.params_dtype).to(mesh.device))
    return chunks


def vocabulary_of(
    architecture: Architecture, model: ModelConfig, parallel: ParallelConfig, *, tokens: int
) -> Vocabulary:
    """The vocabulary for a tokenizer of `tokens` ids; ConfigError if the model embeds fewer."""
    rows = architecture.vocab or tokens
    if tokens > rows:
        raise ConfigError(
            f"the tokenizer has {tokens} ids, and {architecture.name} embeds only {rows}. Use the "
            "tokenizer that belongs to the model (tokenizer.path)."
        )
    multiple = model.vocab_multiple * parallel.tensor
    return Vocabulary(real=tokens, rows=rows, padded=-(-rows // multiple) * multiple)


def _in_precision(model: PolicyModel, dtype: torch.dtype) -> PolicyModel:
    """`model` with trunk weights of `dtype` and an fp32 head."""
    model.to(dtype)
    for name in HEADS:
        if hasattr(model, name):
            getattr(model, name).float()
    return model


def _transformer_config(
    architecture: Architecture,
    model: ModelConfig,
    parallel: ParallelConfig,
    *,
    split: tuple[int, ...],
    fp8: Fp8Config,
) -> PolicyTransformerConfig:
    dtype = torch.bfloat16 if model.half else torch.float32
    interleaved = parallel.virtual_pipeline > 1
    return PolicyTransformerConfig(
        num_layers=architecture.layers,
        hidden_size=architecture.hidden,
        ffn_hidden_size=architecture.ffn,
        num_attention_heads=architecture.attention.heads,
        num_query_groups=architecture.attention.groups,
        kv_channels=architecture.attention.size,
        activation_func=_ACTIVATIONS[architecture.activation],
        gated_linear_unit=architecture.gated,
        add_bias_linear=architecture.bias,
        add_qkv_bias=architecture.attention.qkv_bias,
        qk_layernorm=architecture.attention.qk_norm,
        normalization="RMSNorm" if architecture.norm.kind == "rms" else "LayerNorm",
        layernorm_epsilon=architecture.norm.eps,
        architecture=architecture,
        split=split,
        **fp8_settings(architecture, model, fp8),
        hidden_dropout=model.dropout,
        attention_dropout=model.dropout,
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        virtual_pipeline_model_parallel_size=parallel.virtual_pipeline if interleaved else None,
        pipeline_model_parallel_layout=_layer_layout(split),
        sequence_parallel=parallel.sequence,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=model.half,
        # Weights come from `policy.initialise` or a checkpoint, the same at every layout.
        # Megatron's own initialisation still runs, doing nothing: it also marks the
        # tensor-parallel parameters.
        init_method=_leave,
        output_layer_init_method=_leave,
        embedding_init_method=_leave,
        use_cpu_initialization=not devices.has_gpu(),
        # Sums, not means: every loss brings its own normaliser (see policy.update).
        calculate_per_token_loss=True,
        # Both directions of an interleaved pipeline of two ranks run between the same pair; batched
        # together they are silently swapped. Unbatched and overlapped they are not.
        overlap_p2p_comm=interleaved,
        batch_p2p_comm=not interleaved,
        recompute_granularity=None if model.recompute == "none" else model.recompute,
        recompute_method="uniform" if model.recompute == "full" else None,
        recompute_num_layers=1 if model.recompute == "full" else None,
        # These fusions are CUDA kernels of other packages, or change the model (tanh GELU).
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
    )


def _layer_layout(split: Sequence[int]) -> list[list[str]] | None:
    """Megatron's word for layers that are not spread evenly."""
    if len(set(split)) == 1:
        return None
    chunks = [["decoder"] * layers for layers in split]
    chunks[0].insert(0, "embedding")
    chunks[-1].append("loss")
    return chunks


def _leave(weight: Tensor) -> Tensor:
    """An initialisation that changes nothing."""
    return weight
