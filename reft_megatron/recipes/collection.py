"""Where an iteration's rollouts come from, and where they are kept.

Owns the choice between three sources: a ledger to replay; what this very run recorded before it
was interrupted; and the policy, asked for what the journal of an interrupted iteration does not
hold yet. And the way of new rollouts to the disk: into the journal as they are judged, into the
ledger, with their scores, once all are there.

What is found on the disk is believed only in a run that continues with the same settings, from the
same weights, and only if it was sampled by this version of the policy with this seed: then it is
what would come again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import xxhash

from reft_megatron.errors import ConfigError
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy
from reft_megatron.recipes.continuation import settings_digest
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.rollouts.journal import Journal, remove_journal
from reft_megatron.rollouts.ledger import Ledger, Origin
from reft_megatron.types import Problem, Rollout

__all__ = ["Collection", "began", "ledger_at"]


class Collection:
    """The rollouts of a run, iteration by iteration; every rank calls everything."""

    def __init__(self, session: Session, *, first: int, last: int) -> None:
        """For iterations `first` to `last`; says what had to be dropped of an earlier start.

        Raises ConfigError if they cannot come from where the settings say.
        """
        settings = session.config.rollouts
        _check(session)
        self._session = session
        self._ledger = ledger_at(session)
        self._journals = session.folder / "journal"
        self._replay = ledger_at(session, settings.replay) if settings.replay else None
        if self._replay is not None:
            _check_replay(session, self._replay, range(first, last + 1))
        with session.mesh.world.together():
            if session.mesh.main:
                self._tidy(first)
        held = session.mesh.world.broadcast_object(self._ledger.iterations())
        self._next = next(n for n in itertools.count(first) if n not in held)
        if session.mesh.main and self._next > last:
            remove_journal(self._journals)

    def collect(
        self,
        policy: Policy,
        problems: Sequence[Problem],
        *,
        samples: int,
        sampling: Sampling,
        iteration: int,
    ) -> list[Rollout] | None:
        """Judged rollouts for this iteration; None except on a replica's writer."""
        if self._replay is not None:
            return self._read(self._replay, iteration)
        if self._has(iteration, version=policy.version, seed=sampling.seed):
            self._session.log.say(f"iteration {iteration}: its rollouts are in the ledger already")
            return self._read(self._ledger, iteration)
        return self._sample(policy, problems, samples, sampling=sampling, iteration=iteration)

    def keep(self, buffer: RolloutBuffer, iteration: int) -> None:
        """Write what the buffer holds, scores included; after that the iteration is on record."""
        mesh = self._session.mesh
        if not mesh.world.broadcast_object(iteration in self._ledger.iterations()):
            with mesh.world.together():
                if mesh.writer:
                    self._ledger.append(iteration, mesh.data.rank, buffer.table())
            with mesh.world.together():
                if mesh.main:
                    self._ledger.seal(iteration, data_size=mesh.data.size)
                    remove_journal(self._journals)

    def _tidy(self, first: int) -> None:
        """Drop what an earlier start tore, and all of it unless this run continues.

        Raises ConfigError for what is not this run's to drop.
        """
        self._refuse_strange()
        for line in self._ledger.drop_damaged():
            self._session.log.say(line)
        if not (self._session.continues and began(self._session, self._ledger, since=first)):
            self._ledger.drop_from(first)
            remove_journal(self._journals)

    def _refuse_strange(self) -> None:
        """ConfigError if `rollouts.record` is a ledger that this run did not begin."""
        record, held = self._session.config.rollouts.record, self._ledger.iterations()
        if not (record and held):
            return
        if self._session.continues and began(self._session, self._ledger):
            return
        raise ConfigError(
            f"rollouts.record={record} has {len(held)} iterations already, of another run or of "
            "one with other settings, and this run would drop them. Choose another "
            "rollouts.record, or remove what is there."
        )

    def _sample(
        self,
        policy: Policy,
        problems: Sequence[Problem],
        samples: int,
        *,
        sampling: Sampling,
        iteration: int,
    ) -> list[Rollout] | None:
        """Ask the policy; the programs of finished answers are run meanwhile."""
        session, answerer = self._session, self._session.answerer
        with Journal(
            self._journals,
            origin=_digest(_origin(session)),
            iteration=iteration,
            seed=sampling.seed,
            policy_version=policy.version,
            data_rank=session.mesh.data.rank,
        ) as journal:
            known = self._recover(journal, iteration)
            with session.log.phase("generate", None, "tokens") as phase:
                hearing = answerer.ask(
                    policy,
                    problems,
                    samples=samples,
                    sampling=sampling,
                    advance=phase.advance,
                    known=known,
                    keep=journal.append,
                )
            with session.log.phase("reward", None, "completions"):
                rollouts = answerer.answers(hearing, known=len(known))
                with session.mesh.world.together():
                    journal.flush()
        if rollouts is not None and session.mesh.data.first:
            rollouts.extend(known)
        return rollouts

    def _recover(self, journal: Journal, iteration: int) -> list[Rollout]:
        """What an interrupted start of this iteration left, on every rank."""
        session = self._session
        if iteration != self._next:
            return []
        recovered = None
        with session.mesh.world.together():
            if session.mesh.main:
                recovered = journal.recover()
        recovered = session.mesh.world.broadcast_object(recovered)
        for line in recovered.dropped:
            session.log.say(line)
        if recovered.rollouts:
            count = len(recovered.rollouts)
            session.log.say(f"iteration {iteration} goes on with {count} rollouts of its journal")
        return recovered.rollouts

    def _has(self, iteration: int, *, version: int, seed: int) -> bool:
        """True if the ledger holds what the policy would sample; what is of another is dropped."""
        mesh, found = self._session.mesh, False
        with mesh.world.together():
            if mesh.main and iteration in self._ledger.iterations():
                table = self._ledger.table(iteration, ["policy_version", "seed"])
                found = {*table["policy_version"].to_pylist()} == {version}
                found = found and {*table["seed"].to_pylist()} == {seed}
                if not found:
                    self._ledger.drop_from(iteration)
        return mesh.world.broadcast_object(found)

    def _read(self, ledger: Ledger, iteration: int) -> list[Rollout] | None:
        """Recorded rollouts, read by one writer; the others have none."""
        mesh = self._session.mesh
        rollouts: list[Rollout] | None = [] if mesh.writer else None
        with mesh.world.together():
            if mesh.writer and mesh.data.first:
                rollouts = ledger.read(iteration)
        return rollouts


def ledger_at(session: Session, folder: str = "") -> Ledger:
    """The ledger in `folder`, or the one that the run records; of its task and tokenizer alone."""
    return Ledger(folder or _own(session), origin=_origin(session))


def began(session: Session, ledger: Ledger, *, since: int = 1) -> bool:
    """True if a run with these settings, from these weights, recorded `ledger`, or may have.

    It may where nobody said. Only iterations from `since` on are looked at.
    """
    own = _origin(session)
    wanted = (own.weights, own.settings)
    told = (ledger.origin(n) for n in ledger.iterations() if n >= since)
    origins = filter(None, told)
    return all((o.weights, o.settings) in (wanted, ("", "")) for o in origins)


def _origin(session: Session) -> Origin:
    """What the run labels its rollouts with."""
    task = session.task
    return Origin(
        task=f"{task.name} ({task.form})",
        tokenizer=session.tokenizer.fingerprint,
        weights=session.weights,
        settings=settings_digest(session.config, session.recipe),
    )


def _digest(origin: Origin) -> str:
    """Of the whole of it, in 16 letters."""
    return xxhash.xxh3_64_hexdigest(repr(origin).encode())


def _own(session: Session) -> Path:
    return Path(session.config.rollouts.record or session.folder / "ledger")


def _check(session: Session) -> None:
    settings = session.config.rollouts
    if settings.replay and settings.generate_only:
        raise ConfigError(
            "rollouts.replay trains without generating and rollouts.generate_only generates "
            "without training; set one of them."
        )
    if settings.replay and Path(settings.replay).resolve() == _own(session).resolve():
        raise ConfigError(
            f"rollouts.replay={settings.replay} is the ledger that this run records to: a replayed "
            "run records what it trains on too. Choose another rollouts.record."
        )


def _check_replay(session: Session, ledger: Ledger, wanted: range) -> None:
    folder, found = session.config.rollouts.replay, ledger.iterations()
    if missing := [iteration for iteration in wanted if iteration not in found]:
        raise ConfigError(
            f"rollouts.replay={folder} lacks iteration {missing[0]} and {len(missing) - 1} others "
            f"of {wanted.start} to {wanted.stop - 1}; it has {len(found)}"
            f"{f', the last {found[-1]}' if found else ''}. Lower "
            f"{session.recipe}.iterations, or replay another ledger."
        )
