"""Writing that fails, on one rank or all: every rank is told the same, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from reft_megatron import files
from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy.draft import MANIFEST
from reft_megatron.policy.huggingface.shard_plan import TensorInfo
from reft_megatron.policy.huggingface.writer import WeightWriter
from tests.policy.huggingface.weight_folders import (
    FILES,
    TENSORS,
    drawn,
    join_world,
    snapshot,
    write_all,
)


def told(what: str, found: str) -> str:
    """The whole message, of what could not be done and what was found."""
    disk = "Errno" in found or "bytes are wanted" in found
    advice = "; free disk space or choose another folder" if disk else ""
    return (
        f"the checkpoint could not be {what}: {found}. Earlier checkpoints are untouched{advice}."
    )


# ---------------------------------------------------------------- on one rank of many


def play_failure(folder: Path, where: str) -> str:
    """What this rank is told when rank 1 fails at some point, or rank 0 at the first."""
    world = join_world()
    with pytest.raises(CheckpointError) as caught:
        fail(folder, where, world)
    return str(caught.value)


def fail(folder: Path, where: str, world: Axis) -> None:
    held = drawn(TENSORS)
    with WeightWriter(folder, TENSORS, world=world) as writer:
        if world.rank == 0:
            writer.write("embedding", held["embedding"])
            if where != "unfinished":
                writer.finish(FILES)
            return
        writer.write("norm", held["norm"])
        writer.write("output", held["output"][:4])
        if where == "body":
            raise CheckpointError("tensor w of model.safetensors holds NaN.")
        if where == "write":
            with small_files(100):
                writer.write("output", held["output"][4:], first_row=4)
        if where != "gap":
            writer.write("output", held["output"][4:], first_row=4)
        writer.finish(FILES)


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """The kernel refuses to write past so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


@pytest.mark.megatron
@pytest.mark.parametrize(
    ("where", "what", "found"),
    [
        ("body", "written", "tensor w of model.safetensors holds NaN"),
        ("write", "written", "rank 1: OSError: [Errno 27] File too large"),
        ("gap", "written", "rank 0: ValueError: 48 of 96 elements of tensor output are missing"),
        ("unfinished", "written", "rank 0: RuntimeError: finish() was not called"),
    ],
)
def test_all_ranks_fail_as_one(ranks, tmp_path: Path, where: str, what: str, found: str):
    assert ranks(2, play_failure, tmp_path / "out", where) == [told(what, found)] * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.megatron
def test_all_ranks_hear_that_the_folder_is_taken(ranks, tmp_path: Path):
    (tmp_path / "mine").write_text("x")
    wanted = told("begun", f"{tmp_path} exists already; choose another folder")
    assert ranks(2, play_failure, tmp_path, "taken") == [wanted] * 2
    assert snapshot(tmp_path) == {"mine": b"x"}


def play_killed(folder: Path) -> None:
    writer = WeightWriter(folder, TENSORS).__enter__()
    writer.write("norm", drawn(TENSORS)["norm"])
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.megatron
def test_the_rest_of_a_killed_run_is_swept_away(ranks, tmp_path: Path):
    with pytest.raises(AssertionError, match=r"^rank 0 ended with status 9$"):
        ranks(1, play_killed, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["model.safetensors"]
    (tmp_path / "out.partial" / "rubbish").write_text("x")
    write_all(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "rubbish" not in snapshot(tmp_path / "out")


# ---------------------------------------------------------------- on one


def refusal(folder: Path, fill: Callable[[WeightWriter], None] = lambda _: None) -> str:
    """The message that comes of it; there is then nothing new on the disk."""
    before = snapshot(folder.parent)
    with pytest.raises(CheckpointError) as caught, WeightWriter(folder, TENSORS) as writer:
        fill(writer)
    assert snapshot(folder.parent) == before
    assert not folder.with_name(folder.name + ".partial").exists()
    return str(caught.value)


@pytest.mark.parametrize("what", ["a file in it", "a file"])
def test_a_folder_that_is_taken(tmp_path: Path, what: str):
    folder = tmp_path / "out"
    if what == "a file":
        folder.write_text("x")
    else:
        folder.mkdir()
        (folder / "mine").write_text("x")
    assert refusal(folder) == told("begun", f"{folder} exists already; choose another folder")


def test_a_folder_that_is_taken_meanwhile(tmp_path: Path):
    folder = tmp_path / "out"

    def fill(writer: WeightWriter) -> None:
        for name, tensor in drawn(TENSORS).items():
            writer.write(name, tensor)
        shutil.copytree(tmp_path / "theirs", folder)
        writer.finish(FILES)

    write_all(tmp_path / "theirs")
    with (
        pytest.raises(CheckpointError, match="Directory not empty"),
        WeightWriter(folder, TENSORS) as writer,
    ):
        fill(writer)
    assert snapshot(folder) == snapshot(tmp_path / "theirs")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "theirs"}


def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=300)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    data = sum(info.nbytes for info in TENSORS.values())
    message = refusal(tmp_path / "out")
    wanted = int(message.split(": ")[1].split()[0])
    assert data < wanted < data + 400
    found = f"{wanted} bytes are wanted and 300 are free in {tmp_path / 'out'}"
    assert message == told("begun", found)


def test_a_disk_that_fills_up_is_met_before_any_data(tmp_path: Path, monkeypatch):
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    message = refusal(tmp_path / "out", lambda writer: pytest.fail("it went on"))
    assert message == told("begun", "rank 0: OSError: [Errno 28] No space left on device")


def test_no_folder_can_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError) as caught:
        WeightWriter(tmp_path / "file" / "out", TENSORS).__enter__()
    partial = tmp_path / "file" / "out.partial"
    assert str(caught.value) == told(
        "begun", f"rank 0: NotADirectoryError: [Errno 20] Not a directory: '{partial}'"
    )


@pytest.mark.parametrize(("call", "what"), [("fsync", "read back"), ("pwrite", "written")])
def test_a_disk_that_fails_later(tmp_path: Path, monkeypatch, call: str, what: str):
    def fail(*args: object) -> None:
        raise OSError(5, "Input/output error")

    def fill(writer: WeightWriter) -> None:
        monkeypatch.setattr(os, call, fail)
        for name, tensor in drawn(TENSORS).items():
            writer.write(name, tensor)
        writer.finish(FILES)

    message = refusal(tmp_path / "out", fill)
    assert message == told(what, "rank 0: OSError: [Errno 5] Input/output error")


def without_a_disk(writer: WeightWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on what is written goes to a device that cannot be synchronised."""
    monkeypatch.setattr(files, "_FLUSH_BYTES", 1)
    (file,) = writer._draft.path.iterdir()
    file.unlink()
    file.symlink_to("/dev/null")


def test_what_cannot_reach_the_disk_is_told_before_the_end(tmp_path: Path, monkeypatch):
    def fill(writer: WeightWriter) -> None:
        without_a_disk(writer, monkeypatch)
        writer.write("norm", drawn(TENSORS)["norm"])
        writer.finish(FILES)

    found = "rank 0: OSError: [Errno 22] Invalid argument"
    assert refusal(tmp_path / "out", fill) == told("written", found)


def test_what_failed_first_is_told(tmp_path: Path, monkeypatch):
    def fill(writer: WeightWriter) -> None:
        without_a_disk(writer, monkeypatch)
        writer.write("norm", drawn(TENSORS)["norm"])
        raise KeyError("layer 3")

    assert refusal(tmp_path / "out", fill) == told("written", "rank 0: KeyError: 'layer 3'")


@pytest.mark.parametrize("name", ["model.safetensors", MANIFEST, "sub/config.json", ""])
def test_files_beside_the_weights_have_names_of_their_own(tmp_path: Path, name: str):
    def fill(writer: WeightWriter) -> None:
        for key, tensor in drawn(TENSORS).items():
            writer.write(key, tensor)
        writer.finish({name: b""})

    found = f"rank 0: ValueError: {name!r} cannot stand beside the weights"
    assert refusal(tmp_path / "out", fill) == told("written", found)


def test_pieces_that_were_written_twice(tmp_path: Path):
    def fill(writer: WeightWriter) -> None:
        for name, tensor in drawn(TENSORS).items():
            writer.write(name, tensor)
        writer.write("norm", torch.ones(2), first_row=3)
        writer.finish(FILES)

    found = "rank 0: ValueError: row 3 of tensor norm was written twice"
    assert refusal(tmp_path / "out", fill) == told("written", found)


def test_an_error_of_the_caller_ends_it(tmp_path: Path):
    def fill(writer: WeightWriter) -> None:
        raise KeyError("layer 3")

    assert refusal(tmp_path / "out", fill) == told("written", "rank 0: KeyError: 'layer 3'")


def test_an_interrupt_is_passed_on_at_once(tmp_path: Path):
    """It does not wait for the other ranks, and leaves what the next writer removes."""
    with pytest.raises(KeyboardInterrupt), WeightWriter(tmp_path / "out", TENSORS):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    write_all(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_weights_are_written(tmp_path: Path):
    tensors = {"ids": TensorInfo(shape=(3,), dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"^tensor ids is torch.int64, which no weight may be$"):
        WeightWriter(tmp_path / "out", tensors)
    assert list(tmp_path.iterdir()) == []
