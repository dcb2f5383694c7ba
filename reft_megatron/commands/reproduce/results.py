"""What a pipeline found: methods, their figures, and where artefacts lie.

Owns the nouns that the table, `results.json` and the report share. Paths are of folders that their
stages finished; figures are shares in 0..1 under the names that `evaluate` gives them: `top-1`,
`vote@k`, `rerank@k`, `weighted@k`, `pass@k`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reft_megatron.rewards.statistics import Estimate

__all__ = ["Method", "PaperCell", "Results", "Role"]

Role = Literal["start", "baseline", "rival", "ours", "ablation"]
"""What a method is in the comparison: a model that others start from, what all are compared with,
another way to train, the method itself, or the method without one of its parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperCell:
    """A figure of the paper for the same cell of its table."""

    share: float
    """The figure, as a share in 0..1."""
    source: str
    """Table and version it stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method with one seed."""

    name: str
    """As the table calls it: SFT, ReFT."""
    role: Role
    """What it is in the comparison."""
    meaning: str
    """One sentence for a newcomer: how it was made; empty if nobody wrote one."""
    seed: int
    """Of data, weights and sampling."""
    runs: tuple[Path, ...]
    """Folders of the training runs it went through, its own last; none for a model from outside."""
    evaluation: Path
    """Folder of its evaluation: summary.json, outcomes.json, completions.jsonl, ballots.parquet
    if it sampled."""
    ledger: Path | None
    """Ledger of the samples that were counted; None if the evaluation drew its own, or none."""
    reranker: Path | None
    """Folder of the run that trained the reranker; None without one."""
    auc: float | None
    """How well the reranker tells right samples from wrong ones: the area under its ROC curve; None
    without one, or if all samples are alike."""
    seconds: float
    """Wall-clock time of its own training run."""
    figures: Mapping[str, Estimate]
    """Each figure with its interval over problems."""
    differences: Mapping[str, Estimate]
    """Each figure minus the baseline's on the same problems (paired bootstrap); none of the
    baseline, or where there is none."""
    paper: Mapping[str, PaperCell]
    """What the paper has for some of the figures."""
    gains: Mapping[str, Estimate] = field(default_factory=dict)
    """What choosing among samples is worth: one figure minus another on the same problems, as
    `vote@32 - top-1` and `rerank@32 - vote@32` (paired bootstrap)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All of a pipeline."""

    name: str
    """The pipeline's name."""
    title: str
    """Heading of table and page."""
    folder: Path
    """Where results.json and report.html lie."""
    split: str
    """Which problems were answered."""
    num_problems: int
    """How many; the same ones by all methods of a seed."""
    seeds: tuple[int, ...]
    """In the pipeline's order."""
    methods: tuple[Method, ...]
    """In the table's order, all of the first seed, then all of the second, ..."""
    stage_seconds: Mapping[str, float]
    """Wall-clock time of each stage, over all seeds and starts."""

    def of(self, seed: int) -> tuple[Method, ...]:
        """The methods of one seed, in the table's order."""
        return tuple(method for method in self.methods if method.seed == seed)

    def first(self, role: Role) -> list[Method]:
        """The first method of a role, with all seeds; empty if there is none."""
        return next((same for same in self.by_name() if same[0].role == role), [])

    @property
    def baseline(self) -> str:
        """Name of what all are compared with; empty without one."""
        return next((method.name for method in self.first("baseline")), "")

    def by_name(self, seeds: Collection[int] | None = None) -> list[list[Method]]:
        """The methods in the table's order, each with all seeds, or with some of them."""
        chosen = [method for method in self.methods if seeds is None or method.seed in seeds]
        names = dict.fromkeys(method.name for method in chosen)
        return [[method for method in chosen if method.name == name] for name in names]
