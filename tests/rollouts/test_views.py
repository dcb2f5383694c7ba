"""What is chosen from rollouts, and that it does not depend on who wrote them or where."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.errors import DataError
from reft_megatron.mesh import Mesh
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.rollouts.schema import to_table
from reft_megatron.rollouts.training_set import TrainingSet
from reft_megatron.rollouts.views import Source, correct, every, labelled, normalised
from reft_megatron.types import Reason, Rollout, Verdict
from tests.rollouts.scene import make_rollout

RIGHT, WRONG = Verdict(reason=Reason.CORRECT, value=1.0), Verdict(reason=Reason.WRONG_VALUE)
TEXTS = ("    return 1", "    return 1  \n\n", "    return 1 + 0", "    return 2")
"""The first two are the same; the last is wrong."""


def _rollout(number: int, sample: int, *, version: int = 0) -> Rollout:
    text = TEXTS[(number + 3 * sample + version) % 4]
    return make_rollout(
        number,
        sample,
        text=text,
        verdict=WRONG if text == TEXTS[3] else RIGHT,
        policy_version=version,
    )


ROLLOUTS = [
    _rollout(number, sample, version=version)
    for version in (0, 8)
    for number in range(12)
    for sample in range(4)
]


def _source(rollouts: Sequence[Rollout], *, size: int = 7) -> Source:
    """The rollouts as a source of small batches."""

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rollouts), size):
            chunk = to_table(rollouts[start : start + size])
            yield from chunk.select(columns).to_batches()

    return batches


def _key(rollout: Rollout) -> tuple[str, int, int]:
    completion = rollout.completion
    return completion.problem_id, rollout.policy_version, completion.sample


def _tokens(rollout: Rollout) -> list[int]:
    return [*rollout.completion.prompt_ids, *rollout.completion.token_ids]


def _held(chosen: TrainingSet) -> list[tuple[str, list[int]]]:
    return [(chosen.problem_id(i), chosen.tokens(i).tolist()) for i in range(len(chosen))]


def _wanted(rollouts: Sequence[Rollout]) -> list[tuple[str, list[int]]]:
    return [(r.completion.problem_id, _tokens(r)) for r in sorted(rollouts, key=_key)]


def _unique(rollouts: Sequence[Rollout]) -> list[Rollout]:
    found: dict[tuple[str, str], Rollout] = {}
    for rollout in sorted(rollouts, key=_key):
        found.setdefault((rollout.completion.problem_id, normalised(rollout.text)), rollout)
    return list(found.values())


def test_right_rollouts_are_chosen_in_order_of_problem_and_age():
    right = [rollout for rollout in ROLLOUTS if rollout.verdict.correct]
    with correct(_source(ROLLOUTS[::-1]), unique=False) as chosen:
        assert _held(chosen) == _wanted(right)
        assert chosen.left_out == {"wrong": len(ROLLOUTS) - len(right), "recorded twice": 0}
        assert chosen.labels is None
        assert chosen.lengths.tolist() == [len(tokens) for _, tokens in _wanted(right)]


def test_one_of_each_text_of_a_problem():
    right = [rollout for rollout in ROLLOUTS if rollout.verdict.correct]
    with correct(_source(ROLLOUTS), unique=True) as chosen:
        assert _held(chosen) == _wanted(_unique(right))
        assert chosen.left_out["same text"] == len(right) - len(chosen) > 0


def test_labels_go_with_every_rollout():
    twice = [*ROLLOUTS, *ROLLOUTS[:5]]
    with labelled(_source(twice), unique=False) as chosen:
        assert _held(chosen) == _wanted(ROLLOUTS)
        assert chosen.labels is not None
        labels = [rollout.verdict.correct for rollout in sorted(ROLLOUTS, key=_key)]
        assert chosen.labels.tolist() == labels
        assert chosen.left_out == {"recorded twice": 5}
    with labelled(_source(twice), unique=True) as chosen:
        assert _held(chosen) == _wanted(_unique(ROLLOUTS))


def test_all_of_them_in_the_order_of_the_source():
    """Whatever is said twice, recorded twice, or of one label alone."""
    mixed = [*ROLLOUTS[::-3], *ROLLOUTS[:5], *ROLLOUTS[:5]]
    wrong = [make_rollout(number, 0, verdict=WRONG) for number in (4, 1, 3)]
    for rollouts in (mixed, wrong, []):
        with every(_source(rollouts), memory_mb=0) as chosen:
            assert _held(chosen) == [(r.completion.problem_id, _tokens(r)) for r in rollouts]
            assert chosen.labels is not None
            assert chosen.labels.tolist() == [r.verdict.correct for r in rollouts]
            prompts = [chosen.prompt(i).tolist() for i in range(len(chosen))]
            assert prompts == [r.completion.prompt_ids.tolist() for r in rollouts]


@settings(max_examples=50, deadline=None)
@given(
    order=st.permutations(range(len(ROLLOUTS))),
    size=st.integers(1, 100),
    unique=st.booleans(),
    per_problem=st.integers(1, 5),
    seed=st.integers(0, 3),
)
def test_the_choice_depends_on_the_rollouts_alone(
    order: list[int], size: int, unique: bool, per_problem: int, seed: int
):
    options = {"unique": unique, "per_problem": per_problem, "seed": seed}
    with (
        correct(_source(ROLLOUTS), **options) as first,
        correct(_source([ROLLOUTS[i] for i in order], size=size), **options) as second,
    ):
        assert _held(first) == _held(second)
        problems = [first.problem_id(i) for i in range(len(first))]
        assert max(map(problems.count, problems)) <= per_problem
        assert sum(first.left_out.values()) + len(first) == len(ROLLOUTS)


def test_the_draw_has_a_seed_and_favours_nobody():
    rollouts = [
        make_rollout(number, sample, text=f"return {sample}", verdict=RIGHT)
        for number in range(100)
        for sample in range(10)
    ]
    drawn = []
    for seed in (0, 1):
        with correct(_source(rollouts), unique=True, per_problem=3, seed=seed) as chosen:
            drawn.append(_held(chosen))
    assert drawn[0] != drawn[1]
    samples = {tuple(_tokens(r)): r.completion.sample for r in rollouts}
    counts = [0] * 10
    for _, tokens in drawn[0]:
        counts[samples[tuple(tokens)]] += 1
    assert sum(counts) == 300
    # The texts, and so the draws, are the same for all problems: three samples have all.
    assert sorted(counts)[-3:] == [100] * 3


def test_what_says_the_same_as_gold_is_left_out():
    """Before any are chosen, so that it takes nobody's place."""
    right = [rollout for rollout in ROLLOUTS if rollout.verdict.correct]
    gold = {"gsm8k_003": TEXTS[1], "gsm8k_004": "    return 9", "gsm8k_999": TEXTS[0]}
    others = [
        r
        for r in right
        if r.completion.problem_id != "gsm8k_003" or normalised(r.text) != normalised(TEXTS[0])
    ]
    with correct(_source(ROLLOUTS[::-1]), unique=False, gold=gold) as chosen:
        assert _held(chosen) == _wanted(others)
        assert chosen.left_out["same as gold"] == len(right) - len(others) > 0
    rollouts = [make_rollout(0, n, text=TEXTS[n], verdict=RIGHT) for n in range(3)]
    with correct(_source(rollouts), unique=True, gold={"gsm8k_000": TEXTS[0]}) as chosen:
        assert _held(chosen) == _wanted(rollouts[2:])
        assert list(chosen.names) == ["gsm8k_000"]
    with correct(_source(rollouts[:2]), unique=True, gold={"gsm8k_000": TEXTS[0]}) as chosen:
        assert len(chosen) == 0
        assert list(chosen.names) == ["gsm8k_000"], "it was solved all the same"


def test_the_first_samples_are_taken_if_asked():
    rollouts = [
        make_rollout(number, sample, text=f"return {sample // 2}", verdict=RIGHT)
        for number in range(5)
        for sample in range(10)
    ]
    options = {"unique": True, "per_problem": 3, "pick": "first"}
    with correct(_source(rollouts[::-1]), **options) as chosen:
        first = [r for r in rollouts if r.completion.sample in (0, 2, 4)]
        assert _held(chosen) == _wanted(first)


def test_it_is_known_which_responses_ended():
    rollouts = [make_rollout(0, n, verdict=RIGHT, finished=n % 3 == 0) for n in range(6)]
    with correct(_source(rollouts[::-1]), unique=True) as chosen:
        assert chosen.finished.tolist() == [True, False, False] * 2


def test_a_ledger_of_any_layout_is_read_alike(tmp_path: Path):
    held = []
    for data_size in (1, 3):
        ledger = Ledger(tmp_path / str(data_size))
        for iteration, version in enumerate((0, 8), 1):
            rollouts = [r for r in ROLLOUTS if r.policy_version == version]
            for rank in range(data_size):
                ledger.append(iteration, rank, rollouts[rank::data_size])
            ledger.seal(iteration, data_size=data_size)
        # Nothing in memory but the newest chunk.
        with labelled(ledger.batches, unique=True, memory_mb=0, folder=tmp_path) as chosen:
            held.append((_held(chosen), chosen.labels.tolist()))
    assert held[0] == held[1]
    assert held[0][0] == _wanted(_unique(ROLLOUTS))


def test_the_live_buffer_is_read_like_a_ledger():
    buffer = RolloutBuffer(Mesh.single(), pad_id=1)
    young = [rollout for rollout in ROLLOUTS if rollout.policy_version == 8]
    buffer.fill(young)
    right = [rollout for rollout in young if rollout.verdict.correct]
    with correct(buffer.batches, unique=True) as chosen:
        assert _held(chosen) == _wanted(_unique(right))


@pytest.mark.parametrize("verdict", [RIGHT, WRONG])
def test_a_reranker_needs_right_and_wrong(verdict: Verdict):
    rollouts = [make_rollout(number, 0, verdict=verdict) for number in range(5)]
    with pytest.raises(DataError) as caught:
        labelled(_source(rollouts), unique=True)
    assert str(caught.value) == (
        f"of 5 rollouts {5 * verdict.correct} are right: a reranker learns from right and wrong "
        "ones. Sample more, or from an earlier checkpoint."
    )


def test_none_may_be_right():
    with correct(_source([make_rollout(0, 0, verdict=WRONG)]), unique=True) as chosen:
        assert len(chosen) == 0
        assert chosen.left_out["wrong"] == 1
        (batch,) = chosen.micro_batches([], mesh=Mesh.single(), pad_id=1, max_tokens=9, packed=True)
        assert not batch.fields["weights"].any()


def test_rollouts_that_change_while_they_are_read_are_noticed():
    calls = itertools.count()

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return _source(ROLLOUTS[next(calls) :])(columns)

    with pytest.raises(DataError, match="96 rollouts became 95 while they were read; try again"):
        correct(batches, unique=True)
