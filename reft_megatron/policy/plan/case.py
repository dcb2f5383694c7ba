"""One question to the planner: a model, a job, and a layout, in plain numbers.

Owns what a recipe does with a model (does it train, beside a reference, after generating?) and the
sizes that memory and time both hang on: sequences and micro-batches of a data rank, rows of the
vocabulary, how many micro-batches a stage holds at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from reft_megatron.config import Config, ParallelConfig
from reft_megatron.policy.families import Architecture
from reft_megatron.policy.model import vocabulary_of
from reft_megatron.policy.split import split_layers

__all__ = ["DOCUMENT_TOKENS", "JOBS", "Case", "Job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a recipe does with its model."""

    trains: bool = True
    """Gradients and optimizer state are held."""
    samples: bool = False
    """Every step samples its batch before."""
    scores: bool = False
    """It is scored too, beside a frozen reference if KL counts."""


JOBS: Mapping[str, Job] = {
    "ppo": Job(samples=True, scores=True),
    "sft": Job(),
    "pretrain": Job(),
    "offline_sl": Job(),
    "online_sl": Job(samples=True),
    "rerank": Job(),
    "evaluate": Job(trains=False),
    "sample": Job(trains=False),
}
"""The recipes that the planner knows."""

DOCUMENT_TOKENS = 256
"""Tokens of the longest document that pretrain makes, under a tokenizer of about a thousand ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model doing a job on one layout of `world` ranks."""

    architecture: Architecture
    """The model."""
    config: Config
    """The settings, the layout among them."""
    recipe: str
    """A key of JOBS."""
    world: int
    """Ranks, one a GPU."""
    vocab: int
    """Ids of the tokenizer."""
    spread: float = 2.0
    """Cells of the rectangle in which packed sequences attend, for each of their tokens."""
    sharing: int = 1
    """Neighbouring ranks that share one memory: 1 with a GPU each, those of a host on CPUs."""

    def changed(self, **sections: object) -> Case:
        """The same with other sections of the config."""
        config = dataclasses.replace(self.config, **sections)  # type: ignore[arg-type]  # sections
        return dataclasses.replace(self, config=config)

    @property
    def job(self) -> Job:
        """What the recipe does."""
        return JOBS[self.recipe]

    @property
    def parallel(self) -> ParallelConfig:
        """The layout."""
        return self.config.parallel

    @property
    def reference(self) -> bool:
        """True if a frozen model stands beside the one that learns."""
        return self.job.scores and self.config.ppo.kl_coef > 0

    @property
    def itemsize(self) -> int:
        """Bytes of a weight and of an activation."""
        return 2 if self.config.model.half else 4

    @property
    def data(self) -> int:
        """Data-parallel size."""
        return self.world // (self.parallel.tensor * self.parallel.pipeline)

    @property
    def shard(self) -> int:
        """Sequence-parallel ranks that share the activations between the matrix products."""
        return self.parallel.tensor if self.parallel.sequence else 1

    @property
    def vocab_rows(self) -> int:
        """Rows of the vocabulary on one tensor rank, padding included."""
        vocabulary = vocabulary_of(
            self.architecture, self.config.model, self.parallel, tokens=self.vocab
        )
        return vocabulary.padded // self.parallel.tensor

    @property
    def split(self) -> tuple[int, ...]:
        """Layers of every model chunk; ConfigError if the layers cannot be split so."""
        return split_layers(self.architecture, self.config.model, self.parallel, tokens=self.vocab)

    def chunk_layers(self, stage: int) -> tuple[int, ...]:
        """Layers of each model chunk of pipeline stage `stage`."""
        return self.split[stage :: self.parallel.pipeline]

    @property
    def widths(self) -> tuple[int, int, int]:
        """Columns of queries, of keys, and inside the feed-forward block, on one tensor rank."""
        attention, tensor = self.architecture.attention, self.parallel.tensor
        return (
            attention.heads * attention.size // tensor,
            attention.groups * attention.size // tensor,
            self.architecture.ffn // tensor,
        )

    @property
    def response(self) -> int:
        """Tokens of the longest response."""
        return min(self.config.generate.max_new_tokens, self.architecture.positions - 1)

    @property
    def prompt(self) -> int:
        """Tokens of the longest prompt."""
        room = self.architecture.positions - self.response
        return min(self.config.generate.max_prompt_tokens, room)

    @property
    def length(self) -> int:
        """Tokens of the longest sequence that is trained on.

        A gold solution is taken to be no longer than a response may be.
        """
        longest = DOCUMENT_TOKENS if self.recipe == "pretrain" else self.prompt + self.response
        return min(longest, self.config.optimizer.micro_batch_tokens)

    @property
    def sequences(self) -> int:
        """Sequences of one step on one data rank."""
        online = self.config.online_sl
        batch = {
            "ppo": self.config.ppo.batch_size * self.config.ppo.samples_per_problem,
            "sft": self.config.sft.batch_size,
            "pretrain": self.config.pretrain.batch_size,
            "offline_sl": self.config.offline_sl.batch_size,
            # All samples may be right, and each problem has its gold chain.
            "online_sl": online.batch_size * (online.samples_per_problem + 1),
            "rerank": self.config.rerank.batch_size,
            "evaluate": self.config.generate.slots * self.data,
            "sample": self.config.generate.slots * self.data,
        }
        return -(-batch[self.recipe] // self.data)

    @property
    def updates(self) -> int:
        """Optimizer steps on each batch."""
        config = self.config
        each = {
            "ppo": config.ppo.updates_per_batch,
            "online_sl": config.online_sl.updates_per_batch,
        }
        return each.get(self.recipe, 1)

    @property
    def rows(self) -> int:
        """Sequences that one data rank generates at once: slots, or all it is asked for if fewer.

        0 where nothing is generated.
        """
        config, slots = self.config, self.config.generate.slots
        asked = {
            "ppo": self._share(config.ppo.batch_size * config.ppo.samples_per_problem),
            "online_sl": self._share(
                config.online_sl.batch_size * config.online_sl.samples_per_problem
            ),
            "evaluate": self._evaluated(),
            "sample": self._share(config.sample.batch_size * config.sample.samples_per_problem),
        }
        selects = self.job.trains and self.recipe not in ("pretrain", "rerank")
        dev = self._share(config.task.dev_size) if selects else 0
        return min(slots, max(asked.get(self.recipe, 0), dev))

    @property
    def lane_rows(self) -> int:
        """Those of them that take their steps together: there is a lane for each stage."""
        return -(-self.rows // self.parallel.pipeline)

    @property
    def prefill_rows(self) -> int:
        """Rows of a lane in which prompts are read, beside those that are generated."""
        return min(self.lane_rows, 2 + self.config.generate.prefill_tokens // self.prompt)

    @property
    def packed(self) -> int:
        """Tokens of one micro-batch."""
        return min(self.config.optimizer.micro_batch_tokens, self.sequences * self.length)

    @property
    def tokens(self) -> int:
        """Places of one micro-batch in every layer: its tokens, with padding in a rectangle."""
        return self.packed if self.config.optimizer.packing else round(self.packed * self.spread)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of one step on one data rank."""
        count = math.ceil(self.sequences * self.length / self.packed)
        multiple = self.parallel.pipeline if self.parallel.virtual_pipeline > 1 else 1
        return -(-count // multiple) * multiple

    def _share(self, problems: int) -> int:
        """Of `problems`, those of the data rank that has most."""
        return -(-problems // self.data)

    def _evaluated(self) -> int:
        """Completions that evaluate asks of a data rank; all slots if nothing says."""
        settings, task = self.config.evaluate, self.config.task
        split = {"train": task.train_size, "dev": task.dev_size, "test": task.test_size}
        known = [number for number in (settings.max_problems, split[settings.split]) if number]
        if not known:
            return self.config.generate.slots
        return self._share(min(known) * max(1, 0 if settings.ledger else settings.samples))

    def in_flight(self, stage: int) -> int:
        """Forward passes of one model chunk whose backward pass `stage` still waits for, at most.

        As Megatron's schedules: one forward, one backward, plain or interleaved.
        """
        behind = self.parallel.pipeline - stage - 1
        chunks = self.parallel.virtual_pipeline
        if chunks == 1:
            return min(behind + 1, self.micro_batches)
        ahead = 2 * behind + (chunks - 1) * self.parallel.pipeline
        return min(ahead + 1, self.micro_batches * chunks)
