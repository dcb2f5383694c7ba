"""Weight folders that are damaged, pieces that do not fit, and disks that are full."""

from __future__ import annotations

import json
import pickle
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy import join
from reft_megatron.policy.torch_dist_reader import StoredWeights
from reft_megatron.policy.torch_dist_writer import Piece, write
from tests.policy.scene import LAYOUTS, configure
from tests.policy.torch_dist_pieces import cut, drawn, rows_of, write_whole

Rectangle = tuple[tuple[int, ...], tuple[int, ...]]


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
    assert refusal(new) == f"{new} has no metadata.json, {POINT}"


@pytest.mark.megatron
def test_a_place_that_cannot_be_made_is_told_on_every_rank(ranks, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    told = ranks(2, play_failing, tmp_path, 0, "place")
    full = (
        f"{tmp_path / 'file' / 'new'} could not be written: [Errno 20] Not a directory: "
        f"'{tmp_path / 'file' / 'new'}'. Free disk space or choose another folder."
    )
    assert told == [f"CheckpointError: {full}"] * 2
