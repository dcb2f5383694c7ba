"""A folder that is whole or absent; what ranks do together is tested with checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy.draft import Draft, check_manifest


def write(folder: Path) -> None:
    assert not folder.exists()
    write_into(folder)


def write_into(folder: Path) -> None:
    """Publish it where nothing is, or an empty folder."""
    draft = Draft(folder, Axis())
    with draft.step("written"):
        draft.put("a.txt", b"one")
        draft.put("inner/b.txt", b"two")
    assert not (folder / "a.txt").exists()
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
        (lambda folder: (folder / "manifest.json").write_text("[1]"), "has no readable manifest"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "has no readable manifest"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"files": {"a.txt": "sha"}}'),
            r"was written by a version with other checksums\. Write it anew\.$",
        ),
    ],
)
def test_damage_is_found(tmp_path: Path, damage, told: str):
    write(tmp_path / "ckpt")
    damage(tmp_path / "ckpt")
    with pytest.raises(CheckpointError, match=told):
        check_manifest(tmp_path / "ckpt", Axis())


ADVICE = "; free disk space or choose another folder"


@pytest.mark.parametrize(
    ("error", "told", "advice"),
    [
        (OSError(28, "no room"), "rank 0: OSError: [Errno 28] no room", ADVICE),
        (KeyError("a bug"), "rank 0: KeyError: 'a bug'", ""),
        (CheckpointError("bad."), "bad", ""),
    ],
)
def test_a_failed_step_leaves_nothing(tmp_path: Path, error: Exception, told: str, advice: str):
    draft = Draft(tmp_path / "ckpt", Axis())
    draft.put("a.txt", b"one")
    with pytest.raises(CheckpointError) as caught, draft.step("written"):
        raise error
    assert str(caught.value) == (
        f"the checkpoint could not be written: {told}. Earlier checkpoints are untouched{advice}."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_at_once(tmp_path: Path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=300)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    Draft(tmp_path / "small", Axis(), nbytes=300)
    with pytest.raises(CheckpointError) as caught:
        Draft(tmp_path / "ckpt", Axis(), nbytes=301)
    assert str(caught.value) == (
        "the checkpoint could not be begun: 301 bytes are wanted and 300 are free in "
        f"{tmp_path / 'ckpt'}. Earlier checkpoints are untouched{ADVICE}."
    )


def test_the_folder_one_stands_in_has_a_name_too(tmp_path: Path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_into(Path("."))
    check_manifest(tmp_path / "here", Axis())


def test_what_is_there_is_not_replaced_and_what_was_half_written_is(tmp_path: Path):
    (tmp_path / "ckpt.partial").mkdir()
    (tmp_path / "ckpt.partial" / "rubbish").write_text("x")
    write(tmp_path / "ckpt")
    assert not (tmp_path / "ckpt" / "rubbish").exists()
    with pytest.raises(CheckpointError, match="ckpt exists already"):
        Draft(tmp_path / "ckpt", Axis())
