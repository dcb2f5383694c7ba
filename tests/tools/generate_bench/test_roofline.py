"""The bytes that decoding moves at least."""

from __future__ import annotations

from dataclasses import replace

from reft_megatron.policy.families import find_architecture
from tools.generate_bench.roofline import bytes_moved


def test_by_hand():
    tiny = find_architecture("galactica-tiny")  # 4 layers, 4 heads of 24
    entry = 2 * 4 * 4 * 24 * 2
    # Steps of a prompt of 5: with 6 and 7 entries. Of a prompt of 2: with 3.
    moved = bytes_moved(tiny, [(5, 3), (2, 2)], slots=2, weights=1000, itemsize=2)
    assert moved == 3 / 2 * 1000 + (6 + 7 + 3) * entry
    # A response of one token comes with its prompt.
    assert bytes_moved(tiny, [(5, 1)], slots=2, weights=1000, itemsize=2) == 0


def test_shared_heads_are_read_once():
    tiny = find_architecture("galactica-tiny")
    grouped = replace(tiny, attention=replace(tiny.attention, groups=1))
    whole, quarter = (
        bytes_moved(shape, [(5, 3)], slots=1, weights=0, itemsize=4) for shape in (tiny, grouped)
    )
    assert whole == 4 * quarter
