"""A folder that is whole or absent; what ranks do together is tested with checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy.draft import Draft, check_manifest


def write(folder: Path) -> None:
    draft = Draft(folder, Axis())
    with draft.step("written"):
        draft.put("a.txt", b"one")
        draft.put("inner/b.txt", b"two")
    assert not folder.exists()
    draft.publish()


def test_a_published_folder_is_whole_and_says_so(tmp_path: Path):
    write(tmp_path / "ckpt")
    files = json.loads((tmp_path / "ckpt" / "manifest.json").read_text())["files"]
    assert {name: size for name, (size, _) in files.items()} == {"a.txt": 3, "inner/b.txt": 3}
    check_manifest(tmp_path / "ckpt", Axis())
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "a.txt").write_text("onf"), "a.txt differs from its checksum"),
        (lambda folder: (folder / "a.txt").unlink(), "a.txt is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "is not a complete checkpoint"),
    ],
)
def test_damage_is_found(tmp_path: Path, damage, told: str):
    write(tmp_path / "ckpt")
    damage(tmp_path / "ckpt")
    with pytest.raises(CheckpointError, match=told):
        check_manifest(tmp_path / "ckpt", Axis())


@pytest.mark.parametrize("error", [OSError("no room"), KeyError("a bug"), CheckpointError("bad.")])
def test_a_failed_step_leaves_nothing(tmp_path: Path, error: Exception):
    draft = Draft(tmp_path / "ckpt", Axis())
    draft.put("a.txt", b"one")
    wanted = pytest.raises(CheckpointError, match=r"could not be written: .*; free disk space")
    with wanted, draft.step("written"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced_and_what_was_half_written_is(tmp_path: Path):
    (tmp_path / "ckpt.partial").mkdir()
    (tmp_path / "ckpt.partial" / "rubbish").write_text("x")
    write(tmp_path / "ckpt")
    assert not (tmp_path / "ckpt" / "rubbish").exists()
    with pytest.raises(CheckpointError, match="ckpt exists already"):
        Draft(tmp_path / "ckpt", Axis())
