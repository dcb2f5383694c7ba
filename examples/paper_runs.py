"""The paper's runs: what task, form and size change in a stage's settings.

Owns the numbers of the paper (arXiv 2401.08967, appendix B, and the scripts of its authors' code)
that hang on the task, and how runs are called and find one another. What hangs on the stage and the
size alone stands in `configs/<recipe>_gsm8k_<size>.yaml`, which is GSM8K as programs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["POLICIES", "PROBLEMS", "SIZES", "SPLITS", "STAGES", "Run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the paper, as a run of a recipe."""

    recipe: str
    """The recipe that runs it."""
    name: str
    """Last part of the run's name; {of} is the policy asked, {split} the split. A policy that is
    started from is named behind it, unless it is the paper's."""
    of: str = ""
    """The stage whose checkpoint it starts from, unless told otherwise; empty: the base model."""
    split: str = ""
    """The split that is sampled, unless told otherwise."""


STAGES: Mapping[str, Stage] = {
    "warmup": Stage(recipe="sft", name="warmup"),
    "sft": Stage(recipe="sft", name="sft"),
    "offline_sl": Stage(recipe="offline_sl", name="offline-sl"),
    "online_sl": Stage(recipe="online_sl", name="online-sl", of="warmup"),
    "ppo": Stage(recipe="ppo", name="reft", of="warmup"),
    "sample": Stage(recipe="sample", name="{of}-{split}-samples", of="warmup", split="train"),
    "rerank": Stage(recipe="rerank", name="{of}-reranker", of="ppo"),
    "evaluate": Stage(recipe="evaluate", name="{of}-test", of="ppo"),
}
POLICIES = ("warmup", "sft", "offline_sl", "online_sl", "ppo")
"""The stages that leave a policy."""
SPLITS = ("train", "dev", "test")
"""What can be sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """A task in one form."""

    train: str
    """Training file."""
    test: str
    """Test file."""
    count: int
    """Training problems of the paper (table 1), by which it counts epochs."""
    kl_coef: float
    """Weight of the KL penalty."""
    warmup_epochs: int
    """Epochs of the warm-up of the 6.7B model."""


def _authors(name: str, form: str) -> tuple[str, str]:
    kind = {"program": "python_sdp", "nl": "nl"}[form]
    return f"data/mwp_reft/{name}_{kind}.json", f"data/mwp_reft/{name}_test_set.json"


def _problems(files: tuple[str, str], count: int, kl_coef: float, *, warmup: int) -> Problems:
    train, test = files
    return Problems(train=train, test=test, count=count, kl_coef=kl_coef, warmup_epochs=warmup)


_GSM8K = "data/gsm8k/test.jsonl"
PROBLEMS: Mapping[tuple[str, str], Problems] = {
    ("gsm8k", "program"): _problems(("data/gsm8k/programs.json", _GSM8K), 7356, 0.01, warmup=2),
    ("gsm8k", "nl"): _problems(("data/gsm8k/train.jsonl", _GSM8K), 7465, 0.05, warmup=2),
    ("svamp", "program"): _problems(_authors("svamp", "program"), 3043, 0.01, warmup=2),
    ("svamp", "nl"): _problems(_authors("svamp", "nl"), 3076, 0.05, warmup=2),
    ("mathqa", "program"): _problems(_authors("mathqa", "program"), 15250, 0.01, warmup=2),
    ("mathqa", "nl"): _problems(_authors("mathqa", "nl"), 14862, 0.05, warmup=5),
    # The paper has no run of these programs; it says 0.05 of these words, its script 0.01.
    ("mathqa-numeric", "program"): _problems(
        _authors("mathqa-numeric", "program"), 7672, 0.01, warmup=10
    ),
    ("mathqa-numeric", "nl"): _problems(_authors("mathqa-numeric", "nl"), 8955, 0.01, warmup=10),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What the paper sets by the size of the model."""

    batch: int
    """Problems of a rollout batch."""
    epochs: int
    """Epochs of PPO."""


SIZES: Mapping[str, Size] = {
    "6.7b": Size(batch=32, epochs=300),
    "125m": Size(batch=256, epochs=700),
}
"""A tiny model is none of the paper's, and keeps the lengths of its config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the paper, picked by words."""

    stage: str
    """A key of STAGES."""
    task: str = "gsm8k"
    """Of which task."""
    form: str = "program"
    """In which form."""
    model: str = "6.7b"
    """Which size of model."""
    of: str = ""
    """Stage of the policy that is started from or asked; empty: the paper's."""
    split: str = ""
    """Split that is sampled; empty: training problems."""

    @property
    def name(self) -> str:
        """What the run is called."""
        stage = STAGES[self.stage]
        of = self.of or stage.of
        asked = STAGES[of].name if of else ""
        name = stage.name.format(of=asked, split=self.split or stage.split)
        if of != stage.of and "{of}" not in stage.name:
            name += f"-of-{asked}"
        return self._called(name)

    def settings(self) -> dict[str, str | int | float]:
        """What stands before the user's own settings: `section.key` and value."""
        problems = PROBLEMS[self.task, self.form]
        found: dict[str, str | int | float] = {
            "run.name": self.name,
            "task.name": self.task,
            "task.form": self.form,
            "task.train": problems.train,
            "task.test": problems.test,
        }
        stage = STAGES[self.stage]
        if of := self.of or stage.of:
            # The warm-up is where its schedule was cut short; of the others the best is taken.
            kind = "latest" if of == "warmup" else "best"
            found["model.load"] = f"runs/{self._called(STAGES[of].name)}/checkpoints/{kind}"
        if stage.split:
            found[f"{self.stage}.split"] = self.split or stage.split
        if self.stage in ("rerank", "offline_sl"):
            samples = Run(stage="sample", task=self.task, form=self.form, model=self.model)
            found[f"{self.stage}.ledger"] = f"runs/{samples.name}/ledger"
        return found | self._lengths(problems)

    def _lengths(self, problems: Problems) -> dict[str, str | int | float]:
        """Epochs and lengths of the paper's models."""
        found: dict[str, str | int | float] = {}
        if self.stage == "sft":
            found["sft.stop_after_epoch"] = 0
        if self.model not in SIZES:
            return found
        mathqa, small = self.task.startswith("mathqa"), self.model == "125m"
        size = SIZES[self.model]
        # MathQA's questions list their options, and a program's prompt asks them twice.
        found["generate.max_prompt_tokens"] = 1024 if mathqa else 624
        if STAGES[self.stage].recipe == "sft":
            found["sft.epochs"] = 100 if small and mathqa else 40
        if self.stage == "warmup":
            early = 40 if mathqa else 10
            found["sft.stop_after_epoch"] = early if small else problems.warmup_epochs
        if self.stage in ("ppo", "online_sl"):
            epoch = math.ceil(problems.count / size.batch)
            found[f"{self.stage}.iterations"] = size.epochs * epoch
            found[f"{self.stage}.evaluate_every"] = epoch
        if self.stage == "ppo":
            found["ppo.kl_coef"] = problems.kl_coef
        return found

    def _called(self, what: str) -> str:
        form = "" if self.form == "program" else f"-{self.form}"
        return f"{self.task}{form}-{self.model}-{what}"
