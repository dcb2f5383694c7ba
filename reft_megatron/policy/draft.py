"""A checkpoint folder in the making: complete under its name, or not there.

Owns the temporary folder beside the final one, the agreement of all ranks after each step, the
manifest with size and checksum of every file, written last, and the renaming.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException

from reft_megatron.errors import CheckpointError, ReftError
from reft_megatron.files import checksum, sync, write_whole
from reft_megatron.mesh import Axis
from reft_megatron.policy.torch_dist import failure_text, failures_of

__all__ = ["MANIFEST", "Draft", "check_manifest"]

MANIFEST = "manifest.json"
"""The file that makes a folder complete."""
_KIND = "xxh3_128"


class Draft:
    """A folder that every rank of `world` writes to, and that appears when it is published."""

    def __init__(self, folder: Path, world: Axis, *, nbytes: int = 0) -> None:
        """Make `<folder>.partial`, removing one that a killed process left; every rank calls.

        Raises CheckpointError, on every rank, if the folder cannot be made, or is there and is not
        empty, or if the disk has no room for `nbytes`.
        """
        self._folder, self._world = folder.resolve(), world
        self.path = self._folder.with_name(self._folder.name + ".partial")
        with self.step("begun"):
            if world.first:
                folder = self._folder
                if any(folder.iterdir()) if folder.is_dir() else folder.exists():
                    raise CheckpointError(f"{folder} exists already; choose another folder")
                shutil.rmtree(self.path, ignore_errors=True)
                self.path.mkdir(parents=True)
                free = shutil.disk_usage(self.path).free
                if nbytes > free:
                    raise _DiskError(f"{nbytes} bytes are wanted and {free} are free in {folder}")

    def put(self, name: str, content: bytes) -> None:
        """Write a small file, in a folder of the draft where `name` says so; one rank calls."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """A block that every rank enters: if it fails on one, nothing is left, and all raise.

        What is raised is a CheckpointError that says the folder could not be `what`.
        """
        try:
            with self._world.together(), _told(self._world.rank):
                yield
        except ReftError as error:
            if self._world.first:
                shutil.rmtree(self.path, ignore_errors=True)
            advice = "; free disk space or choose another folder" * isinstance(error, _DiskError)
            raise CheckpointError(
                f"the checkpoint could not be {what}: {str(error).rstrip('.')}. Earlier "
                f"checkpoints are untouched{advice}."
            ) from error

    def publish(self) -> None:
        """Checksum every file, write the manifest and rename; every rank calls.

        Ranks share the reading. The main rank's list of files counts: on a network file system
        another node may not see all names yet.
        """
        found: list[str] = []
        with self.step("read back"):
            if self._world.first:
                files = (path for path in self.path.rglob("*") if path.is_file())
                found = sorted(str(path.relative_to(self.path)) for path in files)
        names = self._world.broadcast_object(found)
        mine = names[self._world.rank :: self._world.size]
        digests: dict[str, list[Any]] = {}
        with self.step("read back"):
            for name in mine:
                digests[name] = _digest(self.path / name)
                sync(self.path / name)
        parts = self._world.gather_objects(digests)
        with self.step("published"):
            if self._world.first:
                known = dict(sorted(entry for part in parts for entry in part.items()))
                for folder in {(self.path / name).parent for name in known}:
                    sync(folder)
                tree = {"checksum": _KIND, "files": known}
                write_whole(self.path / MANIFEST, json.dumps(tree, indent=1))
                self.path.rename(self._folder)
                sync(self._folder.parent)
        self._world.barrier()


def check_manifest(folder: Path, world: Axis, *, unread: tuple[str, ...] = ()) -> None:
    """CheckpointError, on every rank, unless `folder` is complete and undamaged.

    Ranks share the reading. Names that begin with one of `unread` are not looked at.
    """
    with world.together():
        manifest = _read_manifest(folder)
        names = sorted(name for name in manifest if not name.startswith(unread))
        for name in world.share(names, lambda name: manifest[name][0]):
            try:
                found = _digest(folder / name)
            except FileNotFoundError:
                raise CheckpointError(
                    f"{folder} is damaged: {name} is missing. Use another checkpoint."
                ) from None
            except OSError as error:
                raise CheckpointError(
                    f"cannot read {folder / name}: {error.strerror}. Use another checkpoint."
                ) from None
            if found != manifest[name]:
                raise CheckpointError(
                    f"{folder} is damaged: {name} differs from its checksum. Use another one."
                )


def _read_manifest(folder: Path) -> dict[str, list[Any]]:
    """[size, checksum] of every file by name."""
    try:
        tree = json.loads((folder / MANIFEST).read_text("utf-8"))
        kind, files = (
            tree.get("checksum"),
            {name: [*entry] for name, entry in tree["files"].items()},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise CheckpointError(
            f"{folder} is not a complete checkpoint: it has no readable {MANIFEST}. "
            "Point at a folder written by a finished save."
        ) from None
    if kind != _KIND:
        raise CheckpointError(
            f"{folder} was written by a version with other checksums. Write it anew."
        )
    return files


class _DiskError(CheckpointError):
    """The disk refused something, and it may help to make room."""


@contextlib.contextmanager
def _told(rank: int) -> Iterator[None]:
    """Any failure as a CheckpointError that names its kind and the ranks that met it."""
    try:
        yield
    except ReftError:
        raise
    except (Exception, CheckpointException) as error:
        disk = any(_of_disk(failure) for failure in failures_of(error, rank).values())
        raise (_DiskError if disk else CheckpointError)(failure_text(error, rank)) from error


def _of_disk(error: BaseException) -> bool:
    # The names are in what torch's zip writer says of a full disk.
    zipped = ("PytorchStreamWriter", "inline_container")
    return isinstance(error, OSError) or any(name in str(error) for name in zipped)


def _digest(path: Path) -> list[Any]:
    """[size, checksum] of a file."""
    return [path.stat().st_size, checksum(path)]
