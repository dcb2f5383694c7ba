"""Weight folders without a model: any rectangle of what anybody wrote, and damaged ones."""

from __future__ import annotations

import itertools
import json
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import FileSystemReader

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy.torch_dist_reader import StoredWeights
from reft_megatron.policy.torch_dist_writer import Piece
from tests.policy.scene import (
    LAYOUTS,
    Layout,
    open_policy,
)
from tests.policy.torch_dist_pieces import check_whole, cut, drawn, rows_of, write_whole

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


# ---------------------------------------------------------------- with real policies


def play_saving(layout: Layout, folder: Path) -> None:
    open_policy(layout).save(folder, extra={})


@pytest.mark.megatron
def test_what_four_ranks_saved_is_read_whole(ranks, weights, tmp_path: Path):
    ranks(4, play_saving, LAYOUTS["tp2-pp2"], tmp_path / "ckpt")
    assert len(list((tmp_path / "ckpt" / "weights").glob("*.distcp"))) == 4
    check_whole(tmp_path / "ckpt" / "weights", weights)


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tensor `a` of 6 rows in three chunks of two, and a scalar `b`."""
    whole, scalar = drawn((6, 4), torch.float32), torch.tensor(1.0)
    alone = Piece(key="b", shape=(), begin=(), size=(), dtype=torch.float32)
    pieces = [*rows_of("a", whole, 2), alone]
    write_whole(tmp_path / "weights", {"a": whole, "b": scalar}, pieces)
    return tmp_path / "weights"


def refusal(folder: Path, read: Rectangle | None = None, key: str = "a") -> str:
    with pytest.raises(CheckpointError) as caught:
        StoredWeights(folder).read(key, *(read or ((0, 0), (6, 4))))
    return str(caught.value)


def change_list(folder: Path, change: Callable[[Any], object]) -> None:
    metadata = FileSystemReader(folder).read_metadata()
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


ANOTHER = "Use another checkpoint."
POINT = (
    "but must be in Megatron's format torch_dist. Point at the folder with the .distcp files, "
    "which is weights/ in a checkpoint."
)


def test_no_folder_of_this_format_is_refused(folder: Path):
    for other in (folder / "nothing", folder.parent):
        assert refusal(other) == f"{other} has no metadata.json, {POINT}"
    (folder / "metadata.json").write_text(json.dumps({"sharded_backend": "zarr"}))
    assert refusal(folder) == f"{folder} has weights in format zarr, {POINT}"
    for text in ("{", "[]", '{"a": 1}'):
        (folder / "metadata.json").write_text(text)
        assert refusal(folder).startswith(f"cannot read what {folder} lists: ")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "a dictionary", "a class"])
def test_an_unreadable_list_is_refused(folder: Path, damage: str):
    path = folder / ".metadata"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[:-30],
                "text": b"what is this",
                "a dictionary": pickle.dumps({}),
                "a class": pickle.dumps(Axis).replace(b"Axis", b"Axes"),
            }[damage]
        )
    told = refusal(folder)
    assert told.startswith(f"cannot read what {folder} lists: ")
    assert told.endswith(f". {ANOTHER}")


def test_what_no_tensor_has_is_refused(folder: Path):
    assert refusal(folder, key="c") == (
        f"{folder} has no tensor c. Use a checkpoint of this model."
    )
    for begin, size in [((0, 0), (7, 4)), ((-1, 0), (2, 4)), ((0,), (6,)), ((0, 0), (1, 4, 1))]:
        assert refusal(folder, (begin, size)) == (
            f"a in {folder} has shape [6, 4], and so nothing at {list(begin)} in shape "
            f"{list(size)}. Use a checkpoint of this model."
        )


def test_a_missing_chunk_is_refused_where_it_is_wanted(folder: Path):
    whole = drawn((6, 4), torch.float32)
    change_list(folder, lambda m: m.state_dict_metadata["a"].chunks.pop(1))
    assert refusal(folder) == (
        f"{folder} has 16 of the 24 elements of a at [0, 0] in shape [6, 4]. {ANOTHER}"
    )
    assert torch.equal(StoredWeights(folder).read("a", (4, 1), (2, 2)), whole[4:, 1:3])


def test_a_chunk_that_is_listed_and_stored_nowhere_is_refused(folder: Path):
    change_list(folder, lambda m: m.storage_data.pop(list(m.storage_data)[2]))
    assert refusal(folder) == f"{folder} lists a at [4, 0] but has it in no file. {ANOTHER}"


@pytest.mark.parametrize("damage", ["missing", "cut", "zeros"])
def test_a_damaged_file_is_refused(folder: Path, damage: str):
    path = folder / "__0_0.distcp"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:100])
    elif damage == "zeros":
        path.write_bytes(bytes(len(content)))
    told = refusal(folder)
    kind = "FileNotFoundError" if damage == "missing" else ""
    assert told.startswith(f"cannot read a at [0, 0] from {path}: {kind}")
    assert told.endswith(f". {ANOTHER}")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (torch.zeros(2, 4, dtype=torch.int32), "has torch.int32 [2, 4]"),
        (torch.zeros(4, 2), "has torch.float32 [4, 2]"),
        ({"a": 1}, "dict is no tensor"),
        (print, "Weights only load failed"),
    ],
    ids=["dtype", "shape", "a dictionary", "a function"],
)
def test_another_item_than_the_listed_one_is_refused(folder: Path, other: Any, told: str):
    path = folder / "__0_0.distcp"
    torch.save(other, path)
    change_list(
        folder,
        lambda m: [
            setattr(place, name, value)
            for place in m.storage_data.values()
            for name, value in (("offset", 0), ("length", path.stat().st_size))
        ],
    )
    assert told in refusal(folder)
