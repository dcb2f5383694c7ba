"""Which curves a run's report shows, and how a person should read them.

Owns the choice of panels, their titles and the captions, as data. How they are drawn: `log.curves`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reft_megatron.log.metrics import GLOSSARY
from reft_megatron.types import Reason

__all__ = ["PICTURES", "Panel", "Picture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    """What it shows."""
    lines: Mapping[str, str]
    """Metric to its name in the legend; all of one unit."""
    stacked: bool = False
    """Areas on top of each other, for parts of a whole; False draws lines."""

    @property
    def unit(self) -> str:
        """Unit of its metrics."""
        return GLOSSARY[next(iter(self.lines))].unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image: panels that are read together."""

    key: str
    """Name of the file, without the ending."""
    title: str
    """Heading."""
    caption: str
    """How to read it, for someone who has not seen such a curve."""
    panels: tuple[Panel, ...] = field(default=())
    """Left to right, at most three in a row."""


def _alone(name: str, title: str) -> Panel:
    return Panel(title=title, lines={name: title})


PICTURES: tuple[Picture, ...] = (
    Picture(
        key="reward",
        title="Reward",
        caption="The answers the policy sampled while learning. Reward and accuracy should climb; "
        "reward lies above accuracy because a wrong number still earns a little. The gap between "
        "reward and reward with KL penalty is what drifting from the reference policy costs.",
        panels=(
            Panel(
                title="Mean reward",
                lines={"reward/mean": "reward", "reward/total": "with KL penalty"},
            ),
            _alone("reward/accuracy", "Sampled answers that are right"),
            _alone("reward/kl", "KL penalty"),
        ),
    ),
    Picture(
        key="accuracy",
        title="Accuracy",
        caption="Problems that are never trained on. Dev accuracy chooses the checkpoint that is "
        "kept; test accuracy only reports. When this stalls while reward still climbs, the policy "
        "is learning its training problems by heart.",
        panels=(
            Panel(
                title="Held-out problems answered right",
                lines={
                    "eval/dev_accuracy": "dev, greedy",
                    "eval/test_accuracy": "test, greedy",
                    "eval/vote_accuracy": "majority vote",
                },
            ),
        ),
    ),
    Picture(
        key="reranker",
        title="Reranker",
        caption="How well a reranker tells right completions of problems that it is not trained on "
        "from wrong ones: 0.5 is guessing, 1 is perfect.",
        panels=(
            _alone("eval/dev_auc", "Area under the curve on dev"),
            _alone("eval/dev_loss", "Cross-entropy on dev"),
        ),
    ),
    Picture(
        key="verdicts",
        title="Verdicts",
        caption="Why completions got their reward; each height is a share of the iteration's "
        "completions and all sum to 100%. Green should grow. Programs that crash or do not parse "
        "should shrink early, for they are the easiest thing to unlearn.",
        panels=(
            Panel(
                title="Completions by verdict",
                lines={f"verdict/{r}": r.replace("_", " ") for r in Reason},
                stacked=True,
            ),
        ),
    ),
    Picture(
        key="kl",
        title="Distance from the reference policy",
        caption="How much likelier the sampled answers have become than under the frozen "
        "reference. It should rise slowly and level off; a steep climb with falling reward means "
        "the policy is running away, and a higher ppo.kl_coef holds it back.",
        panels=(
            _alone("kl/sequence", "KL per response"),
            _alone("kl/token", "KL per token"),
        ),
    ),
    Picture(
        key="value",
        title="Value head",
        caption="The value head predicts the reward to come. Explained variance starts near or "
        "under 0 (it knows nothing) and should rise towards 1; the mean value should meet the mean "
        "return.",
        panels=(
            _alone("value/explained_variance", "Explained variance"),
            Panel(
                title="Prediction and target",
                lines={"value/mean": "mean value", "return/mean": "mean return"},
            ),
            _alone("value/loss", "Value loss"),
        ),
    ),
    Picture(
        key="policy",
        title="Policy updates",
        caption="How far one batch moves the policy. The ratio should stay near 1 and few tokens "
        "should be clipped; more means the learning rate is high. Entropy falls as the policy "
        "grows sure; a collapse towards 0 ends exploration.",
        panels=(
            _alone("policy/entropy", "Entropy"),
            _alone("policy/ratio", "Probability ratio"),
            _alone("policy/clip_fraction", "Tokens clipped"),
            _alone("policy/approx_kl", "KL of one batch of updates"),
            _alone("policy/loss", "Policy loss"),
        ),
    ),
    Picture(
        key="advantage",
        title="Advantages",
        caption="How much better sampled actions turned out than the value head expected. The mean "
        "should stay near 0; the variance shrinks as the value head learns. Both are taken before "
        "whitening.",
        panels=(
            _alone("advantage/mean", "Mean advantage"),
            _alone("advantage/variance", "Variance of the advantage"),
        ),
    ),
    Picture(
        key="response",
        title="Response length",
        caption="Length in tokens, and how many responses ended by themselves. Lengths that run "
        "to the limit while fewer responses finish are a policy that has begun to ramble.",
        panels=(
            Panel(
                title="Length",
                lines={
                    "response/length": "response, mean",
                    "response/length_std": "response, standard deviation",
                    "prompt/length": "prompt, mean",
                },
            ),
            _alone("response/finished", "Responses that finished"),
        ),
    ),
    Picture(
        key="training",
        title="Optimizer",
        caption="Loss, gradient norm before clipping, and learning rate. Spikes in the gradient "
        "norm are clipped and harmless when rare.",
        panels=(
            _alone("train/loss", "Training loss"),
            _alone("train/grad_norm", "Gradient norm"),
            _alone("train/lr", "Learning rate"),
        ),
    ),
    Picture(
        key="learnt",
        title="Self-training",
        caption="Both halves of the loss, and what the policy teaches itself: right completions "
        "that are learnt from, and problems of an iteration that have none.",
        panels=(
            Panel(
                title="Loss by half",
                lines={"train/sampled_loss": "sampled", "train/gold_loss": "gold"},
            ),
            _alone("learnt/sampled", "Completions learnt from"),
            _alone("learnt/unsolved", "Problems without a right one"),
        ),
    ),
    Picture(
        key="health",
        title="Health",
        caption="The counts should stay at 0. The mismatch is the difference between the log-probs "
        "of the sampler and of the trainer for the same tokens: rounding, unless something is "
        "broken.",
        panels=(
            _alone("faults/executor", "Executor faults"),
            _alone("train/skipped_steps", "Skipped steps so far"),
            _alone("prompts/dropped", "Training problems left out"),
            _alone("mismatch/ratio", "Sampler against trainer: mean ratio"),
            Panel(
                title="Sampler against trainer",
                lines={"mismatch/mean": "mean", "mismatch/max": "max", "mismatch/k3": "k3"},
            ),
        ),
    ),
    Picture(
        key="time",
        title="Time per phase",
        caption="Where each iteration's seconds go. The dark line is the whole iteration; what "
        "lies between it and the areas is spent outside the phases.",
        panels=(
            Panel(
                title="Time per iteration",
                lines={
                    "time/generate": "generate",
                    "time/reward": "reward",
                    "time/score": "score",
                    "time/update": "update",
                    "time/evaluate": "evaluate",
                    "time/checkpoint": "checkpoint",
                },
                stacked=True,
            ),
        ),
    ),
    Picture(
        key="speed",
        title="Speed",
        caption="Tokens per second over all ranks, by phase. Generation slows as responses grow.",
        panels=(
            Panel(
                title="Throughput",
                lines={
                    "speed/generate_tokens_per_s": "generate",
                    "speed/score_tokens_per_s": "score",
                    "speed/update_tokens_per_s": "update",
                    "speed/evaluate_tokens_per_s": "evaluate",
                },
            ),
            Panel(
                title="Lost to checking completions",
                lines={"speed/reward_share": "reward"},
            ),
        ),
    ),
)
"""The pictures in the order of the report; one without any data is left out."""
