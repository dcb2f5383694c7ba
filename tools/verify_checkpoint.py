"""Whether our model says what transformers makes of a Hugging Face folder.

Owns the command, the prompts and the tables; `reft_megatron.policy.verify` compares.

Try it: `python tools/verify_checkpoint.py --hf data/CodeLlama-7b-hf`.
"""

from __future__ import annotations

import argparse
import random
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from reft_megatron.config import Config, load_config
from reft_megatron.errors import DataError, ReftError
from reft_megatron.policy import join, leave, tokenizer_path
from reft_megatron.policy.verify import Report, folder_head, verify
from reft_megatron.tokenizer import Tokenizer, load_tokenizer

_HELP = """\
examples:
  python tools/verify_checkpoint.py --hf data/CodeLlama-7b-hf
  python tools/verify_checkpoint.py --hf exports/tiny \\
      --checkpoint runs/tiny-from-hf/checkpoints/latest
  torchrun --nproc-per-node 2 tools/verify_checkpoint.py --hf data/CodeLlama-7b-hf \\
      parallel.tensor=2 parallel.sequence=true

Logits are compared for every token of every prompt, and values (v_head.summary) or scores of a
classifier where the folder has such a head. transformers computes in fp32 on the CPU of the first
process, which takes 4 bytes a weight there; ours runs at the layout and precision of the settings
(fp32 unless model.precision=bf16, which wants a tolerance of 0.1 or so). If they differ, a second
table shows where in the network it begins. The exit status is 0 if all agree, else 1.
"""
_PROMPTS = (
    "Question:\nTom has 3 eggs and eats 1. How many eggs are left?\nAnswer reasoning:\n",
    'def solution():\n    """Ann buys 12 pens at $1.50 each."""\n    total = 12 * 1.5\n',
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "a",
)
_DRAWN = 48


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; returns the exit status: 0 if the models agree, 1 if not or for bad input."""
    # Intermixed, so that settings may follow options.
    options = _parser().parse_intermixed_args(arguments)
    # What Megatron and torch warn of concerns their own callers.
    warnings.simplefilter("ignore")
    try:
        config = _config(options)
        tokenizer = load_tokenizer(tokenizer_path(config) or options.hf)
        prompts = _prompts(options.prompts, tokenizer)
        run = config.run
        mesh = join(
            config.parallel, seed=run.seed, timeout_s=run.collective_timeout_s, threads=run.threads
        )
        report = verify(
            config,
            mesh,
            tokenizer,
            folder=options.hf,
            prompts=list(prompts.values()),
            tolerance=options.tolerance,
        )
    except ReftError as error:
        print(f"verify_checkpoint: {error}", file=sys.stderr)
        return 1
    if mesh.main:
        print(f"ours, from {options.checkpoint or config.model.hf}")
        print(f"transformers', from {options.hf}")
        _show(report, list(prompts))
    leave()
    return 0 if report.agrees else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare our model with transformers' model of a Hugging Face folder.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("settings", nargs="*", metavar="section.key=value", help="settings, as the trainer takes")
    add("--hf", type=Path, required=True, help="Hugging Face folder; transformers loads it")
    add("--checkpoint", help="checkpoint that ours loads; without it, ours loads the folder")
    add("--prompts", type=Path, help=r"text file of prompts, one a line, `\n` for a newline")
    add("--tolerance", type=float, default=1e-4, help="largest difference (default 1e-4)")
    return parser


def _config(options: argparse.Namespace) -> Config:
    origin = f"model.load={options.checkpoint}" if options.checkpoint else f"model.hf={options.hf}"
    rerank = folder_head(options.hf) == "rerank"
    head = f"model.head={'rerank' if rerank else 'value'}"
    return load_config(None, [origin, head, *options.settings])


def _prompts(path: Path | None, tokenizer: Tokenizer) -> dict[str, list[int]]:
    """Token ids of the prompts, by what to call them: those of a file, or ours."""
    texts: Sequence[str] = _PROMPTS
    if path:
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the prompts {path}: {error}") from None
        texts = [line.replace("\\n", "\n") for line in lines if line]
    prompts = {text.replace("\n", "\\n"): tokenizer.encode(text) for text in texts}
    if not path:
        drawn = random.Random(0).choices(range(tokenizer.vocab_size), k=_DRAWN)
        prompts[f"{_DRAWN} tokens drawn at random"] = drawn
    return prompts


def _show(report: Report, names: Sequence[str]) -> None:
    console = Console()
    kinds = list(report.prompts[0])
    table = Table(Column("prompt", no_wrap=True, max_width=28))
    for kind in kinds:
        table.add_column(f"{kind} max", justify="right", no_wrap=True)
        table.add_column("mean", justify="right", no_wrap=True)
    for name, found in zip(names, report.prompts, strict=True):
        numbers = [x for kind in kinds for x in (found[kind].largest, found[kind].mean)]
        table.add_row(Text(name), *(f"{x:.1e}" for x in numbers))
    console.print(table)
    if report.agrees:
        print(f"they agree: no difference is over {report.tolerance:g}")
        return
    table = Table("after", Column("relative difference", justify="right"))
    for place, difference in report.places:
        table.add_row(place, f"{difference:.1e}")
    console.print(Text(f"\n{names[report.worst]}", overflow="ellipsis", no_wrap=True), table)
    where = f"it begins in {report.first}" if report.first else "it grows evenly with depth"
    print(f"they differ by more than {report.tolerance:g}: {where}")


if __name__ == "__main__":
    sys.exit(main())
