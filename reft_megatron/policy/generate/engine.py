"""The generation engine: continuous batching through a pipeline.

Every pipeline stage has as many lanes (`lane.Lane`) in flight as there are stages, so that all
stages work at once: while a stage computes for one lane, the others' steps are elsewhere on the
ring. A round visits every lane once on every model chunk. The first stage opens a lane's step: it
hears what the last stage drew, takes tickets for free slots from the queue (`requests.Queue`), and
sends both on, so that every stage knows what the step consists of. A step mixes new tokens of all
live slots with pieces of new prompts, so that long prompts stall nobody.

What a sequence becomes depends on its key alone (`ops.sampling`), not on the slot, the batch, the
replica or the layout.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reft_megatron.errors import ConfigError
from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling, choose
from reft_megatron.policy.cache import Cache, Mixed
from reft_megatron.policy.generate.burst import Burst
from reft_megatron.policy.generate.lane import Lane, Over, Rules, Step
from reft_megatron.policy.generate.requests import Queue, tickets_of
from reft_megatron.policy.generate.stages import Ring, whole_sequences
from reft_megatron.policy.model import PolicyModel
from reft_megatron.types import Completion, Prompt

__all__ = ["Generator", "Limits", "Over", "Usage"]

_SHARE = 8
"""Samples that share one prefill of their prompt, at most: replicas take them whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is held and done at once on one replica."""

    max_new_tokens: int
    """Response length limit."""
    slots: int
    """Sequences decoded at once."""
    prefill_tokens: int
    """Prompt tokens read in one step beside them."""
    unwatched_steps: int = 1
    """Steps in which nothing is read, between looks at what was drawn; 1 in a pipeline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one call cost this rank."""

    passes: int = 0
    """Passes through a model chunk."""
    decoded: int = 0
    """Tokens computed in slots."""
    useful: int = 0
    """Of these, those that completions are made of."""
    prefilled: int = 0
    """Tokens of prompts computed."""
    wall_s: float = 0.0
    """Seconds it took."""
    waited_s: float = 0.0
    """Seconds of these spent waiting for the pipeline stage before."""


class Generator:
    """Generates completions of prompts with one policy."""

    def __init__(self, chunks: Sequence[PolicyModel], mesh: Mesh, *, eos_id: int) -> None:
        """Serve from `chunks`, the bare model chunks of this rank."""
        self._chunks = list(chunks)
        self._mesh = mesh
        self._eos = eos_id
        self.usage = Usage()
        """What the last call cost."""

    @torch.no_grad()
    def run(
        self,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        limits: Limits,
        over: Over = lambda problem_id, sample, tokens: False,
        on_finish: Callable[[Completion], None] = lambda completion: None,
    ) -> list[Completion]:
        """Completions of this replica's part of `prompts`, ordered by prompt and sample.

        Every rank of the mesh calls with the same prompts; replicas share them out as they go, and
        the ranks of a replica get the same completions. `over` says whether a response is whole
        without an end-of-sequence token; `on_finish` sees each completion as it ends. Raises
        ConfigError, before any work, if a prompt with its response would not fit the model's
        positions.
        """
        self._check_room(prompts, limits.max_new_tokens)
        if not any(prompt.samples for prompt in prompts):
            return []
        for chunk in self._chunks:
            chunk.eval()
        done: list[Completion] = []

        def finish(completion: Completion) -> None:
            done.append(completion)
            on_finish(completion)

        began = time.perf_counter()
        rules = Rules(
            seed=sampling.seed,
            eos_id=self._eos,
            max_new_tokens=limits.max_new_tokens,
            over=over,
        )
        call = _Call(
            self._chunks,
            self._mesh,
            prompts,
            sampling=sampling,
            limits=limits,
            rules=rules,
            finish=finish,
        )
        with whole_sequences(self._chunks):
            call.run()
        self.usage = call.usage(time.perf_counter() - began, done)
        order = {(p.problem_id, s): index for index, p in enumerate(prompts) for s in p.samples}
        return sorted(done, key=lambda c: (order[c.problem_id, c.sample], c.sample))

    def _check_room(self, prompts: Sequence[Prompt], max_new_tokens: int) -> None:
        room = self._chunks[0].architecture.positions
        longest = max(prompts, key=lambda prompt: len(prompt.token_ids), default=None)
        if longest is not None and len(longest.token_ids) + max_new_tokens > room:
            raise ConfigError(
                f"problem {longest.problem_id} has a prompt of {len(longest.token_ids)} tokens; "
                f"with generate.max_new_tokens={max_new_tokens} that exceeds the model's "
                f"{room} positions. Lower generate.max_new_tokens or generate.max_prompt_tokens."
            )


class _Call:
    """One call's lanes, queue and ring."""

    def __init__(
        self,
        chunks: Sequence[PolicyModel],
        mesh: Mesh,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        limits: Limits,
        rules: Rules,
        finish: Callable[[Completion], None],
    ) -> None:
        self._chunks, self._mesh, self._sampling = chunks, mesh, sampling
        wanted = sum(len(prompt.samples) for prompt in prompts)
        lanes = mesh.pipeline.size
        # No replica takes more than its share at once, or another might get none.
        slots = -(-min(limits.slots, -(-wanted // mesh.data.size)) // lanes)
        self._share = min(_SHARE, slots, max(len(prompt.samples) for prompt in prompts))
        self._queue = Queue(tickets_of(prompts, most=self._share), mesh)
        self._ring = Ring(mesh)
        prefill_rows = min(slots, _prefill_rows(prompts, limits.prefill_tokens))
        room = max(len(prompt.token_ids) for prompt in prompts) + limits.max_new_tokens
        self._caches = [
            [_cache(chunk, slots + prefill_rows, room) for chunk in chunks] for _ in range(lanes)
        ]
        self._lanes = [
            Lane(
                prompts,
                caches,
                slots=slots,
                prefill_rows=prefill_rows,
                prefill_tokens=limits.prefill_tokens,
                rules=rules,
                on_finish=finish,
            )
            for caches in self._caches
        ]
        self._steps: list[Step | None] = [None] * lanes
        self._drawn: list[list[float]] = [[]] * lanes
        self._unwatched = limits.unwatched_steps if lanes == 1 else 1
        if self._unwatched > 1:
            ((cache,),) = self._caches
            self._burst = Burst(
                chunks[0], cache, mesh, slots=slots, steps=self._unwatched, sampling=sampling
            )
        self._prefill_rows = prefill_rows
        self._decoded = self._prefilled = self._passes = 0

    def run(self) -> None:
        """Until every lane is over."""
        going = list(range(len(self._lanes)))
        while going:
            for index in range(len(self._chunks)):
                for number in going:
                    if index == 0:
                        self._open(number)
                    if step := self._steps[number]:
                        self._advance(number, step, index)
            going = [number for number in going if self._steps[number]]
        self._ring.close()

    def usage(self, wall_s: float, done: Sequence[Completion]) -> Usage:
        """What it cost, once it has run."""
        return Usage(
            passes=self._passes,
            decoded=self._decoded,
            prefilled=self._prefilled,
            # The first token of a completion is drawn after its prompt, the last is never computed.
            useful=sum(len(completion.token_ids) - 1 for completion in done),
            wall_s=wall_s,
            waited_s=self._ring.waited_s,
        )

    def _open(self, number: int) -> None:
        """Settle the lane's last step and make its next one; None once the lane is over."""
        lane, axis = self._lanes[number], self._mesh.pipeline
        last = self._steps[number]
        drawn = 2 * last.draws if last else 0
        if axis.first:
            if drawn and axis.size > 1:
                self._drawn[number] = self._ring.receive_numbers(drawn)
            heard, self._drawn[number] = self._drawn[number], []
            self._absorb(lane, last, heard)
            taken = self._queue.take(lane.room(self._share))
        else:
            numbers = self._ring.receive_numbers(drawn + 1 + self._prefill_rows)
            heard, count = numbers[:drawn], int(numbers[drawn])
            self._absorb(lane, last, heard)
            taken = [int(ticket) for ticket in numbers[drawn + 1 :][:count]]
        if not axis.last:
            blank = [0] * (self._prefill_rows - len(taken))
            self._ring.send_numbers([*heard, len(taken), *taken, *blank])
        lane.admit([self._queue[ticket] for ticket in taken])
        self._steps[number] = None if lane.over else lane.step(self._mesh.device)

    @staticmethod
    def _absorb(lane: Lane, step: Step | None, drawn: Sequence[float]) -> None:
        """Tokens, then their log-probs, draw by draw, as the last stage sends them."""
        if step is not None:
            steps = len(drawn) // (2 * step.draws) if step.draws else 0
            tokens, logprobs = np.reshape(drawn, (2, step.draws, steps))
            lane.absorb(tokens.astype(int).tolist(), logprobs.tolist())

    def _advance(self, number: int, step: Step, index: int) -> None:
        """Take the lane's step through one model chunk."""
        chunk = self._chunks[index]
        if self._unwatched > 1 and (count := self._lanes[number].unwatched(self._unwatched)) > 1:
            tokens, logprobs = self._burst.run(step, count)
            self._drawn[number] = [*itertools.chain(*tokens, *logprobs)]
            self._passes, self._decoded = self._passes + count, self._decoded + count * step.draws
            return
        if not chunk.pre_process:
            shape = (step.tokens.shape[1], 1, chunk.config.hidden_size)
            chunk.set_input_tensor(self._ring.receive_hidden(shape, chunk.config.params_dtype))
        layout = Mixed(
            self._caches[number][index],
            step.positions[0],
            decoding=step.decoding,
            pieces=step.pieces,
        )
        output = chunk(
            step.tokens,
            step.positions,
            layout,
            lambda model, hidden: model.next_logits(hidden, step.after),
        )
        self._passes += 1
        self._decoded += step.decoding if index == 0 else 0
        self._prefilled += step.tokens.shape[1] - step.decoding if index == 0 else 0
        if not chunk.post_process:
            self._ring.send_hidden(output)
        elif step.draws:
            self._draw(number, step, output)

    def _draw(self, number: int, step: Step, logits: Tensor) -> None:
        """Draw the step's tokens and tell the first stage."""
        shard = self._chunks[-1].shard
        token, logprob = choose(
            logits, step.keys, step.places, sampling=self._sampling, shard=shard
        )
        drawn = [*token.tolist(), *logprob.tolist()]
        if self._mesh.pipeline.size > 1:
            self._ring.send_numbers(drawn)
        else:
            self._drawn[number] = drawn


def _cache(chunk: PolicyModel, rows: int, positions: int) -> Cache:
    heads = chunk.config.num_query_groups // chunk.config.tensor_model_parallel_size
    return Cache(rows=rows, positions=positions, heads=heads, size=chunk.config.kv_channels)


def _prefill_rows(prompts: Sequence[Prompt], prefill_tokens: int) -> int:
    """Rows in which prompts are read: as many as one step's pieces come from, on average."""
    mean = sum(len(prompt.token_ids) for prompt in prompts) / len(prompts)
    return 2 + int(prefill_tokens / mean)
