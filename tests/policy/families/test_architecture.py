"""Finding an architecture by name."""

from __future__ import annotations

import pytest

from reft_megatron.errors import ConfigError
from reft_megatron.policy.families import Architecture, find_architecture, presets


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
        "galactica-120b."
    )
