"""Micro-batches that are laid out one by one, a little before they are used.

Owns the thread that works ahead. Knows nothing of where the sequences come from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import overload

from reft_megatron.rollouts.batch import MicroBatch

__all__ = ["MicroBatches"]


class MicroBatches(Sequence[MicroBatch]):
    """`count` micro-batches, of which a handful exists at a time.

    Iterating makes them in order on a thread, at most `ahead` before they are asked for; what goes
    wrong there is raised where the micro-batch would have come. Each pass makes them anew.
    """

    def __init__(self, count: int, make: Callable[[int], MicroBatch], *, ahead: int = 2) -> None:
        self._count, self._make, self._ahead = count, make, ahead

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> MicroBatch: ...

    @overload
    def __getitem__(self, index: slice) -> MicroBatches: ...

    def __getitem__(self, index: int | slice) -> MicroBatch | MicroBatches:
        chosen = range(self._count)[index]
        if isinstance(chosen, int):
            return self._make(chosen)
        return MicroBatches(len(chosen), lambda i: self._make(chosen[i]), ahead=self._ahead)

    def __iter__(self) -> Iterator[MicroBatch]:
        thread = ThreadPoolExecutor(1, thread_name_prefix="micro-batches")
        pending: deque[Future[MicroBatch]] = deque()
        try:
            for index in range(self._count):
                pending.append(thread.submit(self._make, index))
                if len(pending) > self._ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            thread.shutdown(cancel_futures=True)
