"""A lane: some slots that take their steps together.

Owns what is in each slot, what the next step of the lane consists of, and what its outcome changes.
Nothing here touches the model or another rank: every rank of a replica keeps the same lanes and
feeds them the same events (tickets admitted, tokens drawn), so all agree on every step without
sending it. Slots in use are always the first ones, so no step computes an idle slot: a sequence
that ends gives its place to a new one, or else to the last. New ones whose prompt has been read
wait for places, so that one is at hand when a slot falls free.

Legend: T tokens of a step, K tokens drawn by it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from reft_megatron.ops.sampling import sequence_key
from reft_megatron.policy.cache import Cache, Piece
from reft_megatron.policy.generate.requests import Ticket
from reft_megatron.types import Completion, Prompt

__all__ = ["Lane", "Rules", "Step", "Stop"]

Stop = Callable[[str, int, Sequence[int]], bool]
"""True of the tokens so far of a problem's sample, by its number, if they are a whole response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decides how sequences start and end."""

    seed: int
    """Seed of the sampling."""
    eos_id: int
    """Token that ends a sequence."""
    max_new_tokens: int
    """Tokens after which it is cut."""
    stop: Stop
    """Which responses are complete though no end-of-sequence token came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one pass through the model works on; all tensors int64 on the mesh's device."""

    tokens: Tensor
    """[1, T]."""
    positions: Tensor
    """[1, T] of the tokens in their sequences."""
    decoding: int
    """The first this many tokens are the newest of slots 0, 1, ..., the others of prompts."""
    pieces: tuple[Piece, ...]
    """The prompts' tokens, in order."""
    after: Tensor
    """[K] index of the token after which each token is drawn."""
    keys: Tensor
    """[K, 2] sampling keys of the tokens to draw."""
    places: Tensor
    """[K] positions of the tokens to draw."""

    @property
    def draws(self) -> int:
        """K."""
        return len(self.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequence:
    """A response that grows."""

    prompt: Prompt
    sample: int
    key: tuple[int, int]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def position(self) -> int:
        """Of its last token, which the cache does not hold yet."""
        return len(self.prompt.token_ids) + len(self.tokens) - 1


class _Prefill:
    """A ticket whose prompt is read in cache row `row`; its sequences get slots afterwards."""

    def __init__(self, prompt: Prompt, sequences: list[_Sequence], row: int) -> None:
        self.prompt, self.sequences, self.row = prompt, sequences, row
        self.done = 0
        """Tokens read."""

    @property
    def whole(self) -> bool:
        """True once the whole prompt has been read."""
        return self.done == len(self.prompt.token_ids)


class Lane:
    """Slots, and rows beside them where prompts are read."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        caches: Sequence[Cache],
        *,
        slots: int,
        prefill_rows: int,
        prefill_tokens: int,
        rules: Rules,
        on_finish: Callable[[Completion], None],
    ) -> None:
        """`caches`, of the rank's model chunks, have `slots` rows and then `prefill_rows` rows.

        Prompts are read in the latter, at most `prefill_tokens` of their tokens a step.
        """
        self._prompts, self._caches = prompts, caches
        self._slots, self._prefill_tokens = slots, prefill_tokens
        self._rules, self._on_finish = rules, on_finish
        self._live: list[_Sequence] = []
        self._prefills: deque[_Prefill] = deque()
        self._waiting: deque[_Prefill] = deque()
        self._idle_rows = list(range(slots, slots + prefill_rows))

    @property
    def empty(self) -> bool:
        """True if it holds nothing."""
        return not (self._live or self._prefills or self._waiting)

    def wants(self, samples: int) -> int:
        """How many tickets of `samples` samples fill the slots that nobody waits for."""
        ahead = sum(len(prefill.sequences) for prefill in (*self._prefills, *self._waiting))
        free = max(0, self._slots - len(self._live) - ahead)
        return min(len(self._idle_rows), -(-free // samples))

    def admit(self, tickets: Sequence[Ticket]) -> None:
        """Start on `tickets`, as many as it `wants` at most."""
        for ticket in tickets:
            prompt = self._prompts[ticket.prompt]
            sequences = [
                _Sequence(
                    prompt=prompt,
                    sample=sample,
                    key=sequence_key(self._rules.seed, prompt.problem_id, sample),
                )
                for sample in ticket.samples
            ]
            self._prefills.append(_Prefill(prompt, sequences, self._idle_rows.pop()))

    def unwatched(self, most: int) -> int:
        """Steps, up to `most`, after which somebody must look at what was drawn.

        One while prompts are read; otherwise no more than until the first sequence is cut.
        """
        if self._prefills:
            return 1
        longest = max(len(sequence.tokens) for sequence in self._live)
        return min(most, self._rules.max_new_tokens - longest)

    def step(self, device: torch.device) -> Step:
        """The next step: a token for each live slot, and the next pieces of prompts."""
        tokens = [np.array([sequence.tokens[-1] for sequence in self._live], np.int64)]
        positions = [np.array([sequence.position for sequence in self._live], np.int64)]
        after = list(range(len(self._live)))
        drawn = list(self._live)
        pieces, end, budget = [], len(self._live), self._prefill_tokens
        for prefill in self._prefills:
            ids = prefill.prompt.token_ids[prefill.done : prefill.done + budget]
            if not len(ids):
                break
            pieces.append(Piece(row=prefill.row, start=prefill.done, length=len(ids)))
            tokens.append(ids.astype(np.int64))
            positions.append(np.arange(prefill.done, prefill.done + len(ids)))
            prefill.done += len(ids)
            end, budget = end + len(ids), budget - len(ids)
            if prefill.whole:
                after += [end - 1] * len(prefill.sequences)
                drawn += prefill.sequences
        keys = [sequence.key for sequence in drawn]
        places = [sequence.position + 1 for sequence in drawn]
        return Step(
            tokens=torch.from_numpy(np.concatenate(tokens))[None].to(device),
            positions=torch.from_numpy(np.concatenate(positions))[None].to(device),
            decoding=len(self._live),
            pieces=tuple(pieces),
            after=torch.tensor(after, dtype=torch.int64, device=device),
            keys=torch.tensor(keys, dtype=torch.int64, device=device).view(-1, 2),
            places=torch.tensor(places, dtype=torch.int64, device=device),
        )

    def absorb(self, tokens: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]) -> None:
        """Take in what was drawn for each draw of the last step; ended sequences leave their slots.

        Several tokens each, where the step was followed by others unwatched; those past a
        sequence's end are nobody's.
        """
        drawn = iter(zip(tokens, logprobs, strict=True))
        free = [row for row, one in enumerate(self._live) if self._grow(one, *next(drawn))]
        while self._prefills and self._prefills[0].whole:
            prefill = self._prefills.popleft()
            prefill.sequences = [s for s in prefill.sequences if not self._grow(s, *next(drawn))]
            self._waiting.append(prefill)
        self._fill(free)

    def _fill(self, free: Sequence[int]) -> None:
        """Seat who waits in the slots `free`, ascending, and in new ones; close the gaps left."""
        rows = deque([*free, *range(len(self._live), self._slots)])
        while self._waiting and (rows or not self._waiting[0].sequences):
            prefill = self._waiting[0]
            seated = [rows.popleft() for _ in range(min(len(rows), len(prefill.sequences)))]
            for row, sequence in zip(seated, prefill.sequences, strict=False):
                self._live[row : row + 1] = [sequence]  # appends where the row is a new one
            self._copy(prefill.row, seated, prefill.done)
            del prefill.sequences[: len(seated)]
            if not prefill.sequences:
                self._idle_rows.append(self._waiting.popleft().row)
        gaps = [row for row in rows if row < len(self._live)]
        # From the highest row down, so that the last sequence is never itself an ended one.
        for row in reversed(gaps):
            last = self._live.pop()
            if row < len(self._live):
                self._live[row] = last
                self._copy(len(self._live), [row], last.position)

    def _grow(self, sequence: _Sequence, tokens: Sequence[int], logprobs: Sequence[float]) -> bool:
        """Append tokens until one ends the sequence; True if one does."""
        for token, logprob in zip(tokens, logprobs, strict=True):
            if self._append(sequence, token, logprob):
                return True
        return False

    def _append(self, sequence: _Sequence, token: int, logprob: float) -> bool:
        sequence.tokens.append(token)
        sequence.logprobs.append(logprob)
        prompt = sequence.prompt
        finished = token == self._rules.eos_id or self._rules.stop(
            prompt.problem_id, sequence.sample, sequence.tokens
        )
        ended = finished or len(sequence.tokens) >= self._rules.max_new_tokens
        if ended:
            self._on_finish(
                Completion(
                    problem_id=sequence.prompt.problem_id,
                    sample=sequence.sample,
                    prompt_ids=sequence.prompt.token_ids,
                    token_ids=np.array(sequence.tokens, np.int32),
                    logprobs=np.array(sequence.logprobs, np.float32),
                    finished=finished,
                )
            )
        return ended

    def _copy(self, source: int, targets: Sequence[int], length: int) -> None:
        for cache in self._caches if targets else ():
            cache.copy(source, targets, length)
