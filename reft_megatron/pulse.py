"""A sign of life from every rank, to say which one a collective lacks.

Owns a thread that counts up in the run's store, apart from whatever the rank is busy with. A rank
whose count stands still has died, or hangs so hard that nothing of it runs.
"""

from __future__ import annotations

import datetime
import os
import socket
import threading
import time
from typing import Any

__all__ = ["Pulse"]

_PATIENCE = datetime.timedelta(seconds=10)
"""How long the store may take to answer: it keeps a few bytes and has no reason to wait."""


class Pulse:
    """This rank's sign of life, and a look at the others'."""

    def __init__(self, store: Any, *, rank: int, size: int, every_s: float = 1.0) -> None:
        """Beat in `store` (torch.distributed) every `every_s` seconds until closed."""
        # A connection answers one call at a time, and others of this process wait in theirs.
        self._store, self._beats = (store.clone() for _ in range(2))
        for own in (self._store, self._beats):
            own.set_timeout(_PATIENCE)
        self._rank, self._size, self._every_s = rank, size, every_s
        self._closed = threading.Event()
        self._store.set(f"pulse/who/{rank}", f"{socket.gethostname()}, process {os.getpid()}")
        self._beat(0)
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop beating."""
        self._closed.set()
        self._thread.join()

    def silent(self) -> list[str]:
        """The ranks that show no life for three beats, each as `rank R (host, process)`.

        Where the store itself does not answer, it is said to be gone instead.
        """
        try:
            before = self._counts()
            time.sleep(3 * self._every_s)
            after = self._counts()
            return [
                f"rank {rank} ({self._store.get(f'pulse/who/{rank}').decode()})"
                for rank in range(self._size)
                if before[rank] == after[rank] and rank != self._rank
            ]
        except RuntimeError as error:
            return [f"the run's store, with the process that holds it ({error})"]

    def _counts(self) -> list[bytes]:
        return [self._store.get(f"pulse/{rank}") for rank in range(self._size)]

    def _beat(self, count: int) -> None:
        self._beats.set(f"pulse/{self._rank}", str(count))

    def _run(self) -> None:
        count = 0
        while not self._closed.wait(self._every_s):
            count += 1
            try:
                self._beat(count)
            except RuntimeError:
                return  # the store is gone, and with it whoever could look
