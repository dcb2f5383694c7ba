"""Weight folders without a model: any rectangle of what anybody wrote, and pieces for anybody."""

from __future__ import annotations

import itertools
import resource
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from megatron.core.dist_checkpointing import load_common_state_dict
from megatron.core.dist_checkpointing.core import check_is_distributed_checkpoint
from torch import Tensor
from torch.distributed import checkpoint as dcp

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
from tests.policy.torch_dist_pieces import cut, drawn, rows_of, write_whole

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
Rectangle = tuple[tuple[int, ...], tuple[int, ...]]

# ---------------------------------------------------------------- round trips


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, list[Piece], list[Rectangle]]:
    """A tensor, pieces that make it up in any order, and rectangles of it."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
    dtype = draw(st.sampled_from(DTYPES))
    edges = [sorted({0, n, *draw(st.sets(st.integers(1, n)))}) for n in shape]
    pieces = [
        Piece(
            key="a",
            shape=shape,
            begin=tuple(low for low, _ in spans),
            size=tuple(high - low for low, high in spans),
            dtype=dtype,
        )
        for spans in itertools.product(*map(itertools.pairwise, edges))
    ]
    span = [st.lists(st.integers(0, n), min_size=2, max_size=2).map(sorted) for n in shape]
    rectangles = [
        (tuple(low for low, _ in spans), tuple(high - low for low, high in spans))
        for spans in draw(st.lists(st.tuples(*span), max_size=4))
    ]
    return drawn(shape, dtype), draw(st.permutations(pieces)), rectangles


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_rectangle_is_what_the_pieces_were(case: tuple[Tensor, list[Piece], list[Rectangle]]):
    whole, pieces, rectangles = case
    with tempfile.TemporaryDirectory() as folder:
        write_whole(Path(folder), {"a": whole}, pieces)
        stored = StoredWeights(Path(folder))
        assert stored.tensors == {"a": (tuple(whole.shape), whole.dtype)}
        everything = ((0,) * whole.dim(), tuple(whole.shape))
        for begin, size in [everything, *rectangles]:
            found = stored.read("a", begin, size)
            assert found.is_contiguous()
            assert found.data_ptr() % found.itemsize == 0
            torch.testing.assert_close(found, cut(whole, begin, size), rtol=0, atol=0)


def test_what_is_read_may_be_written_to(tmp_path: Path):
    whole = drawn((4, 3), torch.float32)
    write_whole(tmp_path, {"a": whole}, rows_of("a", whole, 2))
    stored = StoredWeights(tmp_path)
    stored.read("a", (0, 0), (2, 3)).zero_()
    assert torch.equal(stored.read("a", (0, 0), (4, 3)), whole)


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


def test_what_torch_itself_wrote(tmp_path: Path):
    """Not only tensors, and those in any order of their dimensions."""
    turned, scalar = drawn((3, 5), torch.float16).T, torch.tensor(7.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that there is one process only
        dcp.save(
            {"turned": turned, "scalar": scalar, "step": 3, "deep": {"b": torch.ones(2)}},
            storage_writer=dcp.FileSystemWriter(tmp_path),
            no_dist=True,
        )
    (tmp_path / "metadata.json").write_text('{"sharded_backend": "torch_dist"}')
    stored = StoredWeights(tmp_path)
    assert stored.tensors == {
        "turned": ((5, 3), torch.float16),
        "scalar": ((), torch.float32),
        "deep.b": ((2,), torch.float32),
    }
    assert torch.equal(stored.read("turned", (1, 0), (3, 2)), turned[1:4, :2])
    assert stored.read("scalar", (), ()) == 7.5


def test_the_setting_of_checksums_is_left_alone(tmp_path: Path):
    whole = drawn((2,), torch.float32)
    assert torch.serialization.get_crc32_options()
    write_whole(tmp_path, {"a": whole}, rows_of("a", whole, 1))
    assert torch.serialization.get_crc32_options()


# ---------------------------------------------------------------- with real policies


def play_saving(layout: Layout, folder: Path) -> None:
    open_policy(layout).save(folder, extra={})


def check_whole(folder: Path, weights: dict[str, np.ndarray[Any, Any]]) -> None:
    """The folder holds the scene's weights, and no other tensors."""
    stored = StoredWeights(folder)
    assert stored.tensors.keys() == {name.split("/")[0] for name in weights}
    for name, wanted in weights.items():
        key, *layer = name.split("/")
        begin = (*map(int, layer), *(0 for _ in wanted.shape))
        found = stored.read(key, begin, (*(1 for _ in layer), *wanted.shape))
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted, err_msg=name)


@pytest.mark.megatron
def test_what_four_ranks_saved_is_read_whole(ranks, weights, tmp_path: Path):
    ranks(4, play_saving, LAYOUTS["tp2-pp2"], tmp_path / "ckpt")
    assert len(list((tmp_path / "ckpt" / "weights").glob("*.distcp"))) == 4
    check_whole(tmp_path / "ckpt" / "weights", weights)


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
