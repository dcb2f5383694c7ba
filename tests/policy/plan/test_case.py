"""The plain numbers of a case: batches, micro-batches, and how many are in flight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reft_megatron.cli import RECIPES
from reft_megatron.policy.plan.case import JOBS
from reft_megatron.tasks.arithmetic import documents
from reft_megatron.tokenizer import load_tokenizer
from reft_megatron.tokenizer_training import train_tokenizer
from tests.policy.plan.shapes import case_of
from tests.policy.scene import LAYOUTS, ONE, Layout


def test_every_recipe_has_a_job():
    assert set(JOBS) == set(RECIPES)


def test_a_batch_is_shared_by_data_ranks_and_cut_into_micro_batches():
    settings = (
        *("ppo.batch_size=20", "ppo.samples_per_problem=3", "optimizer.micro_batch_tokens=4000"),
        *("generate.max_prompt_tokens=300", "generate.max_new_tokens=200"),
    )
    case = case_of(LAYOUTS["tp2-dp2"], *settings)
    assert (case.data, case.length, case.sequences) == (2, 500, 30)
    assert (case.packed, case.tokens, case.micro_batches) == (4000, 4000, 4)
    padded = case_of(LAYOUTS["tp2-dp2"], *settings, "optimizer.packing=false", spread=1.5)
    assert padded.tokens == 6000
    few = case_of(LAYOUTS["tp2-dp2"], *settings, "ppo.batch_size=2")
    assert (few.sequences, few.packed, few.micro_batches) == (3, 1500, 1)


def test_sequences_are_as_long_as_the_model_and_a_micro_batch_allow():
    asked = ("generate.max_prompt_tokens=2000", "generate.max_new_tokens=400")
    case = case_of(ONE, *asked)
    assert (case.prompt, case.response, case.length) == (624, 400, 1024)
    short = case_of(ONE, *asked, "optimizer.micro_batch_tokens=900")
    assert (short.prompt, short.length) == (624, 900)


@pytest.mark.parametrize(
    ("recipe", "settings", "rows"),
    [
        # All slots, unless a data rank is asked for less at once: of 21 problems, 11.
        ("ppo", ("ppo.batch_size=64",), 16),
        ("ppo", ("ppo.batch_size=21", "task.dev_size=0"), 11),
        ("ppo", ("ppo.batch_size=5", "ppo.samples_per_problem=4", "task.dev_size=0"), 10),
        ("online_sl", ("online_sl.batch_size=21", "task.dev_size=0"), 11),
        ("offline_sl", ("task.dev_size=9",), 5),
        # Dev problems, which are asked once, count too.
        ("ppo", ("ppo.batch_size=2", "task.dev_size=9"), 5),
        ("sft", ("task.dev_size=9",), 5),
        ("sft", ("task.dev_size=0",), 0),
        ("pretrain", (), 0),
        ("evaluate", (), 16),
        ("evaluate", ("task.test_size=7",), 4),
        ("evaluate", ("task.test_size=7", "evaluate.max_problems=3"), 2),
        ("evaluate", ("evaluate.max_problems=3", "evaluate.samples=5"), 8),
        ("evaluate", ("evaluate.max_problems=3", "evaluate.samples=5", "evaluate.ledger=x"), 2),
        ("evaluate", ("evaluate.split=dev", "task.dev_size=5"), 3),
        ("sample", (), 16),
        ("sample", ("sample.batch_size=3", "sample.samples_per_problem=5"), 8),
    ],
)
def test_no_more_is_generated_at_once_than_is_asked_for(
    recipe: str, settings: tuple[str, ...], rows: int
):
    case = case_of(LAYOUTS["dp2"], "generate.slots=16", *settings, recipe=recipe)
    assert case.rows == rows


def test_generation_has_a_lane_for_each_stage_and_rows_beside_it_to_read_prompts_in():
    prompts = ("generate.slots=10", "generate.prefill_tokens=512", "generate.max_prompt_tokens=200")
    case = case_of(LAYOUTS["pp2"], *prompts)
    assert (case.rows, case.lane_rows, case.prefill_rows) == (10, 5, 4)
    few = case_of(LAYOUTS["pp2"], *prompts, "task.dev_size=3", recipe="sft")
    assert (few.rows, few.lane_rows, few.prefill_rows) == (3, 2, 2)


def test_documents_of_pretraining_are_no_longer_than_is_assumed(tmp_path: Path):
    texts = list(documents(count=500, seed=3))
    path = tmp_path / "tokenizer.model"
    train_tokenizer(("".join(text) for text in texts), path, vocab_size=896)
    tokenizer = load_tokenizer(path)
    longest = max(len(tokenizer.encode("".join(text))) for text in texts)
    assert longest < case_of(recipe="pretrain").length == 256


def test_only_ppo_with_a_kl_term_has_a_reference_model():
    assert case_of().reference
    assert not case_of(ONE, "ppo.kl_coef=0").reference
    assert not case_of(recipe="sft").reference


def test_the_vocabulary_is_padded_over_tensor_ranks():
    assert case_of(ONE).vocab_rows == 100
    assert case_of(LAYOUTS["tp2"]).vocab_rows == 60
    published = replace(case_of(ONE), architecture=replace(case_of().architecture, vocab=130))
    assert published.vocab_rows == 140


@pytest.mark.parametrize(
    ("pipeline", "virtual", "flights"),
    [
        # One forward, one backward: a stage holds one for each stage behind it, and its own.
        (1, 1, [1]),
        (4, 1, [4, 3, 2, 1]),
        # Interleaved: two for each stage behind, a round of all stages for each further chunk.
        (2, 2, [5, 3]),
        (4, 2, [11, 9, 7, 5]),
    ],
)
def test_micro_batches_in_flight(pipeline: int, virtual: int, flights: list[int]):
    layout = Layout(world=pipeline, pipeline=pipeline, virtual=virtual)
    room = ("optimizer.micro_batch_tokens=100", "ppo.batch_size=64")
    case = case_of(layout, *room, "generate.max_prompt_tokens=76")
    assert [case.in_flight(stage) for stage in range(pipeline)] == flights


def test_no_more_are_in_flight_than_there_are():
    case = case_of(Layout(world=4, pipeline=4), "ppo.batch_size=2")
    assert case.micro_batches == 1
    assert [case.in_flight(stage) for stage in range(4)] == [1, 1, 1, 1]
    # Interleaved, they come in rounds of as many as there are stages.
    interleaved = case_of(Layout(world=2, pipeline=2, virtual=2), "ppo.batch_size=1")
    assert (interleaved.micro_batches, interleaved.in_flight(0)) == (2, 4)
