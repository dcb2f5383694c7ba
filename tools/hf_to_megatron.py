"""A Hugging Face checkpoint as a checkpoint of this project.

Owns the command line; `reft_megatron.policy.huggingface` owns the conversion.

Try it: `python tools/hf_to_megatron.py --input galactica-6.7b --output checkpoints/galactica-6.7b`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reft_megatron.config import ParallelConfig
from reft_megatron.errors import ReftError
from reft_megatron.policy import join, leave
from reft_megatron.policy.huggingface import to_checkpoint

_HELP = """\
examples:
  python tools/hf_to_megatron.py --input galactica-6.7b --output checkpoints/galactica-6.7b
  torchrun --nproc-per-node 8 tools/hf_to_megatron.py --input galactica-120b --output ckpt/120b
  reft-megatron sft model.load=checkpoints/galactica-6.7b ...

The checkpoint can be loaded at any parallel layout. It keeps each tensor's dtype, and takes along
config.json, generation settings and tokenizer. A run can also start from the Hugging Face folder
itself, with model.hf=FOLDER and no conversion. Weights pass through memory one at a time.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert; returns the exit status: 1, with a message, for bad input."""
    options = _parser().parse_args(arguments)
    try:
        mesh = join(ParallelConfig(), seed=0, timeout_s=options.timeout, threads=1)
        done = to_checkpoint(
            options.input, options.output, world=mesh.world, allow_nonfinite=options.allow_nonfinite
        )
        if mesh.main:
            print(
                f"{options.output}: {done.architecture.name}, {done.tensors} tensors, "
                f"{done.nbytes / 1e9:.3f} GB, head: {done.head}. Start from it with "
                f"model.load={options.output}"
            )
        leave()
    except ReftError as error:
        print(f"hf_to_megatron: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make a checkpoint of this project from a Hugging Face folder.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint folder to make")
    parser.add_argument(
        "--allow-nonfinite", action="store_true", help="convert weights that are NaN or infinite"
    )
    parser.add_argument(
        "--timeout", type=int, default=3600, help="seconds that processes wait for each other"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
