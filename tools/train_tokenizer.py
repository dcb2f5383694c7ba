"""Trains a sentencepiece tokenizer on a task's texts or on a text file.

Owns the choice of texts; `reft_megatron.tokenizer_training` owns the training.

Try it: `python tools/train_tokenizer.py --task arithmetic --whole-numbers 100 --vocab-size 512
--output runs/arithmetic.model`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from reft_megatron.config import TaskConfig
from reft_megatron.errors import ConfigError, DataError, ReftError
from reft_megatron.tasks import arithmetic, load_task
from reft_megatron.tokenizer import load_tokenizer
from reft_megatron.tokenizer_training import train_tokenizer
from reft_megatron.types import Form

_TASKS = get_args(get_type_hints(TaskConfig)["name"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, say what came out, and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        train_tokenizer(
            file_texts(options.text) if options.text else task_texts(_task_config(options)),
            options.output,
            vocab_size=options.vocab_size,
            whole_numbers=options.whole_numbers,
            symbols=[symbol.replace("\\n", "\n").replace("\\t", "\t") for symbol in options.symbol],
        )
        tokenizer = load_tokenizer(options.output)
    except ReftError as error:
        print(f"train_tokenizer: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {tokenizer.vocab_size} pieces, fingerprint {tokenizer.fingerprint}")
    return 0


def task_texts(config: TaskConfig, *, documents: int = 20_000) -> Iterator[str]:
    """Prompt and answer of every training problem, after `documents` texts of the generated task.

    Problems of the dev and test splits are not read.
    """
    task = load_task(config)
    if task.name == "arithmetic":
        for question, rest in arithmetic.documents(count=documents, seed=config.data_seed):
            yield question + rest
    for problem in task.problems("train"):
        yield "".join(task.supervised_text(problem))


def file_texts(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, with their ends."""
    try:
        yield from path.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise DataError(f"cannot read the text file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: bad byte at {error.start}") from None


def _task_config(options: argparse.Namespace) -> TaskConfig:
    if options.task != "arithmetic" and not options.train:
        raise ConfigError(
            f"--task {options.task} needs --train FILE, its training problems (GSM8K's as written "
            "by tools/prepare_gsm8k.py)."
        )
    return TaskConfig(name=options.task, form=options.form, train=options.train)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train_tokenizer", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--task", choices=_TASKS, help="train on this task's training split")
    source.add_argument("--text", type=Path, help="train on the lines of this file")
    parser.add_argument("--train", default="", help="training file of the task, if it reads one")
    parser.add_argument("--form", choices=get_args(Form), default="program", help="form of answers")
    parser.add_argument("--vocab-size", type=int, required=True, help="number of pieces")
    parser.add_argument(
        "--whole-numbers", type=int, default=0, metavar="N", help="numbers under N are one piece"
    )
    parser.add_argument(
        "--symbol",
        action="append",
        default=[],
        metavar="TEXT",
        help=r"a text that is always one piece, `\n` for a newline; may be given many times",
    )
    parser.add_argument("--output", type=Path, required=True, help="the .model file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
