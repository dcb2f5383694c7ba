"""The one list of metrics: name, unit and one line of meaning each.

Owns the names; `log.logger` refuses any other. `docs/metrics.md` is `glossary_markdown()`. What a
metric is called is decided here, how it is computed in the room that owns its formula.

Try it: `python -c "from reft_megatron.log.metrics import *; print(glossary_markdown())"`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

from reft_megatron.types import Reason

__all__ = ["GLOSSARY", "Metric", "check_names", "glossary_markdown", "is_timing", "value_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What one number means."""

    unit: str
    """What it counts: nats, tokens, s, share (0 to 1), points (of reward), ratio, ..."""
    meaning: str
    """One sentence without a full stop at its end."""


_GROUPS = {
    "reward": "How good the sampled completions of the iteration were, before learning from them.",
    "verdict": "Why the completions got their rewards; the shares of one iteration sum to 1.",
    "kl": "How far the policy has moved from the frozen reference policy; not told without one "
    "(`ppo.kl_coef=0`).",
    "policy": "The policy's side of PPO; means over sequences of the mean over response tokens, "
    "unless said otherwise.",
    "value": "The value head's side of PPO.",
    "return": "What the value head is trained to predict.",
    "advantage": "How much better an action turned out than the value head expected.",
    "response": "The sampled responses.",
    "prompt": "The prompts they answer.",
    "train": "The optimizer, in every recipe.",
    "learnt": "What an iteration of online self-training learns from, beside gold chains.",
    "eval": "Greedy or voted answers; dev and test problems are never trained on.",
    "faults": "What went wrong around the model, not in it.",
    "prompts": "Problems that cannot be asked.",
    "mismatch": "Whether the sampler and the trainer agree on the policy.",
    "time": "Wall-clock time; written to `timing.jsonl`, for no two runs share it.",
    "speed": "Throughput over all ranks, and what is lost; written to `timing.jsonl` too.",
}

_VERDICTS = {
    Reason.CORRECT: "the extracted answer equals the gold answer",
    Reason.WRONG_VALUE: "an answer was extracted and it is wrong",
    Reason.NO_SOLUTION: "no program or no answer was found in the text",
    Reason.SYNTAX_ERROR: "the program does not parse",
    Reason.RUNTIME_ERROR: "the program raised an exception",
    Reason.TIMEOUT: "the program ran past its step or time limit",
    Reason.MEMORY: "the program ran past its memory, or another, limit",
    Reason.NON_FINITE: "the program returned an infinity or not-a-number",
    Reason.NON_NUMERIC: "the program returned something that is no number",
    Reason.DENIED: "the program reached for files, processes, the network or the interpreter",
    Reason.EXECUTOR_FAULT: "the checker itself failed twice; left out of training, never scored 0",
}

_ROWS = (
    ("reward/mean", "points", "Mean reward: 1 right, `rewards.partial` numeric but wrong, else 0"),
    ("reward/accuracy", "share", "Completions whose answer is right; partial reward not counted"),
    ("reward/kl", "points", "Mean over sequences of the KL penalty inside the reward, -beta kl"),
    ("reward/total", "points", "`reward/mean` plus `reward/kl`: what PPO maximises"),
    *((f"verdict/{r}", "share", f"Completions where {_VERDICTS[r]}") for r in Reason),
    ("kl/sequence", "nats", "Log-ratio of sampler to reference summed per response, then averaged"),
    ("kl/token", "nats", "The same log-ratio per response token; can be negative, as one sample"),
    ("policy/loss", "points", "Clipped policy loss of the last update on the batch"),
    ("policy/ratio", "ratio", "Mean of new over old probability of the sampled tokens; near 1"),
    ("policy/clip_fraction", "share", "Tokens at which the clip held the loss back"),
    ("policy/approx_kl", "nats", "Mean of ratio - 1 - log ratio: how far the updates moved"),
    (
        "policy/entropy",
        "nats",
        "Entropy of the policy's distribution, mean over all response tokens",
    ),
    (
        "value/loss",
        "squared points",
        "Clipped value loss of the last update before `ppo.value_coef`",
    ),
    ("value/explained_variance", "ratio", "1 - var(return - value) / var(return), at least -1"),
    ("value/mean", "points", "Mean value over response tokens, before the updates"),
    ("return/mean", "points", "Mean return over response tokens: advantage plus old value"),
    ("advantage/mean", "points", "Mean advantage over response tokens, before whitening"),
    ("advantage/variance", "squared points", "Variance of the advantages, before whitening"),
    ("response/length", "tokens", "Mean response length, the end-of-sequence token included"),
    ("response/length_std", "tokens", "Standard deviation of the response length"),
    ("response/finished", "share", "Responses that ended by themselves within the length limit"),
    ("prompt/length", "tokens", "Mean prompt length"),
    ("train/loss", "nats", "The loss the optimizer saw; for PPO policy plus weighted value loss"),
    ("train/grad_norm", "norm", "Global gradient norm before clipping"),
    ("train/lr", "rate", "Learning rate of the step"),
    ("train/skipped_steps", "steps", "Steps skipped so far for a non-finite loss or gradient"),
    (
        "train/epoch",
        "epochs",
        "Passes so far over the problems, or texts, that are learnt from",
    ),
    (
        "train/sampled_loss",
        "nats",
        "Half of self-training's loss: mean over tokens of right samples",
    ),
    ("train/gold_loss", "nats", "Its other half: mean over tokens of gold chains of thought"),
    (
        "learnt/sampled",
        "completions",
        "Right completions of the iteration, each text once and none that is the gold one",
    ),
    ("learnt/unsolved", "prompts", "Problems of the iteration without a right completion"),
    ("eval/train_accuracy", "share", "Training problems answered right, greedy"),
    ("eval/dev_accuracy", "share", "Dev problems answered right, greedy; selects checkpoints"),
    (
        "eval/dev_auc",
        "share",
        "Pairs of a right and a wrong dev rollout that a reranker tells apart",
    ),
    ("eval/dev_loss", "nats", "Cross-entropy of a reranker on the dev rollouts, mean over them"),
    ("eval/test_accuracy", "share", "Test problems answered right, greedy; selects nothing"),
    ("eval/vote_accuracy", "share", "Problems whose majority answer over the samples is right"),
    ("eval/rerank_accuracy", "share", "Problems whose best-scored answer is right"),
    (
        "eval/weighted_accuracy",
        "share",
        "Problems whose answer is right that has most votes weighted by the reranker's probability",
    ),
    ("eval/rerank_auc", "share", "Pairs of a right and a wrong sample that a reranker tells apart"),
    ("eval/rerank_loss", "nats", "Cross-entropy of the reranker on the samples, mean over them"),
    (
        "faults/executor",
        "verdicts",
        "Completions of the iteration that could not be judged, after one retry each",
    ),
    ("prompts/dropped", "prompts", "Training problems left out, as their prompts are too long"),
    (
        "mismatch/ratio",
        "ratio",
        "Mean of exp of the absolute difference of sampler's and trainer's log-probs",
    ),
    (
        "mismatch/k3",
        "nats",
        "Estimate of the KL divergence of the trainer's from the sampler's distribution (k3)",
    ),
    ("mismatch/mean", "nats", "Mean absolute difference of sampler's and trainer's log-probs"),
    ("mismatch/max", "nats", "Largest absolute difference of sampler's and trainer's log-probs"),
    ("time/generate", "s", "Sampling completions"),
    ("time/reward", "s", "Checking completions after generation has ended"),
    ("time/score", "s", "Log-probs and values of policy and reference; a reranker's scores"),
    ("time/update", "s", "Forward, backward and optimizer steps"),
    ("time/evaluate", "s", "Evaluation on held-out problems"),
    ("time/checkpoint", "s", "Writing a checkpoint"),
    ("time/iteration", "s", "The whole iteration, what lies between the phases included"),
    ("speed/generate_tokens_per_s", "tokens/s", "Response tokens sampled per second"),
    ("speed/score_tokens_per_s", "tokens/s", "Tokens scored per second"),
    ("speed/update_tokens_per_s", "tokens/s", "Tokens trained on per second"),
    ("speed/evaluate_tokens_per_s", "tokens/s", "Response tokens of evaluation per second"),
    ("speed/reward_share", "share", "Part of the iteration that checking completions takes"),
)

GLOSSARY: Mapping[str, Metric] = MappingProxyType(
    {name: Metric(unit=unit, meaning=meaning) for name, unit, meaning in _ROWS}
)
"""Every metric by name, in the order tables and files use."""


def is_timing(name: str) -> bool:
    """True for metrics of the clock, which no two runs share; they are kept apart on disk."""
    return name.startswith(("time/", "speed/"))


def value_text(name: str, value: float) -> str:
    """The value of a metric as people read it: `41.2%`, `12,345`, or four digits."""
    if GLOSSARY[name].unit == "share":
        return f"{value:.1%}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def check_names(names: Iterable[str]) -> None:
    """Raise KeyError for the first name that is not in `GLOSSARY`, naming the nearest one."""
    for name in names:
        if name not in GLOSSARY:
            near = difflib.get_close_matches(name, GLOSSARY, n=1, cutoff=0.0)[0]
            raise KeyError(
                f"unknown metric {name}; the nearest known one is {near}. "
                "Add new metrics to reft_megatron/log/metrics.py."
            )


def glossary_markdown() -> str:
    """The text of `docs/metrics.md`: one table per group, in glossary order."""
    lines = [
        "# Metrics",
        "",
        "Every number a run logs. Written by `glossary_markdown()` in",
        "`reft_megatron/log/metrics.py`, which a test compares with this file; edit that list.",
        "`metrics.jsonl` holds one object per logged step: `step`, then metrics in this order;",
        "a value that is not finite is written as `null`. Shares lie between 0 and 1.",
    ]
    for group, names in groupby(GLOSSARY, key=lambda name: name.split("/")[0]):
        lines += ["", f"## {group}", "", _GROUPS[group], ""]
        lines += ["| metric | unit | meaning |", "|---|---|---|"]
        lines += [f"| `{n}` | {GLOSSARY[n].unit} | {GLOSSARY[n].meaning} |" for n in names]
    return "\n".join(lines) + "\n"
