"""Tests that the paper's figures stand under their keys, by numbers read from its tables."""

from __future__ import annotations

import pytest

from reft_megatron.commands.reproduce.paper import PAPER


@pytest.mark.parametrize(
    ("key", "figure", "share", "table"),
    [
        ("v1/gsm8k-program/galactica-6.7b/SFT", "top-1", 0.571, "v1, table 2"),
        ("v1/gsm8k-nl/codellama-7b/ReFT", "top-1", 0.535, "v1, table 2"),
        ("v1/svamp-program/galactica-6.7b/Online-ST", "top-1", 0.737, "v1, table 2"),
        ("v1/mathqa-program/codellama-7b/Offline-ST", "top-1", 0.628, "v1, table 2"),
        ("v3/gsm8k-program/galactica-6.7b/ReFT", "top-1", 0.6891, "v3, table 2"),
        ("v3/mathqa-numeric-nl/galactica-6.7b/Offline-ST", "top-1", 0.4423, "v3, table 3"),
        ("v1/gsm8k-program/galactica-6.7b/SFT", "vote@100", 0.611, "v1, table 4"),
        ("v1/gsm8k-nl/galactica-6.7b/ReFT", "rerank@100", 0.628, "v1, table 4"),
        ("v3/gsm8k-program/codellama-7b/ReFT", "rerank@100", 0.812, "v3, table 4"),
        ("v1/mathqa-program/galactica-125m/ReFT", "top-1", 0.605, "v1, table 5"),
        ("v1/gsm8k-program/codellama-7b/ReFT with beta 0", "top-1", 0.0, "v1, table 6"),
    ],
)
def test_a_figure(key: str, figure: str, share: float, table: str) -> None:
    cell = PAPER[key][figure]
    assert (cell.share, cell.source) == (share, f"arXiv 2401.08967 {table}")


def test_tables_meet_under_one_key() -> None:
    assert set(PAPER["v1/gsm8k-program/galactica-6.7b/SFT"]) == {"top-1", "vote@100", "rerank@100"}
    assert set(PAPER["v1/svamp-program/galactica-6.7b/SFT"]) == {"top-1"}


def test_in_the_main_table_reft_is_ahead_of_sft_on_gsm8k() -> None:
    for version in ("v1", "v3"):
        for model in ("galactica-6.7b", "codellama-7b"):
            for form in ("nl", "program"):
                key = f"{version}/gsm8k-{form}/{model}"
                assert PAPER[f"{key}/ReFT"]["top-1"].share > PAPER[f"{key}/SFT"]["top-1"].share
