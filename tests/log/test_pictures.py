"""Tests of the choice of curves."""

from __future__ import annotations

import itertools

from reft_megatron.log.metrics import GLOSSARY
from reft_megatron.log.pictures import PICTURES

# No curve of their own: numbers that only grow, the line over the areas, a number of one moment.
WITHOUT_CURVE = {"train/epoch", "time/iteration", "eval/train_accuracy"}
WITHOUT_CURVE |= {"eval/rerank_accuracy", "eval/weighted_accuracy"}
WITHOUT_CURVE |= {"eval/rerank_auc", "eval/rerank_loss"}


def drawn() -> list[str]:
    panels = itertools.chain.from_iterable(picture.panels for picture in PICTURES)
    return [name for panel in panels for name in panel.lines]


def test_every_metric_has_exactly_one_curve():
    assert sorted(drawn()) == sorted(set(GLOSSARY) - WITHOUT_CURVE)


def test_the_lines_of_a_panel_share_their_unit():
    for picture in PICTURES:
        for panel in picture.panels:
            assert {GLOSSARY[name].unit for name in panel.lines} == {panel.unit}, panel.title


def test_keys_name_files_and_are_unique():
    keys = [picture.key for picture in PICTURES]
    assert len(set(keys)) == len(keys)
    assert all(key.isidentifier() for key in keys)


def test_every_picture_tells_how_to_read_it():
    assert all(picture.caption.endswith(".") for picture in PICTURES)
