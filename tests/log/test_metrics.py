"""Tests of the list of metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.log.metrics import (
    GLOSSARY,
    check_names,
    glossary_markdown,
    is_timing,
    value_text,
)
from reft_megatron.types import Reason


def test_the_document_is_the_glossary():
    document = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert document.read_text() == glossary_markdown()


def test_every_name_is_in_the_document_once():
    for name in GLOSSARY:
        assert glossary_markdown().count(f"| `{name}` |") == 1


def test_every_reason_has_its_share():
    shares = [name for name in GLOSSARY if name.startswith("verdict/")]
    assert shares == [f"verdict/{reason}" for reason in Reason]


def test_every_phase_with_a_speed_has_a_time():
    speeds = [name for name in GLOSSARY if name.endswith("_tokens_per_s")]
    for name in speeds:
        assert f"time/{name[6:].removesuffix('_tokens_per_s')}" in GLOSSARY


def test_meanings_are_one_line_without_a_stop():
    for name, metric in GLOSSARY.items():
        assert metric.unit, name
        assert metric.meaning[-1] != ".", name
        assert "\n" not in metric.meaning, name
        assert "|" not in metric.meaning, name


def test_an_unknown_name_is_refused_with_the_nearest():
    check_names(GLOSSARY)
    with pytest.raises(KeyError) as error:
        check_names(["reward/mean", "reward/acuracy"])
    assert error.value.args == (
        "unknown metric reward/acuracy; the nearest known one is reward/accuracy. "
        "Add new metrics to reft_megatron/log/metrics.py.",
    )


def test_timings_are_told_apart():
    assert [n for n in ("time/update", "speed/score_tokens_per_s", "train/lr") if is_timing(n)] == [
        "time/update",
        "speed/score_tokens_per_s",
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("reward/accuracy", 0.4123, "41.2%"),
        ("train/epoch", 123456.0, "123,456"),
        ("response/length", 23.287, "23.29"),
        ("train/lr", 3e-7, "3e-07"),
        ("value/explained_variance", -0.5, "-0.5"),
        ("train/loss", float("nan"), "nan"),
    ],
)
def test_values_are_written_for_people(name: str, value: float, text: str):
    assert value_text(name, value) == text
