"""Signs of life in a real store; a rank that stops is named, one that is busy is not."""

from __future__ import annotations

import datetime
import os
import socket
import threading

import torch.distributed as dist

from reft_megatron.pulse import Pulse

TRIES = 200
"""On a busy machine a living thread may miss three beats."""


def test_who_stops_beating_is_named():
    store = dist.HashStore()
    pulses = [Pulse(store, rank=rank, size=3, every_s=0.02) for rank in range(3)]
    assert any(not pulses[0].silent() for _ in range(TRIES))
    pulses[1].close()
    me = f"{socket.gethostname()}, process {os.getpid()}"
    found = [pulses[0].silent() for _ in range(TRIES // 10)]
    assert all(f"rank 1 ({me})" in gone for gone in found)
    assert [f"rank 1 ({me})"] in found
    for pulse in pulses:
        pulse.close()


class BrokenStore:
    """A store whose process has died after the first words."""

    def __init__(self) -> None:
        self.broken = False

    def clone(self) -> BrokenStore:
        return self

    def set_timeout(self, patience: datetime.timedelta) -> None:
        assert patience < datetime.timedelta(minutes=1)

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


def test_it_beats_while_the_process_waits_in_the_store():
    """A call that waits holds its connection, as those of collectives do."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    pulse = Pulse(store, rank=0, size=1, every_s=0.01)
    waiting = threading.Thread(target=store.get, args=("never",), daemon=True)
    store.set_timeout(datetime.timedelta(seconds=60))
    waiting.start()
    look = store.clone()
    seen = look.get("pulse/0")
    assert any(look.get("pulse/0") != seen for _ in range(100_000))
    assert waiting.is_alive()
    look.set("never", "now")
    waiting.join()
    pulse.close()
