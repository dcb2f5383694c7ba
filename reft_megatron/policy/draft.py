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

from reft_megatron.errors import CheckpointError
from reft_megatron.files import checksum, sync, write_whole
from reft_megatron.mesh import Axis

__all__ = ["MANIFEST", "Draft", "check_manifest"]

MANIFEST = "manifest.json"
"""The file that makes a folder complete."""
_KIND = "xxh3_128"


class Draft:
    """A folder that every rank of `world` writes to, and that appears when it is published."""

    def __init__(self, folder: Path, world: Axis) -> None:
        """Make `<folder>.partial`, removing one that a killed process left; every rank calls.

        Raises CheckpointError, on every rank, if the folder cannot be made, or is there and is not
        empty.
        """
        self._folder, self._world = folder, world
        self.path = folder.with_name(folder.name + ".partial")
        with self.step("begun"):
            if world.first:
                if any(folder.iterdir()) if folder.is_dir() else folder.exists():
                    raise CheckpointError(f"{folder} exists already")
                shutil.rmtree(self.path, ignore_errors=True)
                self.path.mkdir(parents=True)

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
        failure, cause = "", None
        try:
            yield
        except CheckpointException as error:
            # torch's, which every rank gets if one of them could not write its weights.
            failure = ", ".join(f"rank {rank}: {e}" for rank, (e, _) in error.failures.items())
        except CheckpointError as error:
            failure = str(error).rstrip(".")
        except Exception as error:  # whatever it is: the other ranks are waiting
            failure, cause = f"rank {self._world.rank}: {error}", error
        failures = [text for text in self._world.gather_objects(failure) if text]
        if failures:
            if self._world.first:
                shutil.rmtree(self.path, ignore_errors=True)
            raise CheckpointError(
                f"the checkpoint could not be {what}: {failures[0]}. Earlier checkpoints are "
                "untouched; free disk space or choose another folder."
            ) from cause

    def publish(self) -> None:
        """Checksum every file, write the manifest and rename; every rank calls.

        Ranks share the reading. The main rank's list of files counts: on a network file system
        another node may not see all names yet.
        """
        found = sorted(str(p.relative_to(self.path)) for p in self.path.rglob("*") if p.is_file())
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
    failure = ""
    manifest: dict[str, list[Any]] = {}
    try:
        tree = json.loads((folder / MANIFEST).read_text())
        manifest = tree["files"]
        if tree.get("checksum") != _KIND:
            failure = f"{folder} was written by a version with other checksums. Write it anew."
            manifest = {}
    except (OSError, ValueError, KeyError):
        failure = (
            f"{folder} is not a complete checkpoint: it has no readable {MANIFEST}. "
            "Point at a folder written by a finished save."
        )
    names = sorted(name for name in manifest if not name.startswith(unread))
    for name in names[world.rank :: world.size]:
        try:
            if _digest(folder / name) != manifest[name]:
                failure = f"{folder} is damaged: {name} differs from its checksum. Use another one."
        except FileNotFoundError:
            failure = f"{folder} is damaged: {name} is missing. Use another checkpoint."
        except OSError as error:
            failure = f"cannot read {folder / name}: {error.strerror}. Use another checkpoint."
    failures = [text for text in world.gather_objects(failure) if text]
    if failures:
        raise CheckpointError(failures[0])


def _digest(path: Path) -> list[Any]:
    """[size, checksum] of a file."""
    return [path.stat().st_size, checksum(path)]
