"""A user's reward is called in processes that may die, hang and lie."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.errors import ConfigError
from reft_megatron.rewards import RewardFile
from reft_megatron.types import Problem, Reason, Verdict

REWARD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from reft_megatron.rewards import no_answer, right, wrong

HERE = Path(__file__).parent
print("loading")

def reward(problem, completion):
    print("judging", completion)
    if completion == "sleep":
        subprocess.Popen(["sleep", "1000"])
        time.sleep(1000)
    if completion == "die":
        os.kill(os.getpid(), signal.SIGKILL)
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


def children() -> list[psutil.Process]:
    """Processes below this one that the test has started."""
    return [p for p in psutil.Process().children(recursive=True) if p not in OTHERS]


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
        assert len(children()) == 3
    assert children() == []
    out, err = capfd.readouterr()
    assert out == ""
    assert "judging right 1" in err


def test_what_fails_is_a_fault_and_no_reward(path: str) -> None:
    with RewardFile(path, config=RewardConfig(workers=2, timeout_s=1.0)) as judge:
        verdicts = judged(judge, "right", "raise", "die", "none", "sleep", "exit", "bad", "once")
        stats = judge.stats()
    faults = {n: v.detail for n, v in enumerate(verdicts) if v.reason is Reason.EXECUTOR_FAULT}
    assert faults == {
        1: "ValueError: bad luck (own.py, line 19)",
        2: "the process was ended by signal 9",
        3: faults[3],
        4: "it took more than rewards.timeout_s=1",
        5: "the process ended with status 3",
    }
    assert faults[3].startswith("TypeError: reward returned None; wanted")
    assert [verdicts[n].reason for n in (0, 6, 7)] == [Reason.CORRECT, WRONG, WRONG]
    assert (stats["faults"], stats["respawns"]) == (5, 2 + 2 + 2 + 1)
    assert children() == [], "what a call had started is gone too"


def test_it_starts_anew_after_its_end(path: str) -> None:
    judge = RewardFile(path, config=RewardConfig(workers=1))
    for _ in range(2):
        assert judged(judge, "right")[0].correct
        [process] = children()
        os.kill(process.pid, signal.SIGKILL)  # between two calls
        assert judged(judge, "right")[0].correct
        judge.close()
        judge.close()
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
    starter = os.fork()
    if not starter:
        RewardFile(path, config=RewardConfig(workers=1)).start()
        os._exit(0)
    os.waitpid(starter, 0)
    deadline = time.monotonic() + 20
    while any(path in (p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < deadline, "a process outlived the one that started it"
        time.sleep(0.05)
