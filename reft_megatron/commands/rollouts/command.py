"""The command line of `reft-megatron rollouts`.

Owns the options, what they may be together, and what is said of damage and of empty results.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from reft_megatron.commands.rollouts.biography import show_biography
from reft_megatron.commands.rollouts.export import check_export, export
from reft_megatron.commands.rollouts.listing import show_listing
from reft_megatron.commands.rollouts.page import show_rollouts
from reft_megatron.commands.rollouts.screen import console
from reft_megatron.commands.rollouts.selection import (
    Reading,
    Selection,
    find_ledger,
    told_numbers,
)
from reft_megatron.errors import DataError
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from reft_megatron.types import Reason

__all__ = ["parser", "run"]


def run(arguments: Sequence[str]) -> None:
    """Run the command; raises ReftError for bad input.

    Damage is told at the end, when all that is whole has been shown.
    """
    made = parser()
    options = made.parse_args(arguments)
    _check_together(made, options)
    reading = Reading(find_ledger(options.ledger), _selection(options), checksums=not options.quick)
    if options.export is not None:
        check_export(options.export, reading.folder, force=options.force)
    tokenizer = None if options.tokenizer is None else _tokenizer(options.tokenizer, reading)
    if reading.unsealed:
        Console(stderr=True, highlight=False).print(
            f"left out, as not sealed: iteration {told_numbers(reading.unsealed)}"
        )
    screen = console()
    count = _answer(screen, reading, options, tokenizer=tokenizer)
    if not count:
        screen.print("no rollout matches")
    if options.export is not None:
        screen.print(f"{options.export}: {count:,} rollouts", soft_wrap=True)
    if reading.damage:
        raise DataError(
            f"what is shown lacks the rollouts of what is damaged: {'; '.join(reading.damage)}."
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="reft-megatron rollouts",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Shows what a run sampled: a table of its iterations, single rollouts token by token, "
            "how the\nanswers to one problem changed, or a file for other tools. The ledger may be "
            "larger than memory."
        ),
        epilog=(
            f"reasons of verdicts:\n  {', '.join(list(Reason)[:6])},\n"
            f"  {', '.join(list(Reason)[6:])}\n\n"
            "An export has the columns of the ledger and `iteration`. Log-probs are natural "
            "logarithms; each\nlist has one number per token of the response, and is null where "
            "rollouts were not scored. JSON has\nno nan and no infinity; they become null.\n\n"
            "Of damaged files the names are told, everything else is shown, and the exit code is "
            "1.\n\n"
            "examples:\n"
            "  reft-megatron rollouts runs/gsm8k-tiny-reft\n"
            "  reft-megatron rollouts runs/gsm8k-tiny-reft --iteration 1-3 --reason timeout\n"
            "  reft-megatron rollouts runs/gsm8k-tiny-reft/ledger --wrong --show --limit 5\n"
            "  reft-megatron rollouts runs/gsm8k-tiny-reft --problem gsm8k_12 --limit 1 \\\n"
            "      --tokens --tokenizer data/gsm8k/tiny.model\n"
            "  reft-megatron rollouts runs/gsm8k-tiny-reft --biography gsm8k_12\n"
            "  reft-megatron rollouts runs/gsm8k-tiny-reft --min-reward 1 --export right.jsonl"
        ),
    )
    _add_ways(made)
    _add_filters(made)
    return made


def _add_ways(made: argparse.ArgumentParser) -> None:
    made.add_argument("ledger", type=Path, metavar="LEDGER", help="a ledger, or a run's folder")
    ways = made.add_argument_group("what to do (default: tables of iterations and of verdicts)")
    one = ways.add_mutually_exclusive_group()
    one.add_argument("--show", action="store_true", help="print each rollout")
    one.add_argument(
        "--biography",
        metavar="PROBLEM",
        help="print all samples of a problem, and how each differs from the one before",
    )
    one.add_argument("--export", type=Path, metavar="FILE", help="write .parquet or .jsonl")
    ways.add_argument(
        "--tokens",
        action="store_true",
        help="--show, with log-probs, value, advantage and return of each token",
    )
    ways.add_argument(
        "--tokenizer",
        type=Path,
        metavar="PATH",
        help="the run's tokenizer.path: rollouts are shown with prompts, and tokens as text",
    )
    ways.add_argument("--force", action="store_true", help="let --export replace a file")
    ways.add_argument(
        "--quick",
        action="store_true",
        help="check the sizes of files only, not their checksums, for which all is read",
    )


def _add_filters(made: argparse.ArgumentParser) -> None:
    filters = made.add_argument_group("which rollouts (default: all; those that pass all of these)")
    filters.add_argument(
        "--iteration", type=_span, metavar="N[-M]", help="an iteration, or a range"
    )
    filters.add_argument("--problem", metavar="ID", help="answers to this problem")
    filters.add_argument(
        "--reason",
        type=_reason,
        action="append",
        default=[],
        help="with this verdict; given again: or with that",
    )
    filters.add_argument("--min-reward", type=float, metavar="R", help="with this reward or more")
    filters.add_argument("--max-reward", type=float, metavar="R", help="with this reward or less")
    filters.add_argument("--wrong", action="store_true", help="that are not correct")
    filters.add_argument("--truncated", action="store_true", help="that the length limit cut")
    filters.add_argument(
        "--version", type=int, metavar="N", help="of the policy after N optimizer steps"
    )
    filters.add_argument("--limit", type=_count, metavar="N", help="the first N only")


def _span(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(number.isdecimal() for number in numbers) or int(numbers[0]) > int(numbers[1]):
        raise argparse.ArgumentTypeError(f"wanted 3 or 3-7, saw {text!r}")
    return int(numbers[0]), int(numbers[1])


def _reason(text: str) -> Reason:
    if text not in [*Reason]:
        near = difflib.get_close_matches(text, [*Reason], n=1, cutoff=0.0)[0]
        raise argparse.ArgumentTypeError(f"unknown reason {text}; the nearest known one is {near}")
    return Reason(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"wanted 1 or more, saw {text!r}")
    return int(text)


def _check_together(made: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the process, as argparse does, where an option would do nothing."""
    other = options.biography is not None or options.export is not None
    if options.tokens and other:
        made.error("--tokens goes with --show, not with --biography or --export")
    if options.tokenizer is not None and not (options.show or options.tokens):
        made.error("--tokenizer goes with --show or --tokens")
    if options.force and options.export is None:
        made.error("--force goes with --export")
    if options.biography is not None and options.problem not in (None, options.biography):
        made.error("--biography and --problem name two problems")


def _selection(options: argparse.Namespace) -> Selection:
    return Selection(
        iterations=options.iteration,
        problem=options.problem if options.biography is None else options.biography,
        reasons=tuple(options.reason),
        min_reward=options.min_reward,
        max_reward=options.max_reward,
        wrong=options.wrong,
        truncated=options.truncated,
        version=options.version,
        limit=options.limit,
    )


def _tokenizer(path: Path, reading: Reading) -> Tokenizer:
    """The tokenizer at `path`; DataError if the token ids are known to be of another."""
    tokenizer = load_tokenizer(path)
    if others := reading.tokenizers() - {tokenizer.fingerprint}:
        raise DataError(
            f"{path} is the tokenizer {tokenizer.fingerprint}, and the rollout ledger "
            f"{reading.folder} has token ids of {', '.join(sorted(others))}. Take the "
            "tokenizer.path of the run's config.yaml."
        )
    return tokenizer


def _answer(
    screen: Console,
    reading: Reading,
    options: argparse.Namespace,
    *,
    tokenizer: Tokenizer | None,
) -> int:
    """Do what is wanted; returns how many rollouts it is about."""
    if options.export is not None:
        return export(reading, options.export)
    if options.biography is not None:
        return show_biography(screen, reading)
    if options.show or options.tokens:
        return show_rollouts(screen, reading, tokens=options.tokens, tokenizer=tokenizer)
    return show_listing(screen, reading)
