"""Random bits as a pure function of key and counter."""

from __future__ import annotations

import math

import pytest
import torch

from reft_megatron.ops.philox import gumbel, philox

KNOWN = [
    # Random123's known-answer file, philox4x32 with 10 rounds: counter, key, words.
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text: str) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(int(word, 16)) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN)
def test_known_answers(counter: str, key: str, wanted: str):
    found = philox(words(key), words(counter))
    assert " ".join(f"{int(word):08x}" for word in found) == wanted


def test_a_batch_is_its_members():
    keys = torch.tensor([[1, 2], [3, 4], [2**32 - 1, 0]])
    counters = torch.arange(5)
    zero = torch.tensor(0)
    batch = philox((keys[:, :1], keys[:, 1:]), (counters[None, :], zero, zero, zero))
    for i, key in enumerate(keys):
        for j, counter in enumerate(counters):
            one = philox((key[0], key[1]), (counter, zero, zero, zero))
            assert [int(word[i, j]) for word in batch] == [int(word) for word in one]


KEYS = torch.tensor([[7, 11], [8, 11]])
POSITIONS = torch.tensor([3, 3])


@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 40), (4, 8), (5, 1), (18, 21), (39, 1)])
def test_the_noise_of_a_row_does_not_depend_on_the_shard(start: int, count: int):
    whole = gumbel(KEYS, POSITIONS, start=0, count=40)
    assert torch.equal(
        gumbel(KEYS, POSITIONS, start=start, count=count), whole[:, start:][:, :count]
    )


def test_key_and_position_change_the_noise():
    noise = gumbel(KEYS, POSITIONS, start=0, count=40)
    assert not (noise[0] == noise[1]).any()
    later = gumbel(KEYS, POSITIONS + 1, start=0, count=40)
    assert not (noise == later).any()


def test_the_noise_is_standard_gumbel():
    n = 200_000
    noise = gumbel(torch.tensor([[5, 6]]), torch.tensor([0]), start=0, count=n)[0].double()
    assert noise.isfinite().all()
    # Four standard errors: the standard deviation is pi / sqrt 6, the median -log log 2.
    assert abs(noise.mean().item() - 0.5772156649) < 4 * 1.2825 / math.sqrt(n)
    assert abs(noise.var().item() - math.pi**2 / 6) < 0.03
    below = (noise < -math.log(math.log(2))).double().mean().item()
    assert abs(below - 0.5) < 4 * 0.5 / math.sqrt(n)
