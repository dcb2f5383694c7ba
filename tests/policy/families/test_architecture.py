"""Finding an architecture by name."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.policy.families import (
    Architecture,
    find_architecture,
    from_dict,
    presets,
    read_architecture,
)


def test_every_preset_is_found_under_its_name():
    for name in presets():
        found = find_architecture(name)
        assert isinstance(found, Architecture)
        assert found.name == name


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        find_architecture("galactica-6.7")
    assert str(caught.value) == (
        "unknown model.preset 'galactica-6.7'; the nearest is 'galactica-6.7b', all are "
        "galactica-tiny, galactica-125m, galactica-1.3b, galactica-6.7b, galactica-30b, "
        "galactica-120b, codellama-7b, codellama-13b, codellama-34b, codellama-70b."
    )


def test_an_architecture_survives_json():
    for size in presets().values():
        assert from_dict(json.loads(json.dumps(asdict(size)))) == size


def test_a_foreign_family_is_refused_by_name(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    with pytest.raises(CheckpointError, match=r"is of model type 'gpt_neox', and only opt, llama"):
        read_architecture(tmp_path)
