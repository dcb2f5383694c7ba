"""Chance and time inside a worker: the same for the same program, always.

Owns the frozen clock and the stream that stands in for the machine's entropy. Standard library
only; the libraries' own generators are seeded where they are loaded.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import hashlib
import random
import sys
import time
from typing import Any

__all__ = ["NOW", "freeze_clock", "replace_entropy", "seed_chance"]

NOW = 1_704_067_200.0
"""What the clock shows to programs: 2024-01-01 00:00:00 UTC, in seconds since 1970."""


class _Entropy:
    """An endless stream of bytes that one seed decides: SHA-512 of the seed and a counter."""

    def __init__(self) -> None:
        self._seed, self._block, self._left = b"", 0, b""

    def restart(self, seed: bytes) -> None:
        self._seed, self._block, self._left = seed, 0, b""

    def take(self, size: int) -> bytes:
        """`size` bytes; what os.urandom is to the module `random`."""
        while len(self._left) < size:
            self._left += hashlib.sha512(self._seed + self._block.to_bytes(8, "little")).digest()
            self._block += 1
        taken, self._left = self._left[:size], self._left[size:]
        return taken


_ENTROPY = _Entropy()


def replace_entropy() -> None:
    """Let generators that are made or seeded without a seed take one from the stream."""
    system_seed = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        """As random.Random.seed, but without a seed it is not the machine that gives one."""
        system_seed(self, _from_bytes(_ENTROPY.take(32)) if a is None else a, version)

    random.Random.seed = seed  # type: ignore[method-assign]  # on purpose
    random.seed = random._inst.seed  # as the module itself does
    random._urandom = _ENTROPY.take  # type: ignore[attr-defined]  # of SystemRandom, and `secrets`


def seed_chance(seed: int, source: str) -> None:
    """Start chance anew for one program: what it draws depends on the seed and its text alone."""
    start = hashlib.sha512(seed.to_bytes(8, "little") + source.encode()).digest()
    _ENTROPY.restart(start)
    number = _from_bytes(start)
    random.seed(number)
    if "sympy" in sys.modules:
        sys.modules["sympy.core.random"].rng.seed(number)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(number & 0xFFFFFFFF)


def freeze_clock() -> None:
    """Stop the clock that programs see at `NOW`, for the life of the process.

    `datetime` keeps its real types, which are written in C: their methods are replaced in place.
    Monotonic clocks run on.
    """
    time.time = lambda: NOW  # `today` of datetime and date asks here
    time.time_ns = lambda: int(NOW) * 10**9
    kind = datetime.datetime
    (methods,) = gc.get_referents(kind.__dict__)  # the dict behind the read-only view
    methods["now"] = classmethod(lambda cls, tz=None: cls.fromtimestamp(NOW, tz))
    methods["utcnow"] = classmethod(lambda cls: cls.utcfromtimestamp(NOW))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _from_bytes(data: bytes) -> int:
    return int.from_bytes(data, "little")
