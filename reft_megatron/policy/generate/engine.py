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

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reft_megatron.config import GenerateConfig
from reft_megatron.errors import ConfigError
from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling, choose
from reft_megatron.policy.cache import Cache, Mixed
from reft_megatron.policy.generate.burst import Burst
from reft_megatron.policy.generate.lane import Lane, Rules, Step, Stop
from reft_megatron.policy.generate.requests import Queue, tickets_of
from reft_megatron.policy.generate.stages import Ring, whole_sequences
from reft_megatron.policy.model import PolicyModel
from reft_megatron.types import Completion, Prompt

__all__ = ["Generator", "Limits", "Stop", "Usage"]

Drawn = tuple[Sequence[Sequence[int]], Sequence[Sequence[float]]]
"""Tokens and log-probs of each draw of a step: one each, or as many as a burst has steps."""

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
    """Prompt tokens read in one step beside them (chunked prefill)."""
    unwatched_steps: int = 1
    """Steps in which nothing is read, between looks at what was drawn; 1 in a pipeline."""

    @classmethod
    def of(cls, settings: GenerateConfig, device: torch.device) -> Limits:
        """Those that the settings ask for on this device."""
        # On a GPU each look makes the host wait for the device.
        unasked = 8 if device.type == "cuda" else 1
        return cls(
            max_new_tokens=settings.max_new_tokens,
            slots=settings.slots,
            prefill_tokens=settings.prefill_tokens,
            unwatched_steps=settings.unwatched_steps or unasked,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one call cost this rank."""

    decoded: int = 0
    """Tokens computed in slots, those past an end and those of idle rows in a burst included."""
    useful: int = 0
    """Of these, those that completions are made of."""
    seats: int = 0
    """Slots there were at each decode step, used or not."""
    prefilled: int = 0
    """Tokens of prompts computed."""
    wall_s: float = 0.0
    """Seconds it took."""
    waited_s: float = 0.0
    """Seconds of these the host spent waiting for the pipeline stage before.

    With NCCL that is for what the host is told, and not for hidden states, which the device waits
    for by itself.
    """
    full_s: float = 0.0
    """Seconds until the queue had less than a lane wanted; what follows is the end of the call."""
    waited_full_s: float = 0.0
    """Of `waited_s`, those before."""


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
        stop: Stop = lambda problem_id, sample, tokens: False,
        on_finish: Callable[[Completion], None] = lambda completion: None,
    ) -> list[Completion]:
        """Completions of this replica's part of `prompts`, ordered by prompt and sample.

        Every rank of the mesh calls with the same prompts; replicas share them out as they go, and
        the ranks of a replica get the same completions. `stop` says whether a response is whole
        without an end-of-sequence token; `on_finish` sees each completion as it ends. Raises
        ConfigError, before any work, if a prompt with its response would not fit the model's
        positions.
        """
        self._check_positions(prompts, limits.max_new_tokens)
        self.usage = Usage()
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
            stop=stop,
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

    def _check_positions(self, prompts: Sequence[Prompt], max_new_tokens: int) -> None:
        if empty := [prompt.problem_id for prompt in prompts if not len(prompt.token_ids)]:
            raise ConfigError(f"problem {empty[0]} has a prompt of no tokens; a model wants one.")
        positions = self._chunks[0].architecture.positions
        longest = max(prompts, key=lambda prompt: len(prompt.token_ids), default=None)
        if longest is not None and len(longest.token_ids) + max_new_tokens > positions:
            raise ConfigError(
                f"problem {longest.problem_id} has a prompt of {len(longest.token_ids)} tokens; "
                f"with generate.max_new_tokens={max_new_tokens} that exceeds the model's "
                f"{positions} positions. Lower generate.max_new_tokens or "
                "generate.max_prompt_tokens."
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
        # A replica takes about its share at once, or another might get none.
        self._slots = -(-min(limits.slots, -(-wanted // mesh.data.size)) // lanes)
        self._share = min(_SHARE, self._slots, max(len(prompt.samples) for prompt in prompts))
        self._queue = Queue(tickets_of(prompts, most=self._share), mesh)
        self._ring = Ring(mesh)
        self._prefill_rows = min(self._slots, _rows_to_read_in(prompts, limits.prefill_tokens))
        positions = max(len(prompt.token_ids) for prompt in prompts) + limits.max_new_tokens
        rows = self._slots + self._prefill_rows
        self._caches = [
            [_cache(chunk, mesh, rows=rows, positions=positions) for chunk in chunks]
            for _ in range(lanes)
        ]
        self._lanes = [
            Lane(
                prompts,
                caches,
                slots=self._slots,
                prefill_rows=self._prefill_rows,
                prefill_tokens=limits.prefill_tokens,
                rules=rules,
                on_finish=finish,
            )
            for caches in self._caches
        ]
        self._steps: list[Step | None] = [None] * lanes
        self._drawn: list[Drawn] = [((), ())] * lanes
        self._unwatched = limits.unwatched_steps if lanes == 1 else 1
        if self._unwatched > 1:
            ((cache,),) = self._caches
            self._burst = Burst(
                chunks[0],
                cache,
                mesh,
                slots=self._slots,
                steps=self._unwatched,
                sampling=sampling,
            )
        self._decoded = self._seats = self._prefilled = 0
        self._began = time.perf_counter()
        self._full: tuple[float, float] | None = None

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
        full_s, waited_full_s = self._full or (0.0, 0.0)
        return Usage(
            decoded=self._decoded,
            # The first token of a completion is drawn after its prompt, the last is never computed.
            useful=sum(len(completion.token_ids) - 1 for completion in done),
            seats=self._seats,
            prefilled=self._prefilled,
            wall_s=wall_s,
            waited_s=self._ring.waited_s,
            full_s=full_s,
            waited_full_s=waited_full_s,
        )

    def _open(self, number: int) -> None:
        """Settle the lane's last step and make its next one; None once the lane is over."""
        lane, axis = self._lanes[number], self._mesh.pipeline
        last = self._steps[number]
        draws = last.draws if last else 0
        if axis.first:
            if draws and axis.size > 1:
                self._drawn[number] = _unflat(self._ring.receive_numbers(2 * draws))
            drawn, self._drawn[number] = self._drawn[number], ((), ())
            lane.absorb(*drawn)
            wanted = lane.wants(self._share)
            taken = self._queue.take(wanted)
        else:
            numbers = self._ring.receive_numbers(2 * draws + 1 + self._prefill_rows)
            drawn, count = _unflat(numbers[: 2 * draws]), int(numbers[2 * draws])
            lane.absorb(*drawn)
            wanted = lane.wants(self._share)
            taken = [int(ticket) for ticket in numbers[2 * draws + 1 :][:count]]
        if len(taken) < wanted and self._full is None:
            self._full = time.perf_counter() - self._began, self._ring.waited_s
        if not axis.last:
            blank = [0] * (self._prefill_rows - len(taken))
            self._ring.send_numbers([*_flat(drawn), len(taken), *taken, *blank])
        lane.admit([self._queue[ticket] for ticket in taken])
        self._steps[number] = None if lane.empty else lane.step(self._mesh.device)

    def _advance(self, number: int, step: Step, index: int) -> None:
        """Take the lane's step through one model chunk."""
        if self._unwatched > 1 and (count := self._lanes[number].unwatched(self._unwatched)) > 1:
            tokens, logprobs, computed = self._burst.run(step, count)
            self._drawn[number] = tokens, logprobs
            self._count(decoded=computed, steps=count)
            return
        chunk = self._chunks[index]
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
        if index == 0:
            read = step.tokens.shape[1] - step.decoding
            self._count(decoded=step.decoding, steps=int(step.decoding > 0), prefilled=read)
        if not chunk.post_process:
            self._ring.send_hidden(output)
        elif step.draws:
            self._draw(number, step, output)

    def _count(self, *, decoded: int, steps: int, prefilled: int = 0) -> None:
        self._decoded += decoded
        self._seats += steps * self._slots
        self._prefilled += prefilled

    def _draw(self, number: int, step: Step, logits: Tensor) -> None:
        """Draw the step's tokens and tell the first stage."""
        shard = self._chunks[-1].shard
        token, logprob = choose(
            logits, step.keys, step.places, sampling=self._sampling, shard=shard
        )
        if self._mesh.pipeline.size > 1:
            self._ring.send_numbers([*token.tolist(), *logprob.tolist()])
        else:
            self._drawn[number] = token[:, None].tolist(), logprob[:, None].tolist()


def _flat(drawn: Drawn) -> list[float]:
    """One token of each draw, then their log-probs: what travels between stages."""
    return [number for rows in drawn for (number,) in rows]


def _unflat(numbers: Sequence[float]) -> Drawn:
    half = len(numbers) // 2
    return [[int(token)] for token in numbers[:half]], [[x] for x in numbers[half:]]


def _cache(chunk: PolicyModel, mesh: Mesh, *, rows: int, positions: int) -> Cache:
    config = chunk.config
    return Cache(
        [layer.layer_number for layer in chunk.decoder.layers],
        rows=rows,
        positions=positions,
        heads=config.num_query_groups // config.tensor_model_parallel_size,
        size=config.kv_channels,
        dtype=torch.float8_e4m3fn if config.fp8_cache else config.params_dtype,
        device=mesh.device,
    )


def _rows_to_read_in(prompts: Sequence[Prompt], prefill_tokens: int) -> int:
    """Rows in which prompts are read: as many as one step's pieces come from, on average."""
    mean = sum(len(prompt.token_ids) for prompt in prompts) / len(prompts)
    return 2 + int(prefill_tokens / mean)
