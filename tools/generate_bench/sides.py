"""The two sides of the benchmark: our engine and Hugging Face `generate`.

Each generates every sample of some prompts, as long as the workload says, so many at once, and
says what that took. Both run the same weights on the same device in the same precision and sample
with the same temperature. How a sequence ends is forced on both in their own way of ending one:
ours asks `over`, theirs asks a stopping criterion about each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from torch import Tensor

from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy
from reft_megatron.policy.generate import Generator, Limits, Usage
from reft_megatron.policy.huggingface import DTYPES
from reft_megatron.types import Completion, Prompt
from tools.generate_bench.workload import Workload

__all__ = ["CACHES", "Cost", "HuggingFace", "Ours", "Side", "load_model"]

CACHES = ("dynamic", "static")
"""Of Hugging Face: one that grows, copied at every step, and one of the longest length there is,
which is attended to in full and, on a GPU, compiled."""

_NEVER = -1
"""An end-of-sequence token that is not in the vocabulary: lengths alone end sequences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run computed; tokens of prompts apart."""

    useful: int
    """Decode steps of sequences that go on: a token each, and one is left over at the end."""
    computed: int
    """Decode steps of all rows that were computed: idle ones, padding, and what has ended too."""
    read: int
    """Tokens of prompts read, padding included."""

    @property
    def wasted(self) -> float:
        """Share of what was computed that nobody wanted."""
        return 1 - self.useful / self.computed if self.computed else 0.0


class Side(Protocol):
    """Who generates."""

    name: str
    """What to call it."""

    def run(self, prompts: Sequence[Prompt], at_once: int) -> Cost:
        """Generate all samples of `prompts`, `at_once` sequences at a time."""


class Ours:
    """The engine of this project."""

    name = "ours"

    def __init__(
        self,
        policy: Policy,
        workload: Workload,
        *,
        sampling: Sampling,
        limits: Limits,
    ) -> None:
        """Serve `policy`, within the `limits` but for slots and lengths."""
        self.workload = workload
        """What there is to generate."""
        self._sampling = sampling
        self._limits = replace(limits, max_new_tokens=workload.longest)
        self._generator = Generator(policy.chunks, policy.mesh, eos_id=_NEVER)
        self.completions: list[Completion]
        """Of the last run."""

    @property
    def usage(self) -> Usage:
        """What the engine says of the last run."""
        return self._generator.usage

    def run(self, prompts: Sequence[Prompt], at_once: int) -> Cost:
        """See Side; `at_once` are slots."""
        lengths = self.workload.lengths
        self.completions = self._generator.run(
            prompts,
            sampling=self._sampling,
            limits=replace(self._limits, slots=at_once),
            stop=lambda problem, sample, tokens: len(tokens) == lengths[problem, sample],
        )
        made = [len(completion.token_ids) for completion in self.completions]
        assert made == self.workload.of(prompts), "the engine did not keep to the lengths"
        usage = self.usage
        return Cost(useful=usage.useful, computed=usage.decoded, read=usage.prefilled)


def load_model(folder: Path, *, precision: str) -> Any:
    """Transformers' model of the weights in `folder`, on the CPU, none of whose ids ends a text."""
    hub: Any = transformers
    hub.logging.disable_progress_bar()
    model = hub.AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[precision]).eval()
    # What a call's settings leave open, `generate` takes from here.
    model.generation_config = hub.GenerationConfig()
    return model


class HuggingFace:
    """Batches of `generate`, padded on the left, prompts sorted by their length."""

    def __init__(
        self, model: Any, workload: Workload, *, cache: str, sampling: Sampling, pad_id: int
    ) -> None:
        """Serve a model of `load_model` with the `cache`, one of CACHES."""
        self.name = f"Hugging Face, {cache} cache"
        self.cache = cache
        """Which it is."""
        self._model, self._workload, self._pad = model, workload, pad_id
        drawn = {"temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
        settings: Any = transformers.GenerationConfig
        self._settings = settings(
            do_sample=not sampling.greedy,
            max_new_tokens=workload.longest,
            use_cache=True,
            cache_implementation=None if cache == "dynamic" else cache,
            pad_token_id=pad_id,
            **({} if sampling.greedy else drawn),
        )
        self.tokens: dict[tuple[str, int], list[int]] = {}
        """Of the last run, by problem and sample."""

    def run(self, prompts: Sequence[Prompt], at_once: int) -> Cost:
        """See Side; `at_once` is the batch size."""
        rows = [(prompt, sample) for prompt in prompts for sample in prompt.samples]
        rows.sort(key=lambda row: len(row[0].token_ids))
        self.tokens.clear()
        wanted = self._workload.lengths
        useful = computed = read = 0
        for start in range(0, len(rows), at_once):
            batch = rows[start : start + at_once]
            lengths = [wanted[prompt.problem_id, sample] for prompt, sample in batch]
            ids, seen = self._padded([prompt for prompt, _ in batch])
            stop = _AtLength(ids.shape[1], torch.tensor(lengths, device=ids.device))
            made = self._model.generate(
                ids,
                attention_mask=seen,
                generation_config=self._settings,
                stopping_criteria=[stop],
            )
            steps = made.shape[1] - ids.shape[1]
            assert steps == max(lengths), "generate did not keep to the lengths"
            for (prompt, sample), row, length in zip(
                batch, made[:, ids.shape[1] :].tolist(), lengths, strict=True
            ):
                self.tokens[prompt.problem_id, sample] = row[:length]
            useful += sum(lengths) - len(lengths)
            computed += (steps - 1) * len(batch)
            read += ids.numel()
        return Cost(useful=useful, computed=computed, read=read)

    def _padded(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """(ids, attention mask), int64 [rows, longest]."""
        width = max(len(prompt.token_ids) for prompt in prompts)
        ids = torch.full((len(prompts), width), self._pad)
        seen = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt.token_ids) :] = torch.from_numpy(prompt.token_ids)
            seen[row, width - len(prompt.token_ids) :] = 1
        return ids.to(self._model.device), seen.to(self._model.device)


class _AtLength(transformers.StoppingCriteria):
    """Ends each row at a length of its own; `generate` then pads it."""

    eos_token_id = torch.tensor([_NEVER])
    """What `generate` looks for in a criterion that ends single rows."""

    def __init__(self, prompt: int, lengths: Tensor) -> None:
        self._prompt, self._lengths = prompt, lengths

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """True for each row that has its length, bool [rows]."""
        return input_ids.shape[1] - self._prompt >= self._lengths
