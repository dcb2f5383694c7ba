"""What a trained reranker says of rollouts.

Owns opening one beside a run's own policy, what is refused of one before long work starts, and its
scores: every rank learns all of them, in the order asked for, whatever the layout. A score is a
margin, how much higher the class right is than the class wrong; its logistic is the probability
that the rollout is right.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reft_megatron.config import Config
from reft_megatron.errors import CheckpointError, TrainingError
from reft_megatron.policy import Policy, architecture_of
from reft_megatron.policy.checkpoint import WEIGHTS
from reft_megatron.policy.families import Architecture
from reft_megatron.policy.meta import read_meta
from reft_megatron.policy.plan import Case, available_memory, check_memory
from reft_megatron.policy.torch_dist_reader import StoredWeights
from reft_megatron.recipes.room import check_room
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.training_set import TrainingSet
from reft_megatron.rollouts.views import Source, every

__all__ = ["check_reranker", "margins", "open_reranker", "score_rollouts"]

_WINDOW = 1024
"""Sequences whose outputs are held at once."""
_HEAD = "rerank_head.weight"


def check_reranker(session: Session, folder: Path) -> Architecture:
    """The architecture of a reranker that the run can use; nothing is built or loaded.

    Raises CheckpointError if it is of another tokenizer, or of a model without that head, and
    ConfigError if the ranks have no memory for it (once the run's policy is gone).
    """
    world, config = session.mesh.world, _config(session, folder)
    with world.together():
        architecture = architecture_of(config.model)
        seen, own = read_meta(folder).get("tokenizer"), session.tokenizer.fingerprint
        if seen != own:
            raise CheckpointError(
                f"the reranker {folder} reads token ids of the tokenizer {seen}, and this run has "
                f"{own}. Take a reranker trained on samples of this tokenizer."
            )
        if _HEAD not in StoredWeights(folder / WEIGHTS).tensors:
            raise CheckpointError(
                f"{folder} is no reranker: it lacks {_HEAD}. Take a checkpoint of the recipe "
                "rerank."
            )
    # It generates nothing: its weights and a micro-batch are what counts.
    narrow = dataclasses.replace(config.generate, slots=1)
    case = Case(
        architecture=architecture,
        config=dataclasses.replace(config, generate=narrow),
        recipe="evaluate",
        world=world.size,
        vocab=session.tokenizer.vocab_size,
    )
    check_memory(case, available_memory(session.mesh))
    return architecture


def open_reranker(session: Session, folder: str | Path) -> Policy:
    """The frozen model of a checkpoint of the recipe rerank, at the run's layout.

    Raises CheckpointError if it is of another tokenizer, or of a model without that head.
    """
    config = _config(session, folder)
    reranker = Policy(
        config,
        session.mesh,
        session.tokenizer,
        total_steps=None,
        architecture=architecture_of(config.model),
    )
    reranker.load(Path(folder), weights_only=True, with_head=True)
    return reranker


def score_rollouts(session: Session, reranker: Policy, source: Source) -> NDArray[np.float32]:
    """`margins` of every rollout, in the order of `source` (as `Ledger.batches`)."""
    with session.mesh.world.together():
        chosen = every(source, folder=session.folder)
    with chosen:
        return margins(session, reranker, chosen, indices=np.arange(len(chosen)))


def margins(
    session: Session, reranker: Policy, chosen: TrainingSet, *, indices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Score of right minus score of wrong of the sequences `indices`, fp32 [len(indices)].

    Every rank calls, with the same. Raises DataError for a sequence that there is no room for, and
    TrainingError for a score that is not finite.
    """
    check_room(reranker.architecture, session.config, chosen)
    found = np.zeros(len(indices), np.float32)
    tokens = int(chosen.lengths[indices].sum())
    with session.log.phase("score", tokens, "tokens") as phase:
        for start in range(0, len(indices), _WINDOW):
            part = indices[start : start + _WINDOW]
            found[start : start + len(part)] = _margins(session, reranker, chosen, part=part)
            phase.advance(int(chosen.lengths[part].sum()))
    if not np.isfinite(found).all():
        strange = indices[~np.isfinite(found)]
        raise TrainingError(
            f"the reranker's scores of {len(strange)} of {len(indices)} rollouts are not finite, "
            f"first one of problem {chosen.problem_id(int(strange[0]))}. Train it anew with a "
            "lower optimizer.lr."
        )
    return found


def _margins(
    session: Session, reranker: Policy, chosen: TrainingSet, *, part: NDArray[np.int64]
) -> NDArray[np.float32]:
    mesh = session.mesh
    batches = list(
        chosen.micro_batches(
            part,
            mesh=mesh,
            pad_id=session.tokenizer.pad_id,
            max_tokens=session.config.optimizer.micro_batch_tokens,
            multiple_of=session.batch_multiple,
            **session.layout,
        )
    )
    rows = reranker.classify(batches)
    own: list[tuple[int, float]] = []
    if mesh.writer and rows:
        # In the order of their indices, as `classify` has them.
        places = sorted(index for batch in batches for index in batch.indices)
        wrong, right = torch.stack(rows).unbind(dim=1)
        own = list(zip(places, (right - wrong).tolist(), strict=True))
    found = np.empty(len(part), np.float32)
    for place, margin in (pair for said in mesh.world.gather_objects(own) for pair in said):
        found[place] = margin
    return found


def _config(session: Session, folder: str | Path) -> Config:
    """The settings of the run with the reranker as its model."""
    model = dataclasses.replace(
        session.config.model, preset="", hf="", load=str(folder), head="rerank"
    )
    return dataclasses.replace(session.config, model=model)
