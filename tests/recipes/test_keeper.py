"""Which checkpoints stay, which one a run goes on from, and what a kill can leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reft_megatron.config import load_config
from reft_megatron.errors import CheckpointError
from reft_megatron.policy import Policy, join
from reft_megatron.recipes.keeper import CheckpointKeeper
from reft_megatron.tokenizer import load_tokenizer
from tests.ranks import Ranks

pytestmark = pytest.mark.megatron


class Scene:
    """A keeper with a policy, on this rank."""

    def __init__(self, folder: str, tokenizer: str) -> None:
        config = load_config(None, ["checkpoint.keep_last=2"])
        mesh = join(config.parallel, seed=0, timeout_s=60, threads=1)
        self.folder = Path(folder, "checkpoints")
        self.policy = Policy(config, mesh, load_tokenizer(tokenizer), total_steps=9)
        self.keeper = CheckpointKeeper(self.folder, config.checkpoint)

    def save(self, step: int, best_step: int) -> list[str]:
        """The folder after a save."""
        self.keeper.save(self.policy, {"step": step, "best_step": best_step})
        return self.listing()

    def listing(self) -> list[str]:
        found = sorted(self.folder.iterdir())
        return [f"{p.name}->{p.readlink()}" if p.is_symlink() else p.name[-3:] for p in found]


def play_five_saves(folder: str, tokenizer: str) -> list[list[str]]:
    scene = Scene(folder, tokenizer)
    return [scene.save(step, best) for step, best in ((1, 0), (2, 2), (3, 2), (4, 2), (5, 5))]


def test_recent_and_best_stay(ranks: Ranks, tmp_path: Path, tokenizer_path: Path) -> None:
    (found,) = ranks(1, play_five_saves, str(tmp_path), str(tokenizer_path))
    two, three, four, five = (f"step_{n:08d}" for n in (2, 3, 4, 5))
    assert found == [
        ["latest->step_00000001", "001"],
        [f"best->{two}", f"latest->{two}", "001", "002"],
        [f"best->{two}", f"latest->{three}", "002", "003"],
        [f"best->{two}", f"latest->{four}", "002", "003", "004"],
        [f"best->{five}", f"latest->{five}", "004", "005"],
    ]


def play_a_kill(folder: str, tokenizer: str) -> tuple[object, list[str], list[str]]:
    """Killed after the manifest of step 2, its best, and before the links; and later in a save."""
    scene = Scene(folder, tokenizer)
    scene.save(1, 1)
    scene.save(2, 2)
    for name in ("latest", "best"):
        (scene.folder / name).unlink()
        (scene.folder / name).symlink_to("step_00000001")
    shutil.copytree(scene.folder / "step_00000002", scene.folder / "step_00000003")
    (scene.folder / "step_00000003" / "manifest.json").unlink()
    (scene.folder / "step_00000004.partial").mkdir()
    progress = scene.keeper.resume(scene.policy, enabled=True)
    return progress, scene.listing(), scene.save(3, 2)


def test_a_kill_is_mended(ranks: Ranks, tmp_path: Path, tokenizer_path: Path) -> None:
    (found,) = ranks(1, play_a_kill, str(tmp_path), str(tokenizer_path))
    best = "best->step_00000002"
    assert found == (
        {"step": 2, "best_step": 2},
        [best, "latest->step_00000002", "001", "002", "003"],
        [best, "latest->step_00000003", "002", "003"],
    )


def play_saves_twice(folder: str, tokenizer: str) -> bool:
    scene = Scene(folder, tokenizer)
    scene.save(1, 0)
    manifest = scene.folder / "step_00000001" / "manifest.json"
    before = manifest.stat()
    scene.save(1, 1)
    return manifest.stat() == before


def test_what_is_saved_is_not_saved_again(
    ranks: Ranks, tmp_path: Path, tokenizer_path: Path
) -> None:
    assert ranks(1, play_saves_twice, str(tmp_path), str(tokenizer_path)) == [True]


def play_refusals(folder: str, tokenizer: str) -> tuple[object, bool, bool, str]:
    scene = Scene(folder, tokenizer)
    fresh = scene.keeper.resume(scene.policy, enabled=False)
    unused = scene.keeper.used
    scene.save(1, 0)
    with pytest.raises(CheckpointError) as caught:
        scene.keeper.resume(scene.policy, enabled=False)
    return fresh, unused, scene.keeper.used, str(caught.value)


def test_a_used_folder_is_refused(ranks: Ranks, tmp_path: Path, tokenizer_path: Path) -> None:
    (found,) = ranks(1, play_refusals, str(tmp_path), str(tokenizer_path))
    assert found == (
        {},
        False,
        True,
        f"{tmp_path}/checkpoints already holds checkpoints and run.resume is false. Set "
        "run.resume=true to continue, or choose another run.name.",
    )
