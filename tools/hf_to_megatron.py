"""A Hugging Face checkpoint as a checkpoint of this project.

Owns the command line; `reft_megatron.policy.huggingface` owns the conversion.

Try it: `python tools/hf_to_megatron.py --input galactica-6.7b --output checkpoints/galactica-6.7b`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started by its path: `tools` is found from the root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tools.cpu_only  # noqa: F401  # torch must not have looked yet
from reft_megatron.policy.huggingface import to_checkpoint
from tools.conversion import make_parser, run

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
    parser = make_parser(
        "Make a checkpoint of this project from a Hugging Face folder.",
        epilog=_HELP,
        source="Hugging Face folder",
        result="checkpoint folder",
    )
    parser.add_argument(
        "--allow-nonfinite", action="store_true", help="convert weights that are NaN or infinite"
    )
    options = parser.parse_args(arguments)
    return run(
        "hf_to_megatron",
        options,
        lambda world: to_checkpoint(
            options.input, options.output, world=world, allow_nonfinite=options.allow_nonfinite
        ),
        advice=f". Start from it with model.load={options.output}",
    )


if __name__ == "__main__":
    sys.exit(main())
