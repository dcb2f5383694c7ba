"""ReFT: killed, stopped or left alone, the same run; and the same on every layout."""

from __future__ import annotations

import json
import re
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from reft_megatron.config import load_config
from reft_megatron.log.metrics import GLOSSARY, check_names
from reft_megatron.recipes import ppo
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Reason
from tests.launch import CONSTANT_LR, QUAD, Launcher, Run, differences

pytestmark = pytest.mark.megatron
SETTINGS = (
    *CONSTANT_LR,
    "optimizer.lr=0.0003",
    "ppo.batch_size=8",
    "ppo.samples_per_problem=2",
    "ppo.evaluate_every=2",
    "checkpoint.every=1",
    "checkpoint.keep_last=9",
)


@pytest.fixture(scope="module")
def settings(warm: Run) -> tuple[str, ...]:
    """From an early checkpoint of the warm-up."""
    return (*SETTINGS, f"model.load={warm.checkpoint(8)}")


@pytest.fixture(scope="module")
def quad(settings: tuple[str, ...]) -> tuple[str, ...]:
    return (*settings, *QUAD, "ppo.iterations=4")


@pytest.fixture(scope="module")
def reft(launch: Launcher, quad: tuple[str, ...]) -> Run:
    """Four undisturbed iterations at TP2 x PP2."""
    return launch(4, "ppo", "reft", *quad)


def assert_same(run: Run, whole: Run) -> None:
    """Bit for bit: metrics, ledger, weights, optimizer, and what the recipe remembers."""
    assert run.content("metrics.jsonl") == whole.content("metrics.jsonl")
    assert run.content("ledger/**/*") == whole.content("ledger/**/*")
    assert len(run.content("ledger/**/*")) == 4 * 2
    assert run.summary == whole.summary
    assert [differences(run, whole, iteration) for iteration in (1, 2, 3, 4)] == [[]] * 4


def test_kill_9_in_iteration_3_and_resume(
    launch: Launcher, reft: Run, quad: tuple[str, ...]
) -> None:
    run = launch.start(4, "ppo", "reft-killed", *quad)
    begun = run.folder / "ledger" / "iteration-000003"
    run.signal(signal.SIGKILL, once=lambda: run.has(2) and begun.exists())
    assert sorted(run.complaint.split(", ")) == [f"rank {r} ended with status 9" for r in range(4)]
    assert not run.has(3)
    resumed = launch(4, "ppo", "reft-killed", *quad)
    assert "resumed after step 2" in resumed.out[0]
    assert_same(resumed, reft)


def test_sigterm_and_resume(launch: Launcher, reft: Run, quad: tuple[str, ...]) -> None:
    run = launch.start(4, "ppo", "reft-stopped", *quad)
    run.signal(signal.SIGTERM, once=lambda: run.step >= 1)
    assert run.codes == [0] * 4
    assert run.err == [""] * 4
    told = re.search(r"stopped by SIGTERM after step (\d+); run the same command", run.out[0])
    assert 1 <= int(told[1]) == run.step < 4
    resumed = launch(4, "ppo", "reft-stopped", *quad)
    assert f"resumed after step {told[1]}" in resumed.out[0]
    assert_same(resumed, reft)


def test_again_nothing_is_trained(launch: Launcher, reft: Run, quad: tuple[str, ...]) -> None:
    patterns = ("metrics.jsonl", "summary.json", "checkpoints/**/*", "ledger/**/*")
    before = [reft.content(pattern) for pattern in patterns]
    again = launch(4, "ppo", "reft", *quad)
    assert [again.content(pattern) for pattern in patterns] == before


@pytest.mark.parametrize("world", [1, 2])
def test_the_layout_does_not_matter(
    launch: Launcher, reft: Run, settings: tuple[str, ...], world: int
) -> None:
    run = launch(world, "ppo", f"reft-{world}", *settings, "ppo.iterations=2")
    wanted = [record for record in reft.metrics if record["step"] <= 2]
    assert len(run.metrics) == len(wanted)
    for record, other in zip(run.metrics, wanted, strict=True):
        assert record == pytest.approx(other, rel=1e-4, abs=1e-4)
    for iteration in (1, 2):
        assert answers(run, iteration) == answers(reft, iteration)


def answers(run: Run, iteration: int) -> dict[tuple[str, int], list[int]]:
    rollouts = Ledger(run.folder / "ledger").read(iteration)
    completions = [rollout.completion for rollout in rollouts]
    return {(c.problem_id, c.sample): c.token_ids.tolist() for c in completions}


def test_metrics_make_sense(reft: Run) -> None:
    iterations = [record for record in reft.metrics if "reward/mean" in record]
    assert [record["step"] for record in iterations] == [1, 2, 3, 4]
    for record in iterations:
        check_names(name for name in record if name != "step")
        shares = {reason: record[f"verdict/{reason}"] for reason in Reason}
        assert sum(shares.values()) == pytest.approx(1)
        reward = shares[Reason.CORRECT] + 0.1 * shares[Reason.WRONG_VALUE]
        assert record["reward/mean"] == pytest.approx(reward)
        assert record["reward/accuracy"] == shares[Reason.CORRECT]
        assert record["reward/kl"] == pytest.approx(-0.01 * record["kl/sequence"])
        assert record["reward/total"] == record["reward/mean"] + record["reward/kl"]
        assert record["mismatch/mean"] <= record["mismatch/max"] < 1e-4
        assert 0.9 < record["policy/ratio"] < 1.1
        assert 1 <= record["response/length"] <= 10
        assert record["train/skipped_steps"] == record["prompts/dropped"] == 0
    assert max(reft.series("reward/accuracy")) > 0, "the story needs some right answers"
    assert reft.summary["steps"] == 8


def test_every_metric_of_the_glossary_is_recorded(launch: Launcher, warm: Run, reft: Run) -> None:
    load = f"model.load={warm.checkpoint(8)}"
    asked = launch(1, "evaluate", "asked", load, "evaluate.split=train", "evaluate.samples=2")
    recorded: set[str] = set()
    for run in (warm, reft, asked):
        for text in run.content("*.jsonl").values():
            recorded |= {name for line in text.splitlines() for name in json.loads(line)}
    # The task of these runs has no test file; other recipes' are recorded in their tests.
    reranker = {"eval/dev_auc", "eval/dev_loss", "eval/rerank_auc", "eval/rerank_loss"}
    reranker |= {"eval/rerank_accuracy", "eval/weighted_accuracy"}
    taught = {"train/sampled_loss", "train/gold_loss", "learnt/sampled", "learnt/unsolved"}
    assert set(GLOSSARY) - recorded == {"eval/test_accuracy", *reranker, *taught}


@pytest.mark.parametrize(
    ("overrides", "beyond", "weighs"),
    [
        ((), "refuse", False),
        (("model.precision=fp8_rollout",), "refuse", True),
        (("model.precision=fp8_rollout", "rollouts.importance_cap=0"), "refuse", False),
        (("rollouts.importance_cap=2",), "mark", True),
    ],
)
def test_old_rollouts_are_weighed_only_by_those_who_ask(
    overrides: tuple[str, ...], beyond: str, *, weighs: bool
) -> None:
    asked: dict[str, Any] = {}

    def for_ppo(fields: tuple[str, ...], **how: Any) -> None:
        asked.update(how, fields=fields)
        raise StopIteration  # that is all there is to see

    session = SimpleNamespace(config=load_config(None, overrides), layout={})
    policy, buffer = SimpleNamespace(version=1), SimpleNamespace(for_ppo=for_ppo)
    with pytest.raises(StopIteration):
        ppo._update(session, policy, buffer, iterations=None, number=1)
    assert (asked["beyond"], "importance" in asked["fields"]) == (beyond, weighs)


@pytest.mark.parametrize("setting", ["temperature=0.7", "top_k=50", "top_p=0.9"])
def test_only_the_policy_itself_is_sampled(launch: Launcher, setting: str) -> None:
    message = launch.refused(1, "ppo", "tempered", f"generate.{setting}")
    assert message.startswith(
        "reft-megatron: ConfigError: PPO trains the policy it samples from: set generate."
    )


def test_the_policy_starts_at_its_reference(reft: Run) -> None:
    assert reft.series("kl/sequence")[0] == 0
    assert reft.series("kl/token")[0] == 0
    assert all(abs(kl) > 0 for kl in reft.series("kl/token")[1:])


def test_the_first_update_is_on_policy(launch: Launcher, settings: tuple[str, ...]) -> None:
    """One update, no KL term, and the longer prompts left out."""
    lean = ("ppo.iterations=1", "ppo.updates_per_batch=1", "ppo.kl_coef=0")
    lengths = list(launch.prompt_lengths("train").values())
    run = launch(1, "ppo", "lean", *settings, *lean, f"generate.max_prompt_tokens={min(lengths)}")
    assert run.series("policy/ratio") == [pytest.approx(1, abs=1e-5)]
    assert run.series("policy/approx_kl") == [pytest.approx(0, abs=1e-6)]
    assert run.series("policy/clip_fraction") == [0]
    assert run.series("reward/kl") == [0]
    assert run.series("kl/sequence") == run.series("kl/token") == [], "there is no reference"
    assert run.series("prompts/dropped") == [sum(n > min(lengths) for n in lengths)]
    assert 0 < run.series("prompts/dropped")[0] < 32


def test_steps_that_blow_up_are_named(launch: Launcher, settings: tuple[str, ...]) -> None:
    """The first update applies and ruins the weights; the next two are skipped."""
    wild = ("optimizer.lr=1e30", "optimizer.clip_grad=0", "run.max_skipped_steps=1")
    updates = ("ppo.iterations=9", "ppo.updates_per_batch=3")
    run = launch.start(2, "ppo", "wild-ppo", *settings, *wild, *updates)
    run.wait()
    assert run.codes == [1, 1]
    assert run.err[0] == run.err[1]
    told = re.fullmatch(
        r"reft-megatron: TrainingError: 2 optimizer steps were skipped for a loss or gradient "
        r"that is not finite, more than run.max_skipped_steps=1; the last was step (\d) \(loss "
        r"nan, gradient norm nan; rank 0: problems ([^;]*); rank 1: problems ([^;]*)\). Lower "
        r"optimizer.lr or look at those problems.\n",
        run.err[0],
    )
    assert told, run.err[0]
    asked = {r.completion.problem_id for r in Ledger(run.folder / "ledger").read(int(told[1]))}
    assert set(told[2].split(", ")) | set(told[3].split(", ")) == asked


def test_ruined_weights_stop_the_run_and_what_they_said_is_kept(
    launch: Launcher, settings: tuple[str, ...]
) -> None:
    wild = ("optimizer.lr=1e30", "optimizer.clip_grad=0", "ppo.updates_per_batch=1")
    told = launch.refused(1, "ppo", "ruined", *settings, *wild, "ppo.iterations=9")
    assert told == (
        "reft-megatron: TrainingError: iteration 2: sampler and trainer differ by a mean ratio of "
        "nan: the policy's log-probs are no numbers any more, so its weights are ruined. Go on "
        "from an earlier checkpoint with a lower optimizer.lr.\n"
    )
    assert Ledger(launch.folder / "ruined" / "ledger").iterations() == [1, 2]
