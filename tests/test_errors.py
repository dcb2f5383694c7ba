"""Tests of the named errors."""

from __future__ import annotations

import pytest

from reft_megatron import errors


def test_one_base_catches_every_error_and_the_message_stays_whole() -> None:
    names = [name for name in errors.__all__ if name != "ReftError"]
    assert names == ["CheckpointError", "ConfigError", "DataError", "TrainingError"]
    for name in names:
        with pytest.raises(errors.ReftError) as error:
            raise getattr(errors, name)("saw 3, wanted 2: lower it")
        assert str(error.value) == "saw 3, wanted 2: lower it"


def test_one_kind_does_not_catch_another() -> None:
    kinds = [errors.CheckpointError, errors.ConfigError, errors.DataError, errors.TrainingError]
    related = [(a, b) for a in kinds for b in kinds if a is not b and issubclass(a, b)]
    assert related == []
