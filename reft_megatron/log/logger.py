"""The one object through which a recipe tells people what happens.

Owns the run's metric files, TensorBoard and W&B output, and the terminal. Every rank makes one and
calls it alike; only the main rank writes and prints. Reports over finished runs: `log.report`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from reft_megatron.closing import Closing
from reft_megatron.config import Config, to_yaml
from reft_megatron.errors import ConfigError
from reft_megatron.log.metrics import GLOSSARY, check_names, is_timing, value_text
from reft_megatron.log.phases import Phase, Phases
from reft_megatron.log.records import RecordFile

__all__ = ["RunLog"]


class Sink(Protocol):
    """Something that keeps metrics."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of one step, given in glossary order."""

    def close(self) -> None:
        """Hand over everything that is still held back."""


class RunLog(Closing):
    """A run's log: use as a context manager, on every rank."""

    def __init__(self, folder: Path, config: Config, *, main: bool, start_step: int = 0) -> None:
        """Open the outputs that `config.log` asks for in `folder` (made if missing).

        main: whether this rank writes and prints; on others every method only checks its arguments.
        start_step: first step that will be recorded; what the files hold from there on is dropped,
            so that a resumed run leaves the files an uninterrupted one would.
        Raises ConfigError if W&B is asked for and not installed, DataError for damaged files.
        """
        self._console = Console(quiet=not main)
        self._phases = Phases(self._console, visible=main and config.log.progress)
        self._latest: dict[str, float] = {}
        self._latest_step = -1
        wandb = _import_wandb() if config.log.wandb_project else None
        self._sinks: list[Sink] = []
        if main:
            folder.mkdir(parents=True, exist_ok=True)
            self._sinks.append(_Files(folder, start_step))
            if config.log.tensorboard:
                self._sinks.append(_TensorBoard(folder / "tensorboard", start_step))
            if wandb is not None:
                self._sinks.append(_Wandb(wandb, folder, config))

    def close(self) -> None:
        """Hand over everything that is still held back."""
        for sink in self._sinks:
            sink.close()

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of one step (numbers, or anything `float` takes) to every output.

        Raises KeyError for a name that is not in `GLOSSARY`, on every rank alike.
        """
        check_names(metrics)
        ordered = {name: float(metrics[name]) for name in GLOSSARY if name in metrics}
        self._latest = (self._latest if step == self._latest_step else {}) | ordered
        self._latest_step = step
        for sink in self._sinks:
            sink.write(step, ordered)

    def table(self, step: int, total: int) -> None:
        """Print the metrics last recorded, one row a group."""
        table = Table(
            title=f"step {step} of {total}",
            title_justify="left",
            box=box.HORIZONTALS,
            show_header=False,
        )
        recorded = [name for name in GLOSSARY if name in self._latest]
        for group, names in groupby(recorded, key=lambda name: name.split("/")[0]):
            cells = [_cell(name, self._latest[name]) for name in names]
            if any(cells):
                table.add_row(f"[bold]{group}[/bold]", "   ".join(filter(None, cells)))
        self._console.print(table)

    def show(
        self, *, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
    ) -> None:
        """Print a table, of the fields of `log.page.Table`."""
        table = Table(
            title=title,
            title_justify="left",
            caption=note,
            caption_justify="left",
            box=box.HORIZONTALS,
        )
        for number, name in enumerate(header):
            table.add_column(name, justify="right" if number else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)

    def say(self, text: str) -> None:
        """Print one line, as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def phase(self, name: str, total: int | None, unit: str) -> AbstractContextManager[Phase]:
        """Time a phase (`time/<name>`) and show its progress; the yielded object has `advance(n)`.

        total: units to be done, None if not known; unit: what is counted, `tokens` for a speed.
        Raises KeyError if `time/<name>` is no metric.
        """
        return self._phases.phase(name, total, unit)

    def timings(self) -> dict[str, float]:
        """The `time/*` and `speed/*` metrics since the last call, ready for `record`."""
        return self._phases.timings()


class _Files:
    """`metrics.jsonl` with what a rerun reproduces, `timing.jsonl` with what it does not."""

    def __init__(self, folder: Path, start_step: int) -> None:
        self._metrics = RecordFile(folder / "metrics.jsonl", start_step=start_step)
        self._timing = RecordFile(folder / "timing.jsonl", start_step=start_step)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self._metrics.write(step, {k: v for k, v in metrics.items() if not is_timing(k)})
        self._timing.write(step, {k: v for k, v in metrics.items() if is_timing(k)})

    def close(self) -> None:
        self._metrics.close()
        self._timing.close()


class _TensorBoard:
    """Event files; `purge_step` makes TensorBoard hide what a resumed run repeats."""

    def __init__(self, folder: Path, start_step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=start_step)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A W&B run that a resumed run of the same settings continues."""

    def __init__(self, wandb: Any, folder: Path, config: Config) -> None:
        settings = hashlib.sha256(to_yaml(config).encode()).hexdigest()[:12]
        self._run = wandb.init(
            project=config.log.wandb_project,
            name=config.run.name,
            id=f"{config.run.name}-{settings}",
            resume="allow",
            dir=str(folder),
            config=dataclasses.asdict(config),
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


def _import_wandb() -> Any:
    try:
        import wandb
    except ImportError:
        raise ConfigError(
            "log.wandb_project is set, but the package wandb is not installed. "
            "Run `pip install wandb`, or leave log.wandb_project empty."
        ) from None
    return wandb


def _cell(name: str, value: float) -> str:
    """`accuracy=41.2%`, which no line break can split; empty for a failure that did not happen."""
    group, short = name.split("/")
    if group in ("verdict", "faults", "prompts") and not value:
        return ""
    return f"{short.removesuffix('_tokens_per_s')}={value_text(name, value)}"
