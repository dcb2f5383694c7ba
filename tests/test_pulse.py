"""Signs of life in a real store; a rank that stops is named, one that is busy is not."""

from __future__ import annotations

import os
import socket
import time

import torch.distributed as dist

from reft_megatron.pulse import Pulse


def test_who_stops_beating_is_named():
    store = dist.HashStore()
    pulses = [Pulse(store, rank=rank, size=3, every_s=0.02) for rank in range(3)]
    # As often as it takes: on a busy machine a living thread may miss three beats.
    while pulses[0].silent():
        time.sleep(0.01)
    pulses[1].close()
    me = f"{socket.gethostname()}, process {os.getpid()}"
    while (gone := pulses[0].silent()) != [f"rank 1 ({me})"]:
        assert f"rank 1 ({me})" in gone
    for pulse in pulses:
        pulse.close()


class BrokenStore:
    """A store whose process has died after the first words."""

    def __init__(self) -> None:
        self.broken = False

    def set(self, key: str, value: str) -> None:
        if self.broken:
            raise RuntimeError("Connection reset by peer")

    def get(self, key: str) -> bytes:
        raise RuntimeError("Connection reset by peer")


def test_a_store_that_is_gone_is_said_to_be():
    store = BrokenStore()
    pulse = Pulse(store, rank=0, size=2, every_s=0.01)
    store.broken = True
    pulse._thread.join(30)
    assert not pulse._thread.is_alive(), "it gives up by itself"
    assert pulse.silent() == [
        "the run's store, with the process that holds it (Connection reset by peer)"
    ]
    pulse.close()
