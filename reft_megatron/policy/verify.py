"""Our model against transformers' model of a Hugging Face folder, by tokens.

Owns running both on the same prompts, the differences of what they say (logits, and values or
scores where the folder has such a head), and, should these be too large, the place in the network
where they begin. transformers runs in fp32 on the CPU of the main process, before our model is
built, so that the two are never held together; ours runs at the layout that is asked for.

Legend: L tokens of a prompt, H hidden, V token ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reft_megatron.config import Config
from reft_megatron.errors import CheckpointError, ConfigError, DataError
from reft_megatron.mesh import Mesh
from reft_megatron.policy.families import Architecture, family_of, read_architecture
from reft_megatron.policy.huggingface.load import Source
from reft_megatron.policy.huggingface.mapping import HEAD_NAMES, head_of
from reft_megatron.policy.huggingface.reader import WeightFiles
from reft_megatron.policy.model import PolicyModel
from reft_megatron.policy.policy import Policy
from reft_megatron.policy.schedule import run_schedule
from reft_megatron.rollouts.batch import lay_out
from reft_megatron.tokenizer import Tokenizer

__all__ = ["Difference", "Report", "folder_head", "verify"]

_EMBEDDINGS = "embeddings"
_MODULES = {"logits": "lm_head", "values": "v_head", "scores": "score"}
"""The modules that make each output, by transformers' and TRL's names."""
_GROWTH, _ROUNDING = 10.0, 1e-6
"""A difference begins where it is this many times that of the place before, which counts as this
much at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far apart the two models are about one prompt."""

    largest: float
    """Largest absolute difference."""
    mean: float
    """Mean absolute difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a comparison found."""

    prompts: tuple[dict[str, Difference], ...]
    """Of each prompt, the differences of `logits`, `values`, `scores`, as the folder has them."""
    tolerance: float
    """The largest difference that is allowed."""
    places: tuple[tuple[str, float], ...] = ()
    """Of the worst prompt, only if it is over the tolerance: places in the network, in order and by
    transformers' names, and how far apart the states of the worst token are there, relatively."""

    @property
    def worst(self) -> int:
        """Index of the prompt with the largest difference."""
        sizes = [max(d.largest for d in prompt.values()) for prompt in self.prompts]
        return max(range(len(sizes)), key=sizes.__getitem__)

    @property
    def agrees(self) -> bool:
        """True if no difference is larger than the tolerance."""
        return all(d.largest <= self.tolerance for p in self.prompts for d in p.values())

    @property
    def first(self) -> str:
        """The first place that differs; empty if nothing does, or the difference grows evenly."""
        before = _ROUNDING
        for name, difference in self.places:
            if difference > _GROWTH * before:
                return name
            before = max(difference, _ROUNDING)
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What one model says of one prompt, fp32 on the CPU."""

    outputs: dict[str, Tensor]
    """logits [L, V], values [L, 1], scores [L, 2]."""
    states: dict[str, Tensor]
    """Hidden states [L, H] after each place."""


def folder_head(folder: Path) -> str:
    """The head of a Hugging Face folder: value, rerank or none; CheckpointError without weights."""
    with WeightFiles(folder) as files:
        return head_of(files.tensors)


def verify(
    config: Config,
    mesh: Mesh,
    tokenizer: Tokenizer,
    *,
    folder: Path,
    prompts: Sequence[Sequence[int]],
    tolerance: float,
) -> Report:
    """Compare the model of `config` with that of the Hugging Face `folder`; every rank calls.

    `prompts` are token ids; all logits are held, 8 V bytes a token. `config.model.head` must be
    `folder_head` where that is a head. The same on every rank, as is what is raised: ConfigError
    without transformers, CheckpointError for a folder or checkpoint that cannot be loaded,
    DataError for a prompt that is empty, too long, or has ids that the model has not.
    """
    with mesh.world.together(), WeightFiles(folder) as files:
        architecture, head = read_architecture(folder), head_of(files.tensors)
        _check_prompts(prompts, architecture)
        Source.check(files, architecture, vocab=architecture.vocab, head=head, world=mesh.world)
    with mesh.world.together():
        theirs = _ask_transformers(folder, prompts, architecture) if mesh.main else []
    policy = Policy(config, mesh, tokenizer, total_steps=None)
    if config.model.load:
        policy.load(Path(config.model.load), weights_only=True)
    ours = _ask_ours(policy, prompts, head=head)
    found = [_differences(a, b) for a, b in zip(ours, theirs, strict=mesh.main)]
    prompts_found = tuple(mesh.world.broadcast_object(found))
    report = Report(prompts=prompts_found, tolerance=tolerance)
    if report.agrees:
        return report
    (again,) = _ask_ours(policy, [prompts[report.worst]], head=head, watch=True)
    places = _places(again, theirs[report.worst], tolerance) if theirs else []
    return Report(
        prompts=prompts_found,
        tolerance=tolerance,
        places=tuple(mesh.world.broadcast_object(places)),
    )


def _check_prompts(prompts: Sequence[Sequence[int]], architecture: Architecture) -> None:
    if not prompts:
        raise DataError("there is nothing to compare: no prompt was given.")
    for number, prompt in enumerate(prompts, 1):
        if not 0 < len(prompt) <= architecture.positions:
            raise DataError(
                f"prompt {number} has {len(prompt)} tokens, and {architecture.name} takes 1 to "
                f"{architecture.positions}."
            )
        if not 0 <= min(prompt) <= max(prompt) < architecture.vocab:
            raise DataError(
                f"prompt {number} has the token id {max(prompt)}, and {architecture.name} embeds "
                f"{architecture.vocab}. Use the tokenizer that belongs to the model."
            )


# ---------------------------------------------------------------- transformers


@torch.no_grad()
def _ask_transformers(
    folder: Path, prompts: Sequence[Sequence[int]], architecture: Architecture
) -> list[_Said]:
    head = folder_head(folder)
    model = _load_transformers(folder, head)
    layers, norm = _names(architecture)
    modules = {name: model.get_submodule(name) for name in (*layers, norm)}
    if head == "rerank":
        modules["score"] = model.get_submodule("score")
    found = []
    for prompt in prompts:
        with _watched(modules) as seen:
            out = model(input_ids=torch.tensor([list(prompt)]), output_hidden_states=True)
        states = {_EMBEDDINGS: out.hidden_states[0], **seen}
        states = {name: state[0] for name, state in states.items()}
        outputs = {"scores": states.pop("score")} if head == "rerank" else {"logits": out.logits[0]}
        if head == "value":
            outputs["values"] = _values(folder, states[norm])
        found.append(_Said(outputs=outputs, states=states))
    return found


def _load_transformers(folder: Path, head: str) -> Any:
    """transformers' model in fp32, ready to be asked."""
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "transformers is what models are compared with, and it is not installed. "
            "Run `pip install transformers`."
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    kind = "SequenceClassification" if head == "rerank" else "CausalLM"
    auto = getattr(transformers, f"AutoModelFor{kind}")
    try:
        model, told = auto.from_pretrained(folder, output_loading_info=True)
    except Exception as error:  # whatever it meets in files that are not as it expects
        raise CheckpointError(f"transformers cannot load {folder}: {error}") from error
    if told["missing_keys"]:
        raise CheckpointError(
            f"transformers does not find {', '.join(sorted(told['missing_keys'])[:3])} in "
            f"{folder}, and would draw them at random. Save the model with save_pretrained()."
        )
    return model.float().eval()


def _values(folder: Path, hidden: Tensor) -> Tensor:
    """TRL's value head: [L, 1] of final hidden states [L, H]."""
    with WeightFiles(folder) as files:
        scale, shift = (files.read(name).float() for name in HEAD_NAMES["value"].values())
    return hidden @ scale.t() + shift


# ---------------------------------------------------------------- ours


def _ask_ours(
    policy: Policy, prompts: Sequence[Sequence[int]], *, head: str, watch: bool = False
) -> list[_Said]:
    """What our model says, on every rank; with hidden states only if asked to `watch`."""
    mesh, lengths = policy.mesh, [len(prompt) for prompt in prompts]
    batch = lay_out(
        range(len(prompts)),
        lengths,
        tokens=prompts,
        fields={},
        pad_id=0,
        packed=False,
        length_multiple=mesh.tensor.size,
        device=mesh.device,
    )
    shape = (batch.positions.shape[0], batch.positions.shape[1])
    # Interleaved pipelines take a multiple of their size.
    empty = lay_out(
        [], [], tokens=[], fields={}, pad_id=0, packed=False, shape=shape, device=mesh.device
    )
    batches = [batch] + [empty] * (mesh.pipeline.size - 1)
    kinds = ("scores",) if head == "rerank" else ("logits", "values")[: 1 + (head == "value")]

    def speak(model: PolicyModel, hidden: Tensor) -> Tensor:
        if head == "rerank":
            return model.classes(hidden).permute(1, 2, 0)
        said = [model.logits(hidden), model.values(hidden)[..., None]]
        return torch.cat(said[: len(kinds)], dim=-1)

    modules = _our_modules(policy) if watch else {}
    with _watched(modules) as seen:
        outputs = run_schedule(
            policy.chunks, batches, mesh, head_of=lambda batch: speak, dropout=False
        )
    writer = mesh.writer and mesh.data.first
    everywhere = mesh.world.gather_objects(outputs[0].cpu() if writer else None)
    output = next(x for x in everywhere if x is not None)
    width = output.shape[-1] - (len(kinds) - 1)
    states = _gather(policy, seen)
    return [
        _Said(
            outputs=dict(zip(kinds, output[row, :length].split(width, dim=-1), strict=True)),
            states={name: state[:length, row] for name, state in states.items()},
        )
        for row, length in enumerate(lengths)
    ]


def _our_modules(policy: Policy) -> dict[str, torch.nn.Module]:
    """This rank's modules after which states are compared, by transformers' names."""
    layers, norm = _names(policy.architecture)
    found: dict[str, torch.nn.Module] = {}
    for chunk in policy.chunks:
        if chunk.pre_process:
            found[_EMBEDDINGS] = chunk.embedding
        found |= {layers[layer.layer_number - 1]: layer for layer in chunk.decoder.layers}
        if chunk.post_process:
            found[norm] = chunk.decoder.final_layernorm
    return found


def _gather(policy: Policy, seen: dict[str, Tensor]) -> dict[str, Tensor]:
    """States [L, R, H] of one replica, from the parts [L or less, R, H] that its ranks hold."""
    mesh = policy.mesh
    first = mesh.data.first and (mesh.tensor.first or policy.chunks[0].config.sequence_parallel)
    parts: dict[str, list[Tensor]] = {}
    # In the order of ranks, where those that share a sequence are neighbours.
    for held in mesh.world.gather_objects(seen if first else {}):
        for name, state in held.items():
            parts.setdefault(name, []).append(state)
    return {name: torch.cat(states) for name, states in parts.items()}


# ---------------------------------------------------------------- both


def _names(architecture: Architecture) -> tuple[list[str], str]:
    """transformers' names of the layers, and of the final norm."""
    stems = family_of(architecture).STEMS
    before = stems["qkv"][0].partition("{}")[0]
    return [f"{before}{layer}" for layer in range(architecture.layers)], stems["final_norm"][0]


@contextlib.contextmanager
def _watched(modules: Mapping[str, torch.nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Fills with the first output of each module inside the block, fp32 on the CPU."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: torch.nn.Module, args: Any, output: Any) -> None:
            state = output[0] if isinstance(output, tuple) else output
            if name not in seen:
                seen[name] = state.detach().to("cpu", torch.float32, copy=True)

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _differences(ours: _Said, theirs: _Said) -> dict[str, Difference]:
    found = {}
    for kind, wanted in theirs.outputs.items():
        own = ours.outputs[kind]
        # The folder may have rows past the tokenizer's last id.
        apart = (own - wanted[:, : own.shape[1]]).abs().nan_to_num(nan=torch.inf)
        found[kind] = Difference(largest=float(apart.max()), mean=float(apart.mean()))
    return found


def _places(ours: _Said, theirs: _Said, tolerance: float) -> list[tuple[str, float]]:
    """Each place and the relative difference there, down to the outputs that are to blame."""
    places = [(name, _relative(ours.states[name], x)) for name, x in theirs.states.items()]
    for kind, difference in _differences(ours, theirs).items():
        if difference.largest > tolerance:
            own = ours.outputs[kind]
            wanted = theirs.outputs[kind][:, : own.shape[1]]
            # A value is one number: all of them together have a size to compare with.
            pair = (own.t(), wanted.t()) if kind == "values" else (own, wanted)
            places.append((_MODULES[kind], _relative(*pair)))
    return places


def _relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference in any row, in root mean squares of that row; both [rows, columns]."""
    size = theirs.square().mean(dim=-1).sqrt().clamp(min=1e-30)
    return float(((ours - theirs).abs().amax(dim=-1) / size).nan_to_num(nan=torch.inf).max())
