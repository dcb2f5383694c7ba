"""A checkpoint of this project as a Hugging Face folder.

Owns the command line; `reft_megatron.policy.huggingface` owns the conversion.

Try it: `python tools/megatron_to_hf.py --input runs/gsm8k/checkpoints/best --output gsm8k-best`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started by its path: `tools` is found from the root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tools.cpu_only  # noqa: F401  # torch must not have looked yet
from reft_megatron.policy.huggingface import DTYPE_CHOICES, to_huggingface
from tools.conversion import make_parser, run

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
    parser = make_parser(
        "Make a Hugging Face folder from a checkpoint of this project.",
        epilog=_HELP,
        source="checkpoint folder",
        result="Hugging Face folder",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPE_CHOICES,
        default="auto",
        help="of the weights; auto: as the model came, and a head as in the checkpoint (default); "
        "stored: all as in the checkpoint",
    )
    parser.add_argument(
        "--shard-gb", type=float, default=5.0, help="largest weight file, in GB (default 5)"
    )
    parser.add_argument(
        "--drop-head",
        action="store_true",
        help="write the language model alone (vLLM refuses tensors that it does not know)",
    )
    options = parser.parse_args(arguments)
    return run(
        "megatron_to_hf",
        options,
        lambda world: to_huggingface(
            options.input,
            options.output,
            world=world,
            dtype=options.dtype,
            shard_bytes=round(options.shard_gb * 1e9),
            keep_head=not options.drop_head,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
