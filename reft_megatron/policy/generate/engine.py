"""The generation engine: slots, a true-length cache, and continuous batching.

A *slot* is a row of the key/value cache. Requests wait in order; free slots are filled together,
with one forward pass for all samples of a prompt that are admitted together; every step then
decodes one token in each slot. A finished slot is refilled once an eighth of the slots are free (a
prefill for each single one would stall the others more than it saves), and when nothing waits any
more the cache shrinks with the number of live slots. What a sequence becomes depends on its key
alone (`ops.sampling`), not on the slot, the batch, or the layout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from reft_megatron.errors import ConfigError
from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling, choose, sequence_key
from reft_megatron.policy.attention import Cache, Cached, Prefill
from reft_megatron.policy.generate.stages import forward_stages, whole_sequences
from reft_megatron.policy.model import PolicyModel
from reft_megatron.types import Completion, Prompt

__all__ = ["Generator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    prompt: int
    """Index of the prompt."""
    sample: int
    """Sample number."""


class Generator:
    """Generates completions of prompts with one policy."""

    def __init__(self, chunks: Sequence[PolicyModel], mesh: Mesh, *, eos_id: int) -> None:
        """Serve from `chunks`, the bare model chunks of this rank."""
        self._chunks = list(chunks)
        self._mesh = mesh
        self._eos = eos_id

    @torch.no_grad()
    def run(
        self,
        prompts: Sequence[Prompt],
        *,
        samples: int,
        sampling: Sampling,
        max_new_tokens: int,
        slots: int,
        on_finish: Callable[[Completion], None] = lambda completion: None,
    ) -> list[Completion]:
        """`samples` completions of each prompt, ordered by prompt and sample.

        Every rank of the replica calls with the same arguments and gets the same result;
        `on_finish` sees each completion as it ends. Raises ConfigError, before any work, if a
        prompt with its response would not fit the model's positions.
        """
        if not prompts:
            return []
        self._check_room(prompts, max_new_tokens)
        for chunk in self._chunks:
            chunk.eval()
        requests = [
            _Request(prompt=p, sample=prompt.first_sample + s)
            for p, prompt in enumerate(prompts)
            for s in range(samples)
        ]
        batch = _Batch(
            self._chunks,
            self._mesh,
            prompts,
            eos_id=self._eos,
            requests=requests,
            sampling=sampling,
            max_new_tokens=max_new_tokens,
            slots=slots,
            on_finish=on_finish,
        )
        with whole_sequences(self._chunks):
            while batch.live:
                batch.advance()
        return batch.completions()

    def _check_room(self, prompts: Sequence[Prompt], max_new_tokens: int) -> None:
        room = self._chunks[0].architecture.positions
        longest = max(prompts, key=lambda prompt: len(prompt.token_ids))
        if len(longest.token_ids) + max_new_tokens > room:
            raise ConfigError(
                f"problem {longest.problem_id} has a prompt of {len(longest.token_ids)} tokens; "
                f"with generate.max_new_tokens={max_new_tokens} that exceeds the model's "
                f"{room} positions. Lower generate.max_new_tokens or generate.max_prompt_tokens."
            )


class _Batch:
    """The slots of one call."""

    def __init__(
        self,
        chunks: Sequence[PolicyModel],
        mesh: Mesh,
        prompts: Sequence[Prompt],
        *,
        eos_id: int,
        requests: Sequence[_Request],
        sampling: Sampling,
        max_new_tokens: int,
        slots: int,
        on_finish: Callable[[Completion], None],
    ) -> None:
        self._chunks, self._mesh, self._eos = chunks, mesh, eos_id
        self._prompts, self._sampling, self._on_finish = prompts, sampling, on_finish
        self._waiting = deque(requests)
        self._done: dict[_Request, Completion] = {}
        rows = min(slots, len(requests))
        longest = max(len(prompt.token_ids) for prompt in prompts)
        room = longest + max_new_tokens
        self._caches = [self._cache(chunk, rows, room) for chunk in self._chunks]
        self._requests: list[_Request | None] = [None] * rows
        device = self._mesh.device
        self._keys = torch.zeros(rows, 2, dtype=torch.int64, device=device)
        self._positions = torch.zeros(rows, dtype=torch.int64, device=device)
        self._counts = torch.zeros(rows, dtype=torch.int64, device=device)
        self._live = torch.zeros(rows, dtype=torch.bool, device=device)
        self._tokens = torch.zeros(rows, max_new_tokens, dtype=torch.int64, device=device)
        self._logprobs = torch.zeros(rows, max_new_tokens, device=device)
        self._all_rows = torch.arange(rows, device=device)

    @property
    def live(self) -> bool:
        """True while anything waits or runs."""
        return bool(self._waiting) or any(self._requests)

    def advance(self) -> None:
        """Fill free slots if it pays, then decode one token in every slot."""
        free = [row for row, request in enumerate(self._requests) if request is None]
        busy = len(self._requests) - len(free)
        if self._waiting and (not busy or len(free) * 8 >= len(self._requests)):
            self._admit(free)
        elif not self._waiting and busy * 4 <= len(self._requests) * 3:
            self._shrink()
        # Admission itself draws a first token, which may end a sequence.
        if any(self._requests):
            self._decode()

    def completions(self) -> list[Completion]:
        """Everything finished, ordered by prompt and sample."""
        return [self._done[r] for r in sorted(self._done, key=lambda r: (r.prompt, r.sample))]

    @staticmethod
    def _cache(chunk: PolicyModel, rows: int, positions: int) -> Cache:
        heads = chunk.config.num_query_groups // chunk.config.tensor_model_parallel_size
        size = chunk.config.kv_channels
        return Cache(rows=rows, positions=positions, heads=heads, size=size)

    def _admit(self, free: list[int]) -> None:
        admitted = [self._waiting.popleft() for _ in range(min(len(free), len(self._waiting)))]
        rows = torch.tensor(free[: len(admitted)], device=self._mesh.device)
        unique = sorted({request.prompt for request in admitted})
        which = torch.tensor([unique.index(r.prompt) for r in admitted], device=self._mesh.device)
        ids = [torch.from_numpy(self._prompts[p].token_ids.astype("int64")) for p in unique]
        lengths = torch.tensor([len(x) for x in ids], device=self._mesh.device)
        tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(self._mesh.device)
        positions = torch.arange(tokens.shape[1], device=self._mesh.device).expand_as(tokens)
        logits = forward_stages(
            self._chunks,
            self._mesh,
            tokens,
            positions=positions,
            layout_of=lambda index: Prefill(self._caches[index], rows, which),
            head=lambda model, hidden: model.next_logits(hidden, lengths - 1),
        )
        keys = [self._key(request) for request in admitted]
        self._keys[rows] = torch.tensor(keys, device=self._mesh.device)
        self._positions[rows] = lengths[which]
        self._counts[rows] = 0
        self._live[rows] = True
        for row, request in zip(free, admitted, strict=False):
            self._requests[row] = request
        self._accept(rows, None if logits is None else logits[which])

    def _key(self, request: _Request) -> tuple[int, int]:
        problem_id = self._prompts[request.prompt].problem_id
        return sequence_key(self._sampling.seed, problem_id, request.sample)

    def _decode(self) -> None:
        """One token for every slot; idle slots compute along at position 0 and are not read."""
        feed = self._positions - 1
        feed = torch.where(self._live, feed, 0)
        last = self._tokens[self._all_rows, (self._counts - 1).clamp(min=0)]
        layouts = [Cached(cache, feed) for cache in self._caches]
        logits = forward_stages(
            self._chunks,
            self._mesh,
            last[:, None],
            positions=feed[:, None],
            layout_of=layouts.__getitem__,
            head=lambda model, hidden: model.next_logits(hidden, torch.zeros_like(feed)),
        )
        self._accept(self._all_rows, logits)

    def _accept(self, rows: Tensor, logits: Tensor | None) -> None:
        """Draw the next token of `rows` from logits [len(rows), V] and end what is over."""
        token, logprob = self._draw(rows, logits)
        counts = self._counts[rows]
        column = counts.clamp(max=self._tokens.shape[1] - 1)
        self._tokens[rows, column] = token
        self._logprobs[rows, column] = logprob
        alive = self._live[rows]
        self._counts[rows] = counts + alive.long()
        self._positions[rows] += alive.long()
        over = alive & ((token == self._eos) | (counts + 1 >= self._tokens.shape[1]))
        if bool(over.any()):
            for row in rows[over].tolist():
                self._finish(row)

    def _draw(self, rows: Tensor, logits: Tensor | None) -> tuple[Tensor, Tensor]:
        """Token and log-prob of `rows`: drawn on the last stage, known to all."""
        # fp64 holds a token id and an fp32 log-prob exactly, so that one broadcast carries both.
        drawn = torch.empty(2, len(rows), dtype=torch.float64, device=self._mesh.device)
        if logits is not None:
            shard = self._chunks[-1].shard
            keys, positions = self._keys[rows], self._positions[rows]
            token, logprob = choose(logits, keys, positions, sampling=self._sampling, shard=shard)
            drawn[0], drawn[1] = token.double(), logprob.double()
        axis = self._mesh.pipeline
        if axis.size > 1:
            dist.broadcast(drawn, src=axis.ranks[-1], group=axis.group)
        return drawn[0].long(), drawn[1].float()

    def _finish(self, row: int) -> None:
        request = self._requests[row]
        assert request is not None, "only a live slot can end"
        count = int(self._counts[row])
        tokens = self._tokens[row, :count].cpu().numpy().astype("int32")
        prompt = self._prompts[request.prompt]
        completion = Completion(
            problem_id=prompt.problem_id,
            sample=request.sample,
            prompt_ids=prompt.token_ids,
            token_ids=tokens,
            logprobs=self._logprobs[row, :count].cpu().numpy().copy(),
            finished=bool(tokens[-1] == self._eos),
        )
        self._requests[row] = None
        self._live[row] = False
        self._done[request] = completion
        self._on_finish(completion)

    def _shrink(self) -> None:
        """Drop idle slots; only when nothing waits."""
        rows = self._live.nonzero()[:, 0]
        for cache in self._caches:
            cache.keep(rows)
        self._requests = [self._requests[row] for row in rows.tolist()]
        for name in ("_keys", "_positions", "_counts", "_live", "_tokens", "_logprobs"):
            setattr(self, name, getattr(self, name)[rows])
        self._all_rows = torch.arange(len(rows), device=self._mesh.device)
