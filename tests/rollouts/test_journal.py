"""The journal of an iteration, also that of a process that is killed while it writes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_megatron.errors import DataError
from reft_megatron.rollouts.journal import Journal, remove_journal
from tests.rollouts.scene import make_rollout

KEY = {"origin": "0", "iteration": 3, "seed": 7, "policy_version": 4}
ROLLOUTS = [make_rollout(number, sample) for number in range(3) for sample in range(2)]


def _texts(journal: Journal) -> list[str]:
    return [rollout.text for rollout in journal.recover().rollouts]


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def test_what_any_rank_flushed_is_recovered_once_and_in_order(tmp_path: Path):
    first, second = (Journal(tmp_path / "journal", data_rank=n, **KEY) for n in (0, 1))
    first.append(ROLLOUTS[4:])
    first.append(ROLLOUTS[:1])
    second.append(ROLLOUTS[:4])
    for journal in (first, second):
        journal.flush()
    found = Journal(tmp_path / "journal", **KEY).recover()
    assert [rollout.text for rollout in found.rollouts] == [rollout.text for rollout in ROLLOUTS]
    assert found.dropped == []
    logprobs = found.rollouts[2].completion.logprobs
    assert logprobs.tobytes() == ROLLOUTS[2].completion.logprobs.tobytes()


def test_parts_go_to_the_disk_by_count_and_by_time(tmp_path: Path):
    now = [0.0]
    journal = Journal(tmp_path, every=3, seconds=5, clock=lambda: now[0], **KEY)
    journal.append(ROLLOUTS[:2])
    assert _texts(journal) == []
    journal.append(ROLLOUTS[2:3])
    journal._finish_write()
    assert len(_texts(journal)) == 3
    now[0] = 100
    journal.append(ROLLOUTS[3:4])
    now[0] = 104
    journal.append(ROLLOUTS[4:5])
    journal._finish_write()
    assert len(_texts(journal)) == 3
    now[0] = 105
    journal.append([])
    journal._finish_write()
    assert len(_texts(journal)) == 5
    assert len(_parts(tmp_path)) == 2


def test_a_restart_adds_to_what_was_there(tmp_path: Path):
    for rollouts in (ROLLOUTS[:2], ROLLOUTS[2:], ROLLOUTS[2:]):
        journal = Journal(tmp_path, **KEY)
        journal.append(rollouts)
        journal.flush()
    assert _texts(Journal(tmp_path, **KEY)) == [rollout.text for rollout in ROLLOUTS]
    assert len(_parts(tmp_path)) == 2


def _tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _leave_a_draft(path: Path) -> None:
    path.rename(path.with_name(path.name + ".tmp"))


@pytest.mark.parametrize("damage", [_tear, _alter, _leave_a_draft])
def test_a_torn_file_is_dropped_and_told(tmp_path: Path, damage: Callable[[Path], None]):
    journal = Journal(tmp_path, every=2, **KEY)
    for start in (0, 2, 4):
        journal.append(ROLLOUTS[start : start + 2])
    journal.flush()
    last = _parts(tmp_path)[-1]
    damage(last)
    (torn,) = {*_parts(tmp_path)} - {*_parts(tmp_path)[:2]}
    found = journal.recover()
    assert [rollout.text for rollout in found.rollouts] == [r.text for r in ROLLOUTS[:4]]
    assert found.dropped == [f"dropped {torn}: it is torn or altered"]
    assert not torn.exists()
    assert journal.recover().dropped == []


@pytest.mark.parametrize("other", KEY)
def test_a_journal_of_something_else_is_dropped(tmp_path: Path, other: str):
    journal = Journal(tmp_path, **{**KEY, other: "2"})
    journal.append(ROLLOUTS)
    journal.flush()
    (old,) = tmp_path.iterdir()
    found = Journal(tmp_path, **KEY).recover()
    assert found.rollouts == []
    assert found.dropped == [
        f"dropped {old}: it is not of iteration 3, seed 7, policy version 4 of a run 0"
    ]
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_once_removed(tmp_path: Path):
    journal = Journal(tmp_path / "journal", **KEY)
    journal.append(ROLLOUTS)
    journal.flush()
    remove_journal(tmp_path / "journal")
    assert list(tmp_path.iterdir()) == []
    assert journal.recover().rollouts == []
    remove_journal(tmp_path / "journal")


def test_its_thread_ends_with_it(tmp_path: Path):
    before = set(threading.enumerate())
    with Journal(tmp_path, every=1, **KEY) as journal:
        journal.append(ROLLOUTS)
        begun = set(threading.enumerate()) - before
        assert begun
    assert not begun & set(threading.enumerate())
    assert _texts(journal) == [rollout.text for rollout in ROLLOUTS]


def test_a_full_disk_ends_the_run_and_leaves_what_was_written(tmp_path: Path):
    journal = Journal(tmp_path, every=1, **KEY)
    journal.append(ROLLOUTS[:1])
    journal.flush()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files stands for a full disk: the write fails half-way.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        journal.append(ROLLOUTS[1:2])
        with pytest.raises(DataError, match=r"^cannot write .*: File too large; it takes about "):
            journal.append(ROLLOUTS[2:3])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = journal.recover()
    assert [rollout.text for rollout in found.rollouts] == [ROLLOUTS[0].text]
    assert found.dropped == []


def _write_for_ever(folder: str) -> None:
    """Append rollouts, and print of each batch when it is safe."""
    journal = Journal(folder, every=2, **KEY)
    for number in range(100_000):
        journal.append([make_rollout(number, sample) for sample in range(2)])
        journal.flush()
        print(number, flush=True)


@pytest.mark.parametrize("after", [1, 20, 60])
def test_what_was_told_to_be_safe_survives_a_kill(tmp_path: Path, after: int):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.rollouts.test_journal", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(after)]
    time.sleep(0.003 * after)  # somewhere within a write
    process.send_signal(signal.SIGKILL)
    told += [int(line) for line in process.communicate()[0].splitlines()]
    found = Journal(tmp_path, **KEY).recover()
    safe = {rollout.text for rollout in found.rollouts}
    assert {make_rollout(number, 0).text for number in told} <= safe
    assert len(safe) in (2 * len(told), 2 * len(told) + 2)
    # A kill leaves at most a draft: no file under its own name is ever torn.
    assert [line for line in found.dropped if ".tmp:" not in line] == []


if __name__ == "__main__":
    _write_for_ever(sys.argv[1])
