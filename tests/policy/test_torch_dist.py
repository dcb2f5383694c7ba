"""Megatron's format: what Megatron-LM wrote is read, and what does not fit is named before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from megatron.core.dist_checkpointing import ShardedTensor

from reft_megatron.errors import CheckpointError
from reft_megatron.policy import Policy, torch_dist
from tests.policy import megatron_lm
from tests.policy.scene import (
    LAYOUTS,
    ONE,
    Layout,
    assemble,
    open_other,
    open_policy,
    scores_by_problem,
    weights_of,
)

ROWS = 120
"""Of Megatron-LM's embedding; ours has 100 on one tensor rank."""
PLACE = f"iter_{megatron_lm.ITERATION:07d}"

Told = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("megatron-lm")


def play_writing(layout: Layout, folder: Path) -> Told:
    return megatron_lm.write(layout, folder, rows=ROWS)


@pytest.fixture(scope="module")
def told(ranks, folder: Path) -> Told:
    """What the plain model says of the rollouts; its checkpoint is in `folder`, by two ranks."""
    return ranks(2, play_writing, LAYOUTS["tp2"], folder)[0]


def play_reading(layout: Layout, folder: Path) -> tuple[Told, list[Any], dict[str, Any]]:
    policy = open_other(layout)
    before = heads_of(policy)
    extra = policy.load(folder, weights_only=True)
    assert policy.version == 0
    for mine, other in zip(heads_of(policy), before, strict=True):
        np.testing.assert_array_equal(mine[3], other[3], err_msg="the value head is as it was")
    found = {key: rows["logprobs"][1:] for key, rows in scores_by_problem(policy).items()}
    return found, weights_of(policy), extra


def heads_of(policy: Policy) -> list[Any]:
    return [part for part in weights_of(policy) if part[0].startswith("value_head")]


@pytest.mark.megatron
@pytest.mark.parametrize(("name", "place"), [("1", PLACE), ("pp2-dp2", ""), ("tp2", "")])
def test_a_checkpoint_of_megatron_lm(ranks, folder: Path, told: Told, name: str, place: str):
    seen = ranks(LAYOUTS[name].world, play_reading, LAYOUTS[name], folder / place)
    assemble(weights for _, weights, _ in seen)  # ranks agree
    assert [extra for _, _, extra in seen] == [{}] * len(seen)
    found = {key: row for scores, _, _ in seen for key, row in scores.items()}
    assert found.keys() == told.keys()
    far = max(float(abs(found[key] - told[key]).max()) for key in told)
    print(f"{name}: log-probs differ by {far:.1e}")
    assert far < 2e-5


def test_what_megatron_itself_wrote(alone, tmp_path: Path):
    """Through its own writer, which takes longer."""
    told = megatron_lm.write(ONE, tmp_path, rows=ROWS, own_writer=True)
    found, _, _ = play_reading(ONE, tmp_path)
    for key, row in told.items():
        np.testing.assert_allclose(found[key], row, atol=2e-5)


# ---------------------------------------------------------------- what is refused


def refusal(folder: Path, *, weights_only: bool = True) -> str:
    """The message that reading raises; the weights are then as before."""
    policy = open_other(ONE)
    before = weights_of(policy)
    with pytest.raises(CheckpointError) as caught:
        policy.load(folder, weights_only=weights_only)
    for a, b in zip(weights_of(policy), before, strict=True):
        np.testing.assert_array_equal(a[3], b[3])
    return str(caught.value)


FINAL = "decoder.final_layernorm.weight"


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({FINAL: None}, f"it lacks {FINAL}"),
        ({"adapter.weight": (2, 3)}, "it has besides adapter.weight"),
        ({FINAL: (95,)}, f"other shapes: {FINAL} is [95] there and [96] here"),
        (
            {"embedding.word_embeddings.weight": (85, 96)},
            "other shapes: embedding.word_embeddings.weight is [85, 96] there and [100, 96] here",
        ),
        (
            {FINAL: None, "b": (1,), "a": (1,)},
            f"it lacks {FINAL}; it has besides a, b",
        ),
        (
            {f"x{i}": (1,) for i in range(7)},
            "it has besides x0, x1, x2, x3, x4 and 2 more",
        ),
    ],
    ids=["missing", "foreign", "shape", "vocabulary", "two faults", "many"],
)
def test_what_does_not_fit_is_named(alone, tmp_path: Path, changes, faults: str):
    (chunk,) = open_policy(ONE)._chunks
    content = dict(chunk.sharded_state_dict())
    for key, shape in changes.items():
        content = {name: part for name, part in content.items() if part.key != key}
        if shape is not None:
            content[key] = ShardedTensor.from_rank_offsets(key, torch.zeros(shape))
    (tmp_path / "some").mkdir()
    torch_dist.write({"model": content}, tmp_path / "some")
    assert refusal(tmp_path / "some") == (
        f"{tmp_path / 'some'} does not hold this model: {faults}. Use the settings of the run that "
        "wrote it, or another checkpoint."
    )


def test_a_vocabulary_without_padding_is_enough(alone, weights, tmp_path: Path):
    (chunk,) = open_policy(ONE)._chunks
    content = dict(chunk.sharded_state_dict())
    name = "embedding.word_embeddings.weight"
    content[name] = ShardedTensor.from_rank_offsets(name, torch.from_numpy(weights[name]))
    (tmp_path / "some").mkdir()
    torch_dist.write({"model": content}, tmp_path / "some")
    other = open_other(ONE)
    other.load(tmp_path / "some", weights_only=True)
    for key, tensor in assemble([weights_of(other)]).items():
        np.testing.assert_array_equal(tensor, weights[key], err_msg=key)


def test_a_checkpoint_of_megatron_lm_cannot_be_resumed(alone, told, folder: Path):
    assert refusal(folder / PLACE, weights_only=False) == (
        f"{folder / PLACE} is not a complete checkpoint: it has no readable manifest.json. Point "
        "at a folder written by a finished save."
    )


def test_what_is_not_there_or_damaged(alone, told, folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    place = copy / PLACE
    for data in place.glob("*.distcp"):
        data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=f"^cannot read {place}: rank 0: "):
        open_other(ONE).load(copy, weights_only=True)
    for name, found in ((".metadata", b"x"), (".metadata", b""), ("metadata.json", b"{")):
        (place / name).write_bytes(found)
        assert refusal(copy).startswith(f"cannot read the index of {place}: "), name
    (copy / "latest_checkpointed_iteration.txt").write_text("20")
    assert refusal(copy).startswith(f"cannot read the index of {copy}/iter_0000020: ")
