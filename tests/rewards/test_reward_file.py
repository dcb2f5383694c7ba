"""A user's reward is called in processes that may die, hang and lie."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.errors import ConfigError
from reft_megatron.rewards import RewardFile
from reft_megatron.types import Problem, Reason, Verdict

REWARD = """
import os, subprocess, time
from pathlib import Path
from reft_megatron.rewards import no_answer, right, wrong

HERE = Path(__file__).parent
print("loading")

def reward(problem, completion):
    print("judging", completion)
    if completion == "sleep":
        subprocess.Popen(["sleep", "1000"])
        time.sleep(1000)
    if completion == "silent":
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        time.sleep(1000)
    if completion == "exit":
        os._exit(3)
    if completion == "raise":
        raise ValueError("bad luck")
    if completion == "none":
        return None
    if completion == "once":
        mark = HERE / problem.id
        if not mark.exists():
            mark.touch()
            os._exit(3)
    if completion.startswith("wait"):
        time.sleep(float(completion[5:]))
    return right(int(problem.answer)) if "right" in completion else wrong(len(completion))
"""
WRONG = Reason.WRONG_VALUE


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(REWARD)
    return str(tmp_path / "own.py")


def problem(number: int) -> Problem:
    return Problem(id=f"p{number}", question="?", answer="3", extra={"n": number})


def judged(judge: RewardFile, *completions: str) -> list[Verdict]:
    return judge.check([(problem(n), text) for n, text in enumerate(completions)])


@pytest.fixture(autouse=True)
def _others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process may have left processes, such as a world of ranks."""
    others = set(psutil.Process().children(recursive=True))
    monkeypatch.setattr(f"{__name__}.OTHERS", others)


OTHERS: set[psutil.Process] = set()


def children(*, all_below: bool = True) -> list[psutil.Process]:
    """Processes below this one, or those that are its own, that the test has started."""
    found = psutil.Process().children(recursive=all_below)
    return [p for p in found if p not in OTHERS]


def test_verdicts_come_in_the_order_of_completions(
    path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with RewardFile(path, config=RewardConfig(workers=3)) as judge:
        texts = [f"wait {0.2 / (n + 1)}" if n % 3 == 0 else f"right {n}" for n in range(12)]
        assert judged(judge) == []
        verdicts = judged(judge, *texts)
        assert [v.correct for v in verdicts] == [n % 3 != 0 for n in range(12)]
        assert [v.value for v in verdicts] == [
            len(t) if n % 3 == 0 else 3.0 for n, t in enumerate(texts)
        ]
        assert judged(judge, "a\ud800 \u4e2d right")[0].correct
        assert judge.stats() == {"completions": 13, "faults": 0, "respawns": 0}
        assert len(children(all_below=False)) == 3
    assert children() == []
    out, err = capfd.readouterr()
    assert out == ""
    assert "judging right 1" in err


def test_what_fails_is_a_fault_and_no_reward(path: str) -> None:
    with RewardFile(path, config=RewardConfig(workers=2, timeout_s=60)) as judge:
        verdicts = judged(judge, "right", "raise", "exit", "none", "silent", "bad", "once")
        stats = judge.stats()
    faults = {n: v.detail for n, v in enumerate(verdicts) if v.reason is Reason.EXECUTOR_FAULT}
    line = REWARD.splitlines().index('        raise ValueError("bad luck")') + 1
    assert faults == {
        1: f"ValueError: bad luck (own.py, line {line})",
        2: "the process ended with status 3",
        3: faults[3],
        4: "the process was ended by signal 9",
    }
    assert faults[3].startswith("TypeError: reward returned None; wanted")
    assert [verdicts[n].reason for n in (0, 5, 6)] == [Reason.CORRECT, WRONG, WRONG]
    assert (stats["faults"], stats["respawns"]) == (4, 2 + 2 + 1)


def test_what_is_late_is_ended_with_all_it_started(path: str) -> None:
    with RewardFile(path, config=RewardConfig(workers=2, timeout_s=0.5)) as judge:
        [verdict] = judged(judge, "sleep")
        assert verdict.reason is Reason.EXECUTOR_FAULT
        assert verdict.detail == "it took more than rewards.timeout_s=0.5"
        assert judge.stats()["respawns"] == 2
        assert children() == []


def test_one_that_does_not_read_is_late_too(path: str) -> None:
    """More than a socket holds, to a process that is there and stands still."""
    with RewardFile(path, config=RewardConfig(workers=1, timeout_s=0.5)) as judge:
        judge.start()
        [process] = children(all_below=False)
        process.suspend()
        judged(judge, "right" * 1_000_000)  # ends; whether the second try is in time is no matter
        assert judge.stats()["respawns"] >= 1
        assert not process.is_running()


def test_a_path_is_of_the_folder_it_was_named_in(
    path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with RewardFile("own.py", config=RewardConfig(workers=1)) as judge:
        monkeypatch.chdir(tmp_path / "elsewhere")
        [verdict] = judged(judge, "raise")
    assert "(own.py, line " in verdict.detail


def test_it_starts_anew_after_its_end(path: str) -> None:
    judge = RewardFile(path, config=RewardConfig(workers=1))
    for _ in range(2):
        assert judged(judge, "right")[0].correct
        judge.close()
        judge.close()
        assert children() == []


def test_no_completion_pays_for_processes_that_died_idle(path: str) -> None:
    with RewardFile(path, config=RewardConfig(workers=2)) as judge:
        judge.start(2)
        for process in children(all_below=False):
            process.kill()
            # Not reaped here, so that the judge has to notice.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        [verdict] = judged(judge, "right")
        assert verdict.correct
        assert judge.stats() == {"completions": 1, "faults": 0, "respawns": 2}
    assert children() == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1", r"has no function `reward`"),
        ("import os; os._exit(4)", r"the process that loaded it ended with status 4"),
        ("import os; os.kill(os.getpid(), 11)", r"was ended by signal 11"),
    ],
)
def test_a_file_that_cannot_be_loaded(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "own.py").write_text(text)
    with RewardFile(str(tmp_path / "own.py"), config=RewardConfig()) as judge:
        for call in (judge.start, lambda: judged(judge, "right")):
            with pytest.raises(ConfigError, match=rf"task\.reward=.*own\.py: .*{told}"):
                call()
            assert children() == []


def test_processes_end_with_their_starter(path: str) -> None:
    """However it ends, in the middle of a call, and with what that call has started."""
    starter = os.fork()
    if not starter:
        RewardFile(path, config=RewardConfig(workers=1, timeout_s=1000)).check(
            [(problem(0), "sleep")]
        )
        os._exit(0)
    begun = psutil.Process(starter)
    _until(lambda: any(p.name() == "sleep" for p in begun.children(recursive=True)))
    below = begun.children(recursive=True)
    begun.kill()
    os.waitpid(starter, 0)
    _until(lambda: not any(p.is_running() and p.status() != "zombie" for p in below))


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(psutil.NoSuchProcess):  # it went while it was looked at
            if true():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)
