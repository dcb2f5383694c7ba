"""Memory of the extractor as the benchmark sees it."""

from __future__ import annotations

from tools.extractor_bench.memory import of_fresh_process, resident_mib, soak

PROGRAMS = [f"def solution():\n    return {value}" for value in range(100)]


def test_threads_keep_to_their_share() -> None:
    start, after = of_fresh_process(PROGRAMS, threads=2)
    assert 0 < start < 64
    assert start < after < 64 + 2 * 32


def test_a_soak_tells_the_first_round_and_the_last() -> None:
    told = list(soak(PROGRAMS, count=1000))
    assert [done for done, _ in told] == [100, 1000]
    assert all(0 < mib <= resident_mib() + 64 for _, mib in told)
