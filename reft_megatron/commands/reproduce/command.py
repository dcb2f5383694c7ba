"""The command line of `reft-megatron reproduce`, and the way through a pipeline.

Owns the options, the order of what is done, and one line for every stage.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from reft_megatron.commands.reproduce.execution import Stopper, execute, held
from reft_megatron.commands.reproduce.figures import gather
from reft_megatron.commands.reproduce.identity import Record, read_record, write_record
from reft_megatron.commands.reproduce.pipeline import Pipeline
from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.commands.reproduce.plan import Step, check_inputs, plan
from reft_megatron.commands.reproduce.results_file import write_results
from reft_megatron.commands.reproduce.table import show_results
from reft_megatron.durations import duration_text
from reft_megatron.errors import ConfigError, DataError, TrainingError
from reft_megatron.files import write_whole

__all__ = ["parser", "run"]

_IN_FILES = 160
"""Columns of a table."""


def run(arguments: Sequence[str]) -> None:
    """Run the command; raises ReftError for bad input and for a stage that failed or stopped."""
    options = parser().parse_intermixed_args(arguments)
    pipeline = read_pipeline(
        options.config,
        overrides=options.overrides,
        folder=None if options.folder is None else str(options.folder),
        seeds=options.seed,
        launch=options.launch,
        processes=options.processes,
    )
    for name in [*options.redo, *filter(None, [options.stage])]:
        if name not in pipeline.stages:
            raise ConfigError(f"no stage {name}; there are {', '.join(pipeline.stages)}.")
    # A file or a pipe has no width, and takes long lines.
    width = None if sys.stdout.isatty() else _IN_FILES
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False, width=width)
    if options.table:
        _tell(console, _finished(console, pipeline))
        return
    removed = pipeline.followers(options.redo)
    names = None if options.stage is None else pipeline.sources(options.stage)
    steps: list[Step] = []
    for seed in pipeline.seeds:
        steps += plan(pipeline, seed, names=names, removed=removed)
    if options.stage is not None:
        steps = [step for step in steps if step.stage.name == options.stage]
    if options.dry_run:
        _show(console, steps, removed)
        return
    _check_program(steps)
    _remove(console, pipeline, removed)
    stopper = Stopper()
    with stopper.listening():
        for step in steps:
            _make(console, pipeline, step, stopper=stopper)
    if options.stage is None and pipeline.rows:
        _tell(console, pipeline)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="reft-megatron reproduce",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Runs a pipeline, stage by stage, and ends with the table it leads to. A finished "
            "stage is not\nrun again as long as its settings, what it starts from and the files "
            "it names are the same;\nan interrupted one goes on from its last checkpoint."
        ),
        epilog=_NOTATION,
    )
    made.add_argument("--config", type=Path, metavar="FILE", required=True, help="the pipeline")
    made.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="a setting for every recipe"
    )
    made.add_argument("--folder", type=Path, help="where results go, instead of the file's folder")
    made.add_argument(
        "--seed",
        type=_natural,
        action="append",
        metavar="N",
        help="this seed, or these, instead of the file's; results of one go to its own folder",
    )
    made.add_argument("--launch", metavar="COMMAND", help="what starts the ranks of a recipe")
    made.add_argument("--processes", type=_natural, metavar="N", help="ranks of a recipe")
    made.add_argument("--stage", metavar="NAME", help="run this stage alone")
    made.add_argument(
        "--redo",
        action="append",
        default=[],
        metavar="NAME",
        help="remove this stage and all that start from it, to make them again",
    )
    made.add_argument(
        "--dry-run", action="store_true", help="show what there is to do, with every command"
    )
    made.add_argument("--table", action="store_true", help="print the table of what is finished")
    return made


_NOTATION = """\
a pipeline file:
  name, title    what it is called
  folder         its results; a stage has the folder FOLDER/seed-N/STAGE
  seeds          a list of numbers; each is run.seed and task.data_seed of a round of all stages
  launch         what starts the ranks, and takes what Python takes; {processes} is replaced
                 (default: torchrun --standalone --nproc-per-node {processes})
  processes      how many ranks (default: 1)
  cpu            true hides the GPUs of the machine
  settings       sections of settings for every recipe
  inputs         section.key: STAGE:latest, STAGE:best or STAGE:ledger, for every recipe
  stages         NAME: with
    recipe         one of the recipes
    command        or any command; {folder}, {seed} and its inputs are replaced, and what it
                   writes is STAGE:FILE for others
    settings       as above, for this stage
    inputs         as above, for this stage
    like           another stage, whose recipe, settings and inputs this one has too
  table          METHOD: with
    stage          the evaluation that has its figures
    role           start, baseline, rival, ours or ablation
    meaning        a sentence for newcomers
    paper          the paper's figures: VERSION/TASK-FORM/MODEL/METHOD

examples:
  reft-megatron reproduce --config examples/configs/quickstart.yaml --dry-run
  reft-megatron reproduce --config examples/configs/quickstart.yaml --seed 1
  reft-megatron reproduce --config examples/configs/quickstart.yaml --stage warmup
  reft-megatron reproduce --config examples/configs/quickstart.yaml --redo sft"""


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a number, saw {text!r}")
    return int(text)


def _remove(console: Console, pipeline: Pipeline, names: Sequence[str]) -> None:
    """Remove stages of all seeds; none of them if one is being made by somebody else."""
    folders = [pipeline.folder_of(name, seed) for seed in pipeline.seeds for name in names]
    there = [folder for folder in folders if folder.exists()]
    with contextlib.ExitStack() as locks:
        for folder in there:
            locks.enter_context(held(folder))
        for folder in there:
            shutil.rmtree(folder)
            console.print(f"== removed {folder}")


def _show(console: Console, steps: Sequence[Step], removed: Sequence[str]) -> None:
    """What there is to do, and why."""
    for step in steps:
        told = {
            "done": f"done ({duration_text(step.seconds)})",
            "go on": "goes on from its last checkpoint",
            "begin": "to be removed and made again"
            if step.stage.name in removed and step.folder.exists()
            else "not begun",
        }[step.state]
        inputs = ", ".join(map(str, step.stage.inputs.values()))
        console.print(f"== {_name(step)}{f', from {inputs}' if inputs else ''}: {told}")
        if step.state != "done":
            console.print(shlex.join(step.words))


def _check_program(steps: Sequence[Step]) -> None:
    """ConfigError if what has to be started is not on this machine."""
    for step in steps:
        program = next(word for word in step.words[1:] if "=" not in word)
        if step.state != "done" and shutil.which(program) is None:
            raise ConfigError(
                f"stage {step.stage.name} is started by {program}, which is no program here: "
                "install it, or name another with --launch."
            )


def _make(console: Console, pipeline: Pipeline, step: Step, *, stopper: Stopper) -> None:
    """Run a stage unless it is done; raises TrainingError if it fails or stops early."""
    if step.state == "done":
        if read_record(step.folder) is None:
            write_record(step.folder, Record(identity=step.identity, seconds=step.seconds))
        console.print(f"== {_name(step)}: done before, {duration_text(step.seconds)}")
        return
    if stopper.asked:
        raise TrainingError(f"stopped before stage {_name(step)}: run the same command to go on.")
    check_inputs(pipeline, step)
    console.print(f"== {_name(step)}{': goes on' if step.state == 'go on' else ''}")
    step.folder.mkdir(parents=True, exist_ok=True)
    write_record(step.folder, Record(identity=step.identity, seconds=step.seconds))
    began = time.monotonic()
    try:
        code = execute(step.words, step.folder, stopper=stopper)
    finally:
        seconds = step.seconds + time.monotonic() - began
        write_record(step.folder, Record(identity=step.identity, seconds=seconds))
    if stopper.asked:
        raise TrainingError(f"stopped in stage {_name(step)}: run the same command to go on.")
    if code:
        raise TrainingError(
            f"stage {_name(step)} failed with exit code {code}. Its output is in "
            f"{step.folder / 'output.log'}; its command was\n{shlex.join(step.words)}"
        )
    summary = step.folder / "summary.json"
    if not step.stage.recipe:
        write_whole(summary, "{}\n")
    if not summary.is_file():
        raise TrainingError(
            f"stage {_name(step)} stopped early, on SIGTERM: run the same command to go on."
        )
    console.print(f"== {_name(step)}: {duration_text(seconds)}")


def _finished(console: Console, pipeline: Pipeline) -> Pipeline:
    """The pipeline with the rows that are finished with all seeds; the others are named.

    Raises ConfigError without a table and for stages that were made otherwise, DataError if no row
    is finished.
    """
    if not pipeline.rows:
        raise ConfigError("the pipeline has no `table`, so there is none to print.")
    steps = [step for seed in pipeline.seeds for step in plan(pipeline, seed)]
    missing = {step.stage.name for step in steps if step.state != "done"}
    rows = tuple(row for row in pipeline.rows if row.stage not in missing)
    if not rows:
        raise DataError(
            f"no evaluation of the table is finished in {pipeline.folder}: run the pipeline "
            "(`--dry-run` shows what there is to do)."
        )
    if left := [row.name for row in pipeline.rows if row not in rows]:
        console.print(f"left out, not finished: {', '.join(left)}")
    return dataclasses.replace(pipeline, rows=rows)


def _tell(console: Console, pipeline: Pipeline) -> None:
    """Write and show the results of the pipeline."""
    # It loads torch and matplotlib, which takes seconds.
    from reft_megatron.commands.reproduce.report import write_report

    results = gather(pipeline)
    write_results(results)
    show_results(console, results)
    page = results.folder / "report.html"
    write_report(page, results)
    console.print(f"{results.folder / 'results.json'}")
    console.print(f"{page}: open it in a browser")


def _name(step: Step) -> str:
    return f"{step.stage.name}, seed {step.seed}"
