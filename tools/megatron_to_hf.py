"""A checkpoint of this project as a Hugging Face folder.

Owns the command line; `reft_megatron.policy.huggingface` owns the conversion.

Try it: `python tools/megatron_to_hf.py --input runs/gsm8k/checkpoints/best --output gsm8k-best`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reft_megatron.config import ParallelConfig
from reft_megatron.errors import ReftError
from reft_megatron.policy import join, leave
from reft_megatron.policy.huggingface import DTYPE_CHOICES, to_huggingface

_HELP = """\
examples:
  python tools/megatron_to_hf.py --input runs/gsm8k/checkpoints/best --output gsm8k-best
  torchrun --nproc-per-node 8 tools/megatron_to_hf.py --input runs/big/checkpoints/best \\
      --output big-best

The folder is what transformers and vLLM load: safetensors, config.json, generation settings and
tokenizer. A value head is saved as v_head.summary, as TRL does, a rerank head as score of a
ForSequenceClassification model. Whatever layout wrote the checkpoint does not matter.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert; returns the exit status: 1, with a message, for bad input."""
    options = _parser().parse_args(arguments)
    try:
        mesh = join(ParallelConfig(), seed=0, timeout_s=options.timeout, threads=1)
        done = to_huggingface(
            options.input,
            options.output,
            world=mesh.world,
            dtype=options.dtype,
            shard_bytes=round(options.shard_gb * 1e9),
            keep_head=not options.drop_head,
        )
        if mesh.main:
            print(
                f"{options.output}: {done.architecture.name}, {done.tensors} tensors, "
                f"{done.nbytes / 1e9:.3f} GB, head: {done.head}"
            )
        leave()
    except ReftError as error:
        print(f"megatron_to_hf: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make a Hugging Face folder from a checkpoint of this project.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face folder to make")
    parser.add_argument(
        "--dtype",
        choices=DTYPE_CHOICES,
        default="auto",
        help="of the weights; auto: as the model came (default), stored: as in the checkpoint",
    )
    parser.add_argument(
        "--shard-gb", type=float, default=5.0, help="largest weight file, in GB (default 5)"
    )
    parser.add_argument(
        "--drop-head",
        action="store_true",
        help="write the language model alone (vLLM refuses tensors that it does not know)",
    )
    parser.add_argument(
        "--timeout", type=int, default=3600, help="seconds that processes wait for each other"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
