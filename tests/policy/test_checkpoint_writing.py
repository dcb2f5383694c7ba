"""What a save leaves: all of a checkpoint, or nothing, also where the disk refuses."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from reft_megatron.errors import CheckpointError
from tests.policy.scene import LAYOUTS, ONE, Layout, open_other, open_policy


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_manifest_lists_every_file(saved: Path):
    files = json.loads((saved / "manifest.json").read_text())["files"]
    assert files.keys() == snapshot(saved).keys() - {"manifest.json"}
    assert {"meta.json", "random/rank_0.pt"} < files.keys()
    assert [p.name for p in saved.parent.iterdir()] == ["ckpt"], "nothing is left beside it"


def test_an_existing_checkpoint_is_never_overwritten(saved: Path):
    before = snapshot(saved)
    with pytest.raises(CheckpointError) as caught:
        open_other(ONE).save(saved, extra={})
    partial = saved.with_name("ckpt.partial")
    assert str(caught.value) == (
        f"the checkpoint could not be begun: {saved} exists already; choose another folder. "
        "Earlier checkpoints are untouched."
    )
    assert snapshot(saved) == before
    assert not partial.exists()


def test_what_would_come_back_as_another_thing_is_not_saved(alone, tmp_path: Path):
    with pytest.raises(CheckpointError, match="TypeError: Object of type PosixPath is not JSON"):
        open_policy(ONE).save(tmp_path / "ckpt", extra={"best": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_the_rest_of_a_killed_save_is_swept_away(alone, tmp_path: Path):
    (tmp_path / "ckpt.partial" / "weights").mkdir(parents=True)
    (tmp_path / "ckpt.partial" / "weights" / "rubbish").write_text("x")
    open_policy(ONE).save(tmp_path / "ckpt", extra={})
    assert not (tmp_path / "ckpt" / "weights" / "rubbish").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["ckpt"]


def play_a_full_disk(layout: Layout, folder: Path, limit: int, where: int) -> str:
    """Save once, then again with files of rank `where` limited to `limit` bytes."""
    policy = open_policy(layout)
    policy.save(folder / "first", extra={})
    if policy.mesh.world.rank == where:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    message = ""
    try:
        policy.save(folder / "second", extra={})
    except CheckpointError as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    open_other(layout).load(folder / "first", weights_only=False)
    policy.save(folder / "third", extra={})
    return message


@pytest.mark.megatron
@pytest.mark.parametrize(
    ("name", "limit", "where", "what"),
    [
        ("1", 1_500_000, 0, "written: rank 0: "),
        ("pp2", 0, 0, "begun: "),
        ("pp2", 1_200_000, 0, "written: rank 0: "),
        ("pp2", 0, 1, "written: rank 1: "),
    ],
    ids=["one rank", "first rank at once", "first rank later", "second rank"],
)
def test_no_room_is_told_on_every_rank(ranks, tmp_path: Path, *, name, limit, where, what):
    layout = LAYOUTS[name]
    messages = ranks(layout.world, play_a_full_disk, layout, tmp_path, limit, where)
    assert len(set(messages)) == 1
    head, _, tail = messages[0].partition(". Earlier checkpoints")
    assert head.startswith(f"the checkpoint could not be {what}")
    assert "\n" not in head
    assert tail == " are untouched; free disk space or choose another folder."
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "third"]


def play_no_folder(layout: Layout, folder: Path) -> str:
    policy = open_policy(layout)
    try:
        policy.save(folder, extra={})
    except CheckpointError as error:
        return str(error)
    return "saved"


@pytest.mark.megatron
def test_a_place_that_cannot_be_made_is_told_on_every_rank(ranks, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    place = tmp_path / "file" / "ckpt"
    assert (
        ranks(2, play_no_folder, LAYOUTS["tp2"], place)
        == [
            "the checkpoint could not be begun: rank 0: NotADirectoryError: [Errno 20] Not a "
            f"directory: '{place}.partial'. Earlier checkpoints are untouched; free disk space or "
            "choose another folder."
        ]
        * 2
    )
