"""The most memory that a call holds at once, on a CPU, as torch's profiler sees it."""

from __future__ import annotations

from collections.abc import Callable

import torch


def peak_of(call: Callable[[], object]) -> int:
    """Bytes that `call` held at its worst moment, above what there was before."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    events = profile.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    held = highest = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()
        highest = max(highest, held)
    return highest
