"""A config.json that is read to its last key."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families.config_file import ConfigFile


def file(**tree: object) -> ConfigFile:
    return ConfigFile("config.json", tree)


def test_values_have_types_and_defaults():
    opened = file(rows=3, rate=1000000, name=None, on=True)
    assert opened.take("rows", int) == 3
    assert opened.take("rate", float) == 1e6
    assert opened.take("name", str, "none") == "none"
    assert opened.take("on", bool) is True
    opened.finish()


@pytest.mark.parametrize(("key", "value"), [("rows", True), ("rows", "3"), ("rows", None)])
def test_a_value_of_another_type_is_refused(key: str, value: object):
    with pytest.raises(CheckpointError, match=r"^config.json: rows = .* int wanted\.$"):
        file(**{key: value}).take("rows", int)


def test_null_is_what_it_means():
    opened = file(window=None)
    assert opened.take("window", int, 3) == 3
    assert opened.take("window", int, 3, null=0) == opened.count("window", 3, null=0) == 0
    assert opened.count("rows", 3, null=1) == 3
    for value in (0, -2):
        with pytest.raises(CheckpointError, match=r"window = .* a positive number wanted\.$"):
            file(window=value).count("window", 3, null=0)
    with pytest.raises(CheckpointError, match=r"window = None .* int wanted\.$"):
        opened.count("window")


def test_what_nobody_took_is_refused_if_it_says_something():
    file(left=0, other=None, lists=[], use_cache=True).finish()
    with pytest.raises(CheckpointError, match=r"left = 0.5 is not supported"):
        file(left=0.5).finish()


def test_a_folder_without_the_file_says_what_is_wanted(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"No such file.*Point at a Hugging Face folder"):
        ConfigFile.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not valid JSON"):
        ConfigFile.open(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="must hold a JSON object"):
        ConfigFile.open(tmp_path)
