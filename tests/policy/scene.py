"""What the tests of the policy play with: layouts, one small model, its weights, one batch.

The weights are drawn here, by name, as whole tensors: biases and norms included, which a fresh
model has at 0 and 1, so that nothing can hide behind them. They are large enough that attention
and positions matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from megatron.core.dist_checkpointing import ShardedTensor

from reft_megatron.config import Config, load_config
from reft_megatron.learner.losses import ppo_loss
from reft_megatron.policy import Policy, join
from reft_megatron.policy.cache import Cache
from reft_megatron.rollouts.batch import MicroBatch
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.tokenizer import Tokenizer
from reft_megatron.types import Completion, Prompt, Reason, Rollout, Verdict

VOCAB = 86
"""Real tokens. Padded to 100 rows on one tensor rank, and to 60 each on two."""
EOS, PAD = 2, 1
BASE = (
    "model.vocab_multiple=20",
    "model.logprob_chunk=16",
    "optimizer.lr=0.0001",
    "optimizer.schedule=constant",
    "optimizer.warmup_fraction=0",
    "optimizer.weight_decay=0.01",
    "optimizer.clip_grad=0",
    # The softmax does not feel a key's bias, whose gradient is rounding alone. With a smaller
    # epsilon Adam would make steps of it, different ones at every layout.
    "optimizer.eps=1e-6",
    "generate.max_new_tokens=24",
    "generate.slots=16",
)
TOKENIZER = Tokenizer(
    eos_id=EOS,
    pad_id=PAD,
    vocab_size=VOCAB,
    fingerprint="0123456789abcdef",
    special_ids=frozenset({EOS, PAD}),
    text_to_ids=lambda text: [int(word) for word in text.split()],
    continuation_to_ids=lambda text: [int(word) for word in text.split()],
    ids_to_text=lambda ids: " ".join(map(str, ids)),
)
cpu_cache = partial(Cache, dtype=torch.float32, device=torch.device("cpu"))
PPO = partial(ppo_loss, clip_range=0.2, value_coef=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way to lay the model over a world."""

    world: int
    tensor: int = 1
    pipeline: int = 1
    virtual: int = 1
    layers: str = "auto"

    @property
    def overrides(self) -> tuple[str, ...]:
        return (
            f"parallel.tensor={self.tensor}",
            f"parallel.pipeline={self.pipeline}",
            f"parallel.virtual_pipeline={self.virtual}",
            f"parallel.pipeline_layers={self.layers}",
            f"parallel.sequence={self.tensor > 1}",
        )


ONE = Layout(world=1)
LAYOUTS = {
    "1": ONE,
    "tp2": Layout(world=2, tensor=2),
    "pp2": Layout(world=2, pipeline=2),
    "tp2-pp2": Layout(world=4, tensor=2, pipeline=2),
    "pp2-vpp2": Layout(world=2, pipeline=2, virtual=2),
    "dp2": Layout(world=2),
    "tp2-dp2": Layout(world=4, tensor=2),
    "pp2-dp2": Layout(world=4, pipeline=2, layers="[3, 1]"),
}
"""The layouts of the acceptance test, and one more, whose stages have unlike numbers of layers.

Sequence goes with tensor parallelism.
"""
SPREAD = {name: layout for name, layout in LAYOUTS.items() if layout.world > 1}


def configure(layout: Layout, *overrides: str) -> Config:
    return load_config(None, [*BASE, *layout.overrides, *overrides])


def open_policy(layout: Layout, *overrides: str, total_steps: int | None = 8) -> Policy:
    """A policy on this rank of `layout`, with the scene's weights."""
    config = configure(layout, *overrides)
    mesh = join(config.parallel, seed=config.run.seed, timeout_s=300, threads=1)
    policy = Policy(config, mesh, TOKENIZER, total_steps=total_steps)
    dress(policy)
    return policy


def open_other(layout: Layout, *overrides: str) -> Policy:
    """A policy with other random weights, and another random state, than the scene's."""
    config = configure(layout, "run.seed=9", *overrides)
    mesh = join(config.parallel, seed=9, timeout_s=300, threads=1)
    return Policy(config, mesh, TOKENIZER, total_steps=8)


# ---------------------------------------------------------------- weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A parameter of one rank and its place in the whole."""

    name: str
    shape: tuple[int, ...]
    """Of the whole tensor, without padded vocabulary rows."""
    where: tuple[slice, ...]
    """Which part of the whole this rank has."""
    parameter: torch.nn.Parameter

    def real(self, tensor: torch.Tensor) -> torch.Tensor:
        """The part of a tensor shaped like the parameter that is no padding."""
        return tensor[tuple(slice(0, s.stop - s.start) for s in self.where)]


def pieces(policy: Policy) -> Iterator[Piece]:
    for chunk in policy._chunks:
        parameters = dict(chunk.named_parameters())
        for local, part in chunk.sharded_state_dict().items():
            if not isinstance(part, ShardedTensor) or local not in parameters:
                continue
            layers = part.prepend_axis_num
            shape = list(part.global_shape[layers:])
            if part.key.endswith(("word_embeddings.weight", "output_layer.weight")):
                shape[0] = VOCAB
            begins, sizes = part.global_offset[layers:], parameters[local].shape
            yield Piece(
                name="/".join([part.key, *map(str, part.global_offset[:layers])]),
                shape=tuple(shape),
                where=tuple(
                    slice(min(b, full), min(b + size, full))
                    for b, size, full in zip(begins, sizes, shape, strict=True)
                ),
                parameter=parameters[local],
            )


@torch.no_grad()
def dress(policy: Policy) -> None:
    """Give the policy the scene's weights, in place of its random ones."""
    for piece in pieces(policy):
        whole = torch.from_numpy(drawn(piece.name, piece.shape))
        piece.real(piece.parameter.data).copy_(whole[piece.where])
    if policy._optimizer is not None:
        policy._optimizer.reload_model_params()


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The scene's weight of that name, float32."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    if "norm" in name and name.split("/", maxsplit=1)[0].endswith("weight"):
        return 1 + 0.1 * noise
    if "word_embeddings" in name:
        noise[EOS] *= 2.5  # so that completions end now and then
    return noise * (0.2 if "embeddings" in name else 0.08)


Part = tuple[str, tuple[int, ...], tuple[slice, ...], np.ndarray[Any, Any]]


def parts(policy: Policy, of: Callable[[torch.nn.Parameter], torch.Tensor]) -> list[Part]:
    """What `of` says of each parameter of this rank, in a form that travels."""
    return [
        (p.name, p.shape, p.where, p.real(of(p.parameter)).detach().float().numpy().copy())
        for p in pieces(policy)
    ]


def weights_of(policy: Policy) -> list[Part]:
    return parts(policy, lambda parameter: parameter.data)


def gradients_of(policy: Policy) -> list[Part]:
    return parts(policy, lambda parameter: parameter.main_grad)


def assemble(ranks: Iterable[Sequence[Part]]) -> dict[str, np.ndarray[Any, Any]]:
    """Whole tensors by name from the parts of all ranks, which must agree where they overlap."""
    whole: dict[str, np.ndarray[Any, Any]] = {}
    for name, shape, where, part in (entry for rank in ranks for entry in rank):
        known = whole.setdefault(name, np.full(shape, np.nan, np.float32))
        before = known[where]
        agree = np.isnan(before) | (before == part)
        assert agree.all(), f"two ranks disagree on {name}: {before[~agree]} {part[~agree]}"
        known[where] = part
    missing = [name for name, tensor in whole.items() if np.isnan(tensor).any()]
    assert not missing, f"no rank holds all of {missing}"
    return whole


def distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Relative Frobenius distance of `a` from `b`."""
    return float(np.linalg.norm((a - b).astype(np.float64)) / np.linalg.norm(b.astype(np.float64)))


# ---------------------------------------------------------------- prompts and rollouts


def make_prompts(count: int, *, longest: int = 20) -> list[Prompt]:
    """Ragged random prompts of 3 to `longest` tokens."""
    rng = np.random.default_rng(7)
    return [
        Prompt(
            problem_id=f"scene_{number:03d}",
            token_ids=rng.integers(3, VOCAB, rng.integers(3, longest + 1), dtype=np.int32),
        )
        for number in range(count)
    ]


def make_rollouts(count: int = 16) -> list[Rollout]:
    """Ragged random rollouts."""
    return [_rollout(number, prompt) for number, prompt in enumerate(make_prompts(count))]


def _rollout(number: int, prompt: Prompt) -> Rollout:
    rng = np.random.default_rng([number, 1])
    tokens = rng.integers(3, VOCAB, rng.integers(4, 32), dtype=np.int32)
    return Rollout(
        completion=Completion(
            problem_id=prompt.problem_id,
            sample=0,
            prompt_ids=prompt.token_ids,
            token_ids=tokens,
            logprobs=np.zeros(len(tokens), np.float32),
            finished=False,
        ),
        text="",
        verdict=Verdict(reason=Reason.CORRECT),
        reward=1.0,
        policy_version=0,
        seed=0,
    )


FIELDS = ("mask", "weights", "old_logprobs", "old_values", "advantages", "returns")


def record(policy: Policy) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """PPO's fields for every rollout by problem id: the policy's own scores with fixed noise."""
    rollouts = make_rollouts()
    scores = scores_by_problem(policy)
    fields = {}
    for i, rollout in enumerate(rollouts):
        rng = np.random.default_rng([i, 2])
        completion = rollout.completion
        n, response = completion.length, len(completion.token_ids)
        noise = rng.standard_normal((4, n), dtype=np.float32)
        said = scores[completion.problem_id]
        old_values = said["values"] + 0.15 * noise[1]
        fields[completion.problem_id] = {
            "weights": np.full(n, 1 / (response * len(rollouts)), np.float32),
            "old_logprobs": said["logprobs"] + 0.15 * noise[0],
            "old_values": old_values,
            "advantages": noise[2],
            "returns": old_values + 0.5 * noise[3],
        }
        fields[completion.problem_id]["weights"][: n - response] = 0
    return fields


def make_batches(
    policy: Policy,
    fields: dict[str, dict[str, np.ndarray[Any, Any]]],
    *,
    names: Sequence[str] = FIELDS,
    packed: bool = True,
    max_tokens: int = 260,
) -> list[MicroBatch]:
    """This rank's micro-batches of the recorded batch, through the rollout buffer."""
    buffer = _buffer(policy, max_tokens=max_tokens)
    for name in names:
        if name != "mask":  # the buffer knows it
            buffer.put(name, [fields[key][name] for key in _kept(policy, buffer)])
    multiple = policy.mesh.tensor.size
    return buffer.micro_batches(names, packed=packed, length_multiple=multiple)


def scores_by_problem(
    policy: Policy, *, packed: bool = True, max_tokens: int = 260
) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """What the policy says of this data rank's rollouts; empty before the last stage."""
    buffer = _buffer(policy, max_tokens=max_tokens)
    multiple = policy.mesh.tensor.size
    scores = policy.score(buffer.micro_batches((), packed=packed, length_multiple=multiple))
    return {
        key: {name: rows[i].numpy() for name, rows in scores.items()}
        for i, key in enumerate(_kept(policy, buffer))
        if policy.mesh.pipeline.last
    }


def classes_by_problem(
    policy: Policy, *, packed: bool = True, max_tokens: int = 260
) -> dict[str, np.ndarray[Any, Any]]:
    """The reranker's two scores of this data rank's rollouts; empty before the last stage."""
    buffer = _buffer(policy, max_tokens=max_tokens)
    multiple = policy.mesh.tensor.size
    rows = policy.classify(buffer.micro_batches((), packed=packed, length_multiple=multiple))
    names = _kept(policy, buffer) if policy.mesh.pipeline.last else []
    return {name: row.numpy() for name, row in zip(names, rows, strict=True)}


def _buffer(policy: Policy, *, max_tokens: int) -> RolloutBuffer:
    mesh = policy.mesh
    buffer = RolloutBuffer(mesh, pad_id=PAD)
    own = make_rollouts()[mesh.data.rank :: mesh.data.size]
    buffer.fill(own if mesh.writer else None)
    buffer.distribute(max_tokens=max_tokens, multiple_of=mesh.pipeline.size)
    return buffer


def _kept(policy: Policy, buffer: RolloutBuffer) -> list[str]:
    """Problem ids of this data rank's rollouts, in the buffer's order."""
    every = make_rollouts()
    kept = buffer._plan.kept(policy.mesh.data.rank)
    return [every[i].completion.problem_id for i in kept]
