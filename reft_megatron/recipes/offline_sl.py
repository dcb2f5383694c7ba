"""Offline self-training: fine-tuning on what the warm-up got right.

The paper's Offline-ST, a baseline of ReFT. The warm-up answers every training problem many times,
and the program checker says which answers are right. The base model is then fine-tuned anew, on the
gold chain of each problem and on up to `offline_sl.samples_per_problem` of its right completions,
each text once. Nothing is sampled here: the recipe `sample` did it, from the warm-up, on the train
split, and `offline_sl.ledger` names what it left. `model.load` or `model.hf` is the base that the
warm-up itself began with.

Which completions are taken is drawn by a hash, so the same ledger gives the same ones on every
layout, and one that says what the gold chain says does not count beside it. The authors take the
first ten, and have the gold chain twice, once from each of the two files that they join;
`task.parity=reference` does as they do. Completions are learnt as they were sampled, from behind
the prompt to their end; gold chains as in fine-tuning. A problem without a right completion has its
gold chain alone: the run says how many those are.

An epoch visits everything once, in an order that is a function of (seed, epoch), so the position in
the data is the number of steps taken. The dev split selects, as in fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow.compute as pc

from reft_megatron.config import Config
from reft_megatron.errors import DataError
from reft_megatron.recipes.epochs import Epochs
from reft_megatron.recipes.learnt_ledger import LearntLedger, open_ledger, remember
from reft_megatron.recipes.room import check_room
from reft_megatron.recipes.self_training import gold_texts, sampled_document
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import (
    Document,
    gold_documents,
    supervised_step,
    training_problems,
)
from reft_megatron.rollouts.training_set import TrainingSet
from reft_megatron.rollouts.views import correct, normalised
from reft_megatron.types import Problem

__all__ = ["run"]


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    settings = config.offline_sl
    with Session(config, "offline_sl") as session:
        problems = training_problems(session)
        gold = gold_documents(session, problems)
        ledger = open_ledger(session, settings.ledger)
        with session.mesh.world.together():
            asked = _asked(session, ledger, problems)
            chosen = _choose(session, ledger, problems)
        with chosen:
            with session.mesh.world.together():
                _check_prompts(session, chosen, problems)
                check_room(session.architecture, config, chosen)
            gold += _gold_again(session, chosen, problems, gold=gold)
            lengths = [*chosen.lengths.tolist(), *(len(document.tokens) for document in gold)]
            epochs = Epochs(
                lengths=lengths,
                batch_size=settings.batch_size,
                count=settings.epochs,
                seed=config.run.seed,
            )

            def document(index: int) -> Document:
                if index < len(chosen):
                    return sampled_document(session, chosen, index)
                return gold[index - len(chosen)]

            policy = session.build(total_steps=epochs.steps)
            session.start(policy)
            remember(session, ledger, settings.ledger)
            counts = {
                "problems": len(problems),
                "unasked": len(problems) - len(asked),
                "unsolved": len(asked) - len(chosen.names),
                "gold": len(gold),
                "sampled": len(chosen),
            }
            session.log.say(_told(counts, chosen))
            done = epochs.run(
                session,
                policy,
                step=lambda batch: supervised_step(session, policy, [document(i) for i in batch]),
                last=settings.epochs,
                evaluate_every=settings.evaluate_every,
            )
            if not done:
                return session.interrupted(policy, policy.version)
        summary = {"epochs": settings.epochs, "steps": policy.version, "best_dev": session.best}
        return session.finish(summary | counts)


def _asked(session: Session, ledger: LearntLedger, problems: Sequence[Problem]) -> set[str]:
    """Ids of the problems in the ledger; DataError if one is not a training problem."""
    found: set[str] = set()
    for batch in ledger.batches(["problem_id"]):
        found.update(pc.unique(batch["problem_id"]).to_pylist())
    if strange := sorted(found - {problem.id for problem in problems}):
        raise DataError(
            f"offline_sl.ledger={session.config.offline_sl.ledger} has completions of "
            f"{len(strange)} problems that are not in the train split, {strange[0]} first, and "
            "only training problems may be learnt from. Name the ledger of a run of the recipe "
            "sample with sample.split=train and the same task settings."
        )
    return found


def _choose(session: Session, ledger: LearntLedger, problems: Sequence[Problem]) -> TrainingSet:
    """The right completions to learn from; DataError if there is none beside the gold chains."""
    settings, reference = session.config.offline_sl, session.task.parity == "reference"
    chosen = correct(
        ledger.batches,
        unique=True,
        spelling=_spelling(session),
        gold=None if reference else gold_texts(session.task, problems),
        per_problem=settings.samples_per_problem,
        pick="first" if reference else "random",
        seed=session.config.run.seed,
        folder=session.folder,
    )
    if not len(chosen):
        chosen.close()
        raise DataError(
            f"offline_sl.ledger={settings.ledger} has nothing to learn from beside the gold "
            f"chains ({_reasons(chosen)}). Sample more, or from a better policy; the recipe sft "
            "learns from gold chains alone."
        )
    return chosen


def _check_prompts(session: Session, chosen: TrainingSet, problems: Sequence[Problem]) -> None:
    """DataError unless the completions answer what the training problems ask."""
    prompts = {p.id: session.task.prompt_text(p) for p in problems}
    known: dict[str, list[int]] = {}
    for index in range(len(chosen)):
        name = chosen.problem_id(index)
        if name not in known:
            known[name] = session.tokenizer.encode(prompts[name])
        if chosen.prompt(index).tolist() != known[name]:
            raise DataError(
                f"in offline_sl.ledger={session.config.offline_sl.ledger} the problem {name} is "
                "asked otherwise than in the train split: it was sampled from other data, or "
                "with another task.parity. Name a ledger with the same task settings."
            )


def _gold_again(
    session: Session,
    chosen: TrainingSet,
    problems: Sequence[Problem],
    *,
    gold: Sequence[Document],
) -> list[Document]:
    """What parity `reference` adds: each gold chain once more, unless a sample says the same.

    The authors join two files, and both bring it (train_sl_model.py lines 76-86 and 328-344).
    """
    if session.task.parity != "reference":
        return []
    spelling = _spelling(session)
    texts = {name: spelling(text) for name, text in gold_texts(session.task, problems).items()}
    said = set()
    for index in range(len(chosen)):
        response = chosen.tokens(index)[-int(chosen.responses[index]) :]
        name = chosen.problem_id(index)
        if spelling(session.tokenizer.decode(response.tolist())) == texts.get(name):
            said.add(name)
    return [document for document in gold if document.id not in said]


def _spelling(session: Session) -> Callable[[str], str]:
    """What must be equal of two completions of a problem that say the same.

    With parity `reference` the stripped text, of a program with its head (train_sl_model.py lines
    328-344).
    """
    if session.task.parity != "reference":
        return normalised
    return str.rstrip if session.task.form == "program" else str.strip


def _told(counts: dict[str, int], chosen: TrainingSet) -> str:
    """What is learnt from, and what is not."""
    return (
        f"{counts['problems']} problems, {counts['unasked']} of them not in the ledger and "
        f"{counts['unsolved']} without a right completion; {counts['gold']} gold chains and "
        f"{counts['sampled']} completions are learnt from; left out: {_reasons(chosen)}"
    )


def _reasons(chosen: TrainingSet) -> str:
    return ", ".join(f"{count} {why}" for why, count in chosen.left_out.items())
