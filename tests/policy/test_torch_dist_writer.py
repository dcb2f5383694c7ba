"""Weight folders in pieces that Megatron loads; pieces that do not fit, and disks that are full."""

from __future__ import annotations

import itertools
import resource
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from megatron.core.dist_checkpointing import load_common_state_dict
from megatron.core.dist_checkpointing.core import check_is_distributed_checkpoint
from torch import Tensor

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy import join
from reft_megatron.policy.draft import Draft
from reft_megatron.policy.torch_dist_reader import StoredWeights
from reft_megatron.policy.torch_dist_writer import Piece, write
from tests.policy.scene import (
    LAYOUTS,
    ONE,
    Layout,
    assemble,
    configure,
    open_other,
    open_policy,
    weights_of,
)
from tests.policy.torch_dist_pieces import check_whole, cut, drawn, rows_of, write_whole


def test_a_view_of_much_is_written_as_little(tmp_path: Path):
    """The pieces are views of a storage that is ten times as large, as from a mapped file."""
    whole = drawn((1000, 100), torch.float32)
    pieces = [replace(p, shape=(100, 100)) for p in rows_of("a", whole[:100], 50)]
    write_whole(tmp_path, {"a": whole}, pieces)
    assert (tmp_path / "__0_0.distcp").stat().st_size < 100 * 100 * 4 + 4000
    found = StoredWeights(tmp_path).read("a", (0, 0), (100, 100))
    assert torch.equal(found, whole[:100])


def test_pieces_of_any_stride_are_written(tmp_path: Path):
    whole = drawn((6, 4), torch.bfloat16)
    turned = whole.T.contiguous().T
    write_whole(tmp_path, {"a": turned}, rows_of("a", turned, 3))
    assert torch.equal(StoredWeights(tmp_path).read("a", (0, 0), (6, 4)), whole)


def test_the_setting_of_checksums_is_left_alone(tmp_path: Path):
    whole = drawn((2,), torch.float32)
    assert torch.serialization.get_crc32_options()
    write_whole(tmp_path, {"a": whole}, rows_of("a", whole, 1))
    assert torch.serialization.get_crc32_options()


def play_rewriting(source: Path, folder: Path) -> list[str]:
    """A checkpoint written anew in pieces of at most 100 rows; returns the keys this rank read."""
    layout = LAYOUTS["tp2"]
    world = join(configure(layout).parallel, seed=0, timeout_s=300, threads=1).world
    stored = StoredWeights(source / "weights")
    draft = Draft(folder, world)
    seen = []

    def read(piece: Piece) -> Tensor:
        seen.append(piece.key)
        return stored.read(piece.key, piece.begin, piece.size)

    with draft.step("written"):
        write(draft.path / "weights", list(tiles(stored)), read, world=world)
        if world.first:
            draft.put("meta.json", (source / "meta.json").read_bytes())
    draft.publish()
    return seen


def tiles(stored: StoredWeights) -> Iterator[Piece]:
    for key, (shape, dtype) in stored.tensors.items():
        steps = [1 if "layers" in key and axis == 0 else 100 for axis in range(len(shape))]
        for begin in itertools.product(
            *(range(0, n, s) for n, s in zip(shape, steps, strict=True))
        ):
            ends = [min(b + s, n) for b, s, n in zip(begin, steps, shape, strict=True)]
            size = tuple(e - b for b, e in zip(begin, ends, strict=True))
            yield Piece(key=key, shape=shape, begin=begin, size=size, dtype=dtype)


def play_loading(layout: Layout, folder: Path) -> list[Any]:
    policy = open_other(layout)
    policy.load(folder, weights_only=True)
    return weights_of(policy)


@pytest.mark.megatron
def test_what_two_ranks_wrote_is_loaded_at_any_layout(ranks, alone, weights, tmp_path: Path):
    open_policy(ONE).save(tmp_path / "one", extra={})
    seen = ranks(2, play_rewriting, tmp_path / "one", tmp_path / "two")
    assert seen[0]
    assert seen[1]
    check_whole(tmp_path / "two" / "weights", weights)
    assert check_is_distributed_checkpoint(str(tmp_path / "two" / "weights"))
    assert load_common_state_dict(str(tmp_path / "two" / "weights")) == {}
    layout = LAYOUTS["tp2-pp2"]
    found = assemble(ranks(layout.world, play_loading, layout, tmp_path / "two"))
    assert found.keys() == weights.keys()
    for key, wanted in weights.items():
        np.testing.assert_array_equal(found[key], wanted, err_msg=key)


# ---------------------------------------------------------------- memory

MIB = 1 << 20
LAYERS = 40


def play_two_hundred_megabytes(folder: Path) -> int:
    """Bytes of memory that writing, copying and reading 40 pieces of 5 MiB took."""
    small = drawn((2, 64), torch.bfloat16)
    write_whole(folder / "small", {"a": small}, rows_of("a", small, 1))
    StoredWeights(folder / "small").read("a", (0, 0), (2, 64))
    before = peak_memory()
    shape, size = (LAYERS, 5 * MIB // 2), (1, 5 * MIB // 2)
    pieces = [
        Piece(key="a", shape=shape, begin=(layer, 0), size=size, dtype=torch.bfloat16)
        for layer in range(LAYERS)
    ]

    def make(piece: Piece) -> Tensor:
        return torch.full(piece.size, piece.begin[0], dtype=piece.dtype)

    write(folder / "made", pieces, make, world=Axis())
    made = StoredWeights(folder / "made")
    write(folder / "copied", pieces, lambda p: made.read(p.key, p.begin, p.size), world=Axis())
    copied = StoredWeights(folder / "copied")
    for layer in range(LAYERS):
        assert (copied.read("a", (layer, 0), size) == layer).all()
    across = copied.read("a", (0, 7), (LAYERS, MIB // 100))
    assert torch.equal(across.float().mean(1), torch.arange(float(LAYERS)))
    return peak_memory() - before


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_memory_is_that_of_a_few_pieces(ranks, tmp_path: Path):
    (taken,) = ranks(1, play_two_hundred_megabytes, tmp_path)
    print(f"{taken / MIB:.0f} MiB for pieces of 5")
    assert taken < 40 * MIB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tensor `a` of 6 rows in three chunks of two, and a scalar `b`."""
    whole, scalar = drawn((6, 4), torch.float32), torch.tensor(1.0)
    alone = Piece(key="b", shape=(), begin=(), size=(), dtype=torch.float32)
    pieces = [*rows_of("a", whole, 2), alone]
    write_whole(tmp_path / "weights", {"a": whole, "b": scalar}, pieces)
    return tmp_path / "weights"


# ---------------------------------------------------------------- when it cannot be written


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p[:-1], "pieces fill 4 of 6 elements of a"),
        (lambda p: [*p[:2], p[0]], "overlapping chunks"),
        (lambda p: [*p[:2], replace(p[2], begin=(5,))], "out of bounds chunk"),
        (lambda p: [*p[:2], replace(p[2], dtype=torch.float16)], "a is both"),
        (lambda p: [*p[:2], replace(p[2], shape=(7,))], "a is both"),
    ],
    ids=["a hole", "twice", "outside", "two dtypes", "two shapes"],
)
def test_pieces_that_do_not_fit_are_a_mistake(tmp_path: Path, change, told: str):
    whole = drawn((6,), torch.float32)
    with pytest.raises(ValueError, match=told):
        write_whole(tmp_path / "new", {"a": whole}, change(rows_of("a", whole, 2)))
    assert not (tmp_path / "new").exists()


def test_another_tensor_than_the_piece_is_a_mistake(tmp_path: Path):
    pieces = rows_of("a", drawn((6,), torch.float32), 2)
    for wrong in (torch.zeros(3), torch.zeros(2, dtype=torch.float16)):
        with pytest.raises(ValueError, match=r"a at \[0\] must be torch.float32 \[2\]"):
            write(tmp_path / str(len(wrong)), pieces, lambda _, x=wrong: x, world=Axis())


def test_a_folder_that_is_taken_is_refused(folder: Path):
    whole = drawn((6,), torch.float32)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError) as caught:
        write_whole(folder, {"a": whole}, rows_of("a", whole, 2))
    assert str(caught.value) == f"{folder} is not empty. Choose a new folder."
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def play_failing(folder: Path, where: int, how: str) -> str:
    """Two ranks write; the one of rank `where` cannot."""
    world = join(configure(LAYOUTS["tp2"]).parallel, seed=0, timeout_s=300, threads=1).world
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    whole = drawn((60, 1000), torch.float32)
    if how == "disk" and world.rank == where:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

    def read(piece: Piece) -> Tensor:
        if how == "bug" and world.rank == where:
            raise KeyError("a bug")
        return cut(whole, piece.begin, piece.size)

    place = folder / "file" / "new" if how == "place" else folder / "new"
    try:
        write(place, rows_of("a", whole, 2), read, world=world)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "written"


@pytest.mark.megatron
@pytest.mark.parametrize("where", [0, 1])
def test_what_fails_on_one_rank_is_told_on_every_rank(ranks, tmp_path: Path, where: int):
    new = tmp_path / "new"
    told = ranks(2, play_failing, tmp_path, where, "bug")
    assert told[where] == "KeyError: 'a bug'"
    assert told[1 - where] == f"ReftError: rank {where}: KeyError: 'a bug'"
    assert "metadata.json" not in {path.name for path in new.iterdir()}
    for path in new.iterdir():
        path.unlink()
    told = ranks(2, play_failing, tmp_path, where, "disk")
    full = (
        f"{new} could not be written: [Errno 27] File too large. Free disk space or choose "
        "another folder."
    )
    assert told == [f"CheckpointError: {full}"] * 2
    with pytest.raises(CheckpointError, match=r"new has no metadata\.json, but must be in"):
        StoredWeights(new)


@pytest.mark.megatron
def test_a_place_that_cannot_be_made_is_told_on_every_rank(ranks, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    told = ranks(2, play_failing, tmp_path, 0, "place")
    full = (
        f"{tmp_path / 'file' / 'new'} could not be written: [Errno 20] Not a directory: "
        f"'{tmp_path / 'file' / 'new'}'. Free disk space or choose another folder."
    )
    assert told == [f"CheckpointError: {full}"] * 2
