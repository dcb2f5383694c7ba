"""A reranker's scores: of every rollout in the ledger's order, the same at every layout."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers

from reft_megatron.config import load_config
from reft_megatron.errors import CheckpointError, DataError, TrainingError
from reft_megatron.mesh import Axis
from reft_megatron.policy import Policy
from reft_megatron.policy.huggingface import to_huggingface
from reft_megatron.recipes.collection import ledger_at
from reft_megatron.recipes.reranker import open_reranker, score_rollouts
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.batch import lay_out
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Rollout
from tests.launch import QUAD, Launcher
from tests.ranks import Ranks
from tests.recipes.scored_ledger import rollouts_of, write_ledger

LAYOUTS = {
    "alone": (1, ()),
    "two data ranks": (2, ("optimizer.micro_batch_tokens=400",)),
    "tensor": (2, ("parallel.tensor=2", "parallel.sequence=true")),
    "pipeline": (2, ("parallel.pipeline=2", "optimizer.packing=false")),
    "tensor and pipeline": (4, QUAD),
}
ONE_STEP = ("model.head=rerank", "rerank.epochs=1", "rerank.batch_size=192", "rerank.dev_size=8")


def play_scores(arguments: tuple[str, ...], reranker: str, ledger: str) -> Any:
    """Scores of a ledger beside a policy of its own, the same one by one, and refusals."""
    config = load_config(None, arguments)
    with Session(config, "evaluate") as session:
        policy = session.build(total_steps=None)
        session.start_untrained(policy)
        scorer = open_reranker(session, reranker)
        source = ledger_at(session, ledger)
        scores = score_rollouts(session, scorer, source.batches)
        singles = None
        if session.mesh.world.size == 1:
            rollouts = [r for n in source.iterations() for r in source.read(n)]
            singles = [_single(session, scorer, rollout) for rollout in rollouts]
        said = [_refusal(session, scorer, source, tokens=30), _no_head(session)]
        said.append(_full_disk(session, scorer, source))
        for chunk in scorer.chunks:
            for name, parameter in chunk.named_parameters():
                if "rerank_head" in name:
                    parameter.data.fill_(torch.nan)
        with pytest.raises(TrainingError) as caught:
            score_rollouts(session, scorer, source.batches)
        return scores, singles, [*said, str(caught.value)]


def _single(session: Session, scorer: Policy, rollout: Rollout) -> float:
    """Right minus wrong of one rollout, alone in its micro-batch."""
    tokens = [*rollout.completion.prompt_ids, *rollout.completion.token_ids]
    batch = lay_out(
        [0], [len(tokens)], tokens=[tokens], fields={}, pad_id=0, packed=False,
        device=session.mesh.device,
    )  # fmt: skip
    (row,) = scorer.classify([batch])
    return (row[1] - row[0]).item()


def _refusal(session: Session, scorer: Policy, source: Any, *, tokens: int) -> str:
    whole = session.config
    narrow = dataclasses.replace(whole.optimizer, micro_batch_tokens=tokens)
    session.config = dataclasses.replace(whole, optimizer=narrow)
    with pytest.raises(DataError) as caught:
        score_rollouts(session, scorer, source.batches)
    session.config = whole
    return str(caught.value)


def _full_disk(session: Session, scorer: Policy, source: Any) -> str:
    """Of the last rank alone, which keeps the tokens for itself; the others must not wait."""
    world = session.mesh.world

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if world.rank == world.size - 1:
            raise DataError("the disk is full")
        return source.batches(columns)

    with pytest.raises(DataError) as caught:
        score_rollouts(session, scorer, batches)
    return str(caught.value)


def _no_head(session: Session) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_reranker(session, session.config.model.load)
    return str(caught.value)


@pytest.fixture(scope="module")
def scene(launch: Launcher) -> tuple[tuple[str, ...], str, str]:
    """Settings of an evaluation, a reranker, and a ledger."""
    ledger = write_ledger(launch.folder / "to-score", launch, rollouts_of(launch))
    policy = launch(1, "sft", "scored", "sft.epochs=1", "sft.batch_size=32")
    best = policy.folder / "checkpoints" / "best"
    run = launch(1, "rerank", "scorer", *ONE_STEP, f"rerank.ledger={ledger}")
    arguments = (*launch.base, "run.name=scoring", f"model.load={best}")
    return arguments, str(run.folder / "checkpoints" / "best"), ledger


@pytest.mark.megatron
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_scores_alike(
    ranks: Ranks, scene: tuple[tuple[str, ...], str, str], layout: str
) -> None:
    arguments, reranker, ledger = scene
    ((alone, singles, _),) = ranks(1, play_scores, arguments, reranker, ledger)
    world, settings = LAYOUTS[layout]
    for scores, _, said in ranks(world, play_scores, (*arguments, *settings), reranker, ledger):
        assert (scores.shape, scores.dtype) == ((240,), np.float32)
        # Rounding of fp32: other shapes sum in other orders.
        np.testing.assert_allclose(scores, singles, rtol=0, atol=1e-5)
        np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-5)
        assert re.match(r"problem svamp_\d+ takes \d+ tokens", said[0])
        assert "it lacks rerank_head.weight" in said[1]
        assert said[2] == "the disk is full"
        assert said[3].startswith(
            "the reranker's scores of 240 of 240 rollouts are not finite, first one of problem "
        )
    assert np.ptp(alone) > 0.01, "the story needs scores that differ"


@pytest.mark.megatron
def test_transformers_gives_the_same_scores(
    ranks: Ranks, scene: tuple[tuple[str, ...], str, str], tmp_path: Path
) -> None:
    """Of the folder exported from the trained reranker, on every rollout of the ledger."""
    arguments, reranker, ledger = scene
    ((scores, _, _),) = ranks(1, play_scores, arguments, reranker, ledger)
    to_huggingface(Path(reranker), tmp_path / "hf", world=Axis())
    auto = transformers.AutoModelForSequenceClassification
    model, told = auto.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(told.values()), told
    source, wanted = Ledger(ledger), []
    for rollout in (r for n in source.iterations() for r in source.read(n)):
        tokens = [*rollout.completion.prompt_ids, *rollout.completion.token_ids]
        with torch.no_grad():
            logits = model.eval()(input_ids=torch.tensor([tokens])).logits
        wanted.append((logits[0, 1] - logits[0, 0]).item())
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-5)
