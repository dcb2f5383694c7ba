"""The command line: one door.

`reft-megatron RECIPE [--config FILE] [section.key=value ...]` starts a run, `reft-megatron COMMAND
...` does something else and reads its own arguments. Owns parsing, `--help` that lists every
setting, `--print-config`, and turning this package's errors into one paragraph and exit code 1.
Recipes and commands are imported only when one is asked for, so that help and bad settings answer
at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
import warnings
from collections.abc import Sequence

from reft_megatron import __version__
from reft_megatron.config import Config, describe, load_config, to_yaml
from reft_megatron.config.recipes import RECIPES
from reft_megatron.errors import ReftError

__all__ = ["COMMANDS", "RECIPES", "main", "run"]

COMMANDS = {
    "run-programs": "run the programs of a file, write down what each returns",
    "doctor": "what this machine has, and which backend serves each operator",
    "reproduce": "a pipeline of runs from one file, and the table it leads to",
    "rollouts": "list, show, compare and export what a run sampled",
    "audit": "what a run's reward gets wrong, on labelled completions",
    "compare": "two evaluations of the same problems: what differs, and how surely",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse `arguments` (default: the process's own), run the recipe, return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    if not given:
        parser.print_help()
        return 2
    if given[0] in COMMANDS:
        return _command(given[0], given[1:])
    # Intermixed, so that settings may follow `--config FILE`.
    parsed = parser.parse_intermixed_args(given)
    try:
        config = load_config(parsed.config, parsed.overrides)
    except ReftError as error:
        return _fail(error)
    if parsed.print_config:
        print(to_yaml(config), end="")
        return 0
    return run(parsed.recipe, config)


def run(recipe: str, config: Config) -> int:
    """Run one recipe under `config`; returns the exit code.

    An error of this package is printed without its traceback, by every rank that meets it; any
    other with it. Either way the process ends at once: other ranks may be waiting in a collective,
    and the launcher ends them (torchrun does; Slurm with `srun --kill-on-bad-exit=1`).
    """
    # What Megatron and torch warn of concerns their own callers; here it would bury what we say.
    warnings.simplefilter("ignore")
    try:
        module = importlib.import_module(f"reft_megatron.recipes.{recipe}")
        module.run(config)
    except ReftError as error:
        return _fail(error)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _command(name: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(f"reft_megatron.commands.{name.replace('-', '_')}")
    try:
        module.run(arguments)
    except ReftError as error:
        return _fail(error)
    return 0


def _fail(error: ReftError) -> int:
    print(f"reft-megatron: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return 1


def _parser() -> argparse.ArgumentParser:
    recipes = "\n".join(f"  {name:<10} {meaning}" for name, meaning in RECIPES.items())
    commands = "\n".join(f"  {name:<12} {meaning}" for name, meaning in COMMANDS.items())
    settings = "\n".join(
        f"  {key}={default}\n      {meaning}" for key, default, meaning in describe()
    )
    parser = argparse.ArgumentParser(
        prog="reft-megatron",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            f"Reinforced fine-tuning (ReFT) on Megatron-core.\n\nrecipes:\n{recipes}\n\n"
            f"commands (`reft-megatron COMMAND --help` explains them):\n{commands}"
        ),
        epilog=(
            "settings (key=default), given after the recipe or in the YAML file:\n"
            f"{settings}\n\n"
            "example:\n  torchrun --nproc-per-node 2 -m reft_megatron ppo "
            "--config examples/configs/ppo_gsm8k_tiny.yaml ppo.iterations=2"
        ),
    )
    parser.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help="one of the recipes")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="a setting")
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings")
    parser.add_argument("--print-config", action="store_true", help="show every setting and stop")
    parser.add_argument("--version", action="version", version=__version__)
    return parser
