"""Tests of what counts for a stage, and of its record."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.identity import (
    Identity,
    Record,
    identity_of,
    read_record,
    write_record,
)
from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.errors import DataError
from tests.commands.reproduce.pipelines import write_pipeline

DIGESTS = {"tokens": "aa", "warmup": "bb"}


def identity(
    folder: Path, *changes: tuple[str, str], overrides: tuple[str, ...] = (), stage: str = "reft"
) -> Identity:
    pipeline = read_pipeline(write_pipeline(folder, *changes), overrides=overrides)
    return identity_of(pipeline, pipeline.stages[stage], 1, digests=DIGESTS)


def test_where_and_how_a_run_is_done_does_not_count(tmp_path: Path) -> None:
    """An audit lets a run start, or not; `built` is no file."""
    how = ("parallel.tensor=2", "generate.slots=7", "log.table_every=9", "rewards.audit=built")
    first, moved = identity(tmp_path / "a"), identity(tmp_path / "b", overrides=how)
    assert (first.changes(moved), first.digest) == ([], moved.digest)


def test_settings_of_other_recipes_do_not_count_unless_a_judge_reads_them(tmp_path: Path) -> None:
    for stage, setting in (("warmup", "ppo.lam=0.5"), ("reft", "sft.epochs=9")):
        found = [identity(tmp_path, overrides=o, stage=stage) for o in ((), (setting,))]
        assert found[0].digest == found[1].digest
    first, second = (
        identity(tmp_path, ("recipe: ppo", "recipe: online_sl"), overrides=overrides)
        for overrides in ((), ("ppo.truncated_reward=zero",))
    )
    assert first.changes(second) == ["ppo.truncated_reward: 'keep' -> 'zero'"]


def test_what_an_older_version_counted_too_much_of_is_no_change(tmp_path: Path) -> None:
    now = identity(tmp_path, stage="warmup")
    then = dataclasses.replace(now, settings=dict(now.settings) | {"ppo.lam": 0.5})
    assert then.changes(now) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("test_size: 8", "test_size: 9"), "task.test_size: 8 -> 9"),
        (("warmup:latest", "warmup:best"), "model.load: warmup:latest -> warmup:best"),
        (("recipe: ppo", "recipe: online_sl"), "ppo -> online_sl"),
    ],
)
def test_what_counts_is_named(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    first, second = identity(tmp_path), identity(tmp_path, change)
    assert first.changes(second) == [told]
    assert first.digest != second.digest


def test_an_input_made_otherwise_is_another_input(tmp_path: Path) -> None:
    first = identity(tmp_path)
    other = dict(first.inputs) | {"model.load": ("warmup:latest", "cc")}
    second = dataclasses.replace(first, inputs=other)
    assert first.changes(second) == ["model.load: warmup:latest has changed"]
    assert first.digest != second.digest


def test_the_content_of_files_counts_and_their_place_does_not(tmp_path: Path) -> None:
    data = {name: tmp_path / f"{name}.json" for name in "ab"}
    for path in data.values():
        path.write_text("[1]")
    first, moved = (identity(tmp_path, overrides=(f"task.train={p}",)) for p in data.values())
    assert (first.changes(moved), first.digest) == ([], moved.digest)
    folders = [tmp_path / name for name in ("one", "two")]
    for number, folder in enumerate(folders):
        (folder / "weights").mkdir(parents=True)
        (folder / "weights" / "shard").write_text(f"{number}")
    one, two = (identity(tmp_path, overrides=(f"model.reference={f}",)) for f in folders)
    assert one.changes(two) == ["model.reference: the content of what it names has changed"]
    assert one.digest != two.digest


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^stage reft: task.train names none.json, which is not"):
        identity(tmp_path, overrides=("task.train=none.json",))


def test_a_commands_text_and_files_count(tmp_path: Path) -> None:
    found = []
    for number, change in enumerate([("cp ", "cp "), ("cp ", "cp -v "), ("cp ", "cp {seed} ")]):
        pipeline = read_pipeline(write_pipeline(tmp_path, change))
        if number == 2:
            assert identity_of(pipeline, pipeline.stages["tokens"], 7, digests={}).settings == {
                "seed": 7
            }
        found.append(identity_of(pipeline, pipeline.stages["tokens"], 1, digests={}))
    assert len({one.digest for one in found}) == 3
    assert list(found[0].files) == [str(tmp_path / "source.model")]


def test_a_setting_of_another_version_counts_if_it_is_not_at_its_default(tmp_path: Path) -> None:
    now = identity(tmp_path)
    older = {key: value for key, value in now.settings.items() if key != "ppo.lam"}
    then = dataclasses.replace(now, settings=older | {"ppo.gone": 3})
    assert then.changes(now) == []
    raised = dataclasses.replace(now, settings=dict(now.settings) | {"ppo.lam": 0.5})
    assert then.changes(raised) == ["ppo.lam: 0.95 -> 0.5"]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    record = Record(identity=identity(tmp_path), seconds=3.5)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert json.loads((tmp_path / "stage.json").read_text())["digest"] == record.identity.digest
    (tmp_path / "stage.json").write_text("{}")
    with pytest.raises(DataError, match=r"is no record of a stage \(KeyError"):
        read_record(tmp_path)
