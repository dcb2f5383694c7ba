"""What the benchmark of generation has generated: where it comes from, and its lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_megatron.errors import ConfigError
from reft_megatron.tokenizer import load_tokenizer
from tools.generate_bench.workload import Workload, _body, make_workload


def make(folder: Path, data: Path, **changes: Any) -> Workload:
    asked = {"prompts": 6, "samples": 3, "most": 90, "mean": 0.0, "seed": 5, **changes}
    return make_workload(folder, model="tiny", data=data, **asked)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return make(tmp_path_factory.mktemp("generated"), Path("nowhere"))


def test_without_data_all_of_it_is_generated(generated: Workload):
    assert len(generated.prompts) == 6
    assert {p.samples for p in generated.prompts} == {(0, 1, 2)}
    assert len(generated.lengths) == 18
    assert (
        generated.tokens == sum(generated.of(generated.prompts)) == sum(generated.lengths.values())
    )
    assert generated.longest == 90
    assert len(set(generated.lengths.values())) > 5
    assert generated.told == (
        "Questions: 6 of the arithmetic task, for want of gsm8k/test.jsonl. Response lengths: "
        "log-normal, of mean 120 and median 110 tokens, which programs that models write for GSM8K "
        "have, for want of programs/real.jsonl.gz."
    )


def test_drawn_lengths_are_as_long_as_told(tmp_path: Path):
    many = make(tmp_path, Path("nowhere"), prompts=100, samples=40, most=10_000)
    lengths = np.array(list(many.lengths.values()))
    # Four thousand draws with a deviation of 52: the mean is known to 0.8.
    assert abs(lengths.mean() - 120) < 4
    assert abs(np.median(lengths) - 110) < 4


def test_the_same_seed_asks_the_same(tmp_path: Path, generated: Workload):
    again = make(tmp_path, Path("nowhere"))
    assert again.lengths == generated.lengths
    assert [p.token_ids.tolist() for p in again.prompts] == [
        p.token_ids.tolist() for p in generated.prompts
    ]
    assert make(tmp_path, Path("nowhere"), seed=6).lengths != generated.lengths


def test_lengths_can_be_stretched(tmp_path: Path):
    long = make(tmp_path, Path("nowhere"), mean=300.0, most=5000)
    assert abs(long.tokens / len(long.lengths) - 300) < 1
    assert max(long.lengths.values()) > 400


@pytest.mark.shared_data
def test_with_data_all_of_it_is_real(tmp_path: Path, shared_data: Path):
    real = make(tmp_path, shared_data, prompts=64, samples=4, most=400)
    assert real.told == (
        "Questions: 64 of GSM8K's test set. Response lengths: those of 4,791 programs that models "
        "wrote for GSM8K, without comments."
    )
    text = load_tokenizer(tmp_path / "tokenizer.model").decode(real.prompts[0].token_ids.tolist())
    assert text.startswith("Question:\n")
    assert "def solution():" in text
    assert 90 < real.tokens / len(real.lengths) < 150
    with pytest.raises(ConfigError, match=r"--prompts is 2000, and .* has 1319 questions"):
        make(tmp_path, shared_data, prompts=2000)


def test_a_response_goes_on_after_the_docstring():
    assert _body('def solution():\n    """Why?"""\n    return 1') == "    return 1"
    assert _body("def solution():\n    return 1") == "def solution():\n    return 1"
    other = 'def solution():\n    a = 1\n    """Why?"""\n    return a'
    assert _body(other) == other
