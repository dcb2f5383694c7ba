"""A frozen model that waits in host memory.

Owns moving the weights of a model that never changes: they stay on the host, and a copy is on the
device only while it is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

__all__ = ["Parking"]


class Parking:
    """The weights of model chunks, on the host between uses."""

    def __init__(self, chunks: Sequence[torch.nn.Module]) -> None:
        """Move the weights away from the device; nothing may train them from here on."""
        weights = [*{id(p): p for chunk in chunks for p in chunk.parameters()}.values()]
        self._device = weights[0].device if weights else torch.device("cpu")
        host = (weight.data.cpu() for weight in weights)
        if self._device.type == "cuda":
            # Only from pinned memory does a copy run while the host goes on.
            host = (data.pin_memory() for data in host)
        self._weights = list(zip(weights, host, strict=True))
        self._park()

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """The weights on the device inside the block."""
        try:
            for weight, host in self._weights:
                weight.data = host.to(self._device, non_blocking=True)
            yield
        finally:
            self._park()

    def _park(self) -> None:
        for weight, host in self._weights:
            weight.data = host
