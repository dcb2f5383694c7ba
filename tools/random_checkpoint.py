"""A Hugging Face folder with random weights: to try things with, and to measure.

Owns drawing the weights, one at a time, so that a model of any size can be made, and a tokenizer of
numbered words.

Try it: `python tools/random_checkpoint.py --preset galactica-tiny --tokenizer tiny.model
--output checkpoints/tiny`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tokenizers
import torch

from reft_megatron.errors import ReftError
from reft_megatron.policy.families import Architecture, find_architecture, presets
from reft_megatron.policy.huggingface import DTYPES
from reft_megatron.policy.huggingface.mapping import weights
from reft_megatron.policy.huggingface.settings import settings_files
from reft_megatron.policy.huggingface.shard_plan import TensorInfo
from reft_megatron.policy.huggingface.writer import WeightWriter
from reft_megatron.tokenizer import load_tokenizer, tokenizer_files

_HELP = """\
example:
  python tools/random_checkpoint.py --preset galactica-tiny --tokenizer data/gsm8k/tiny.model \\
      --output checkpoints/tiny
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the folder; returns the exit status: 1, with a message, for bad input."""
    options = _parser().parse_args(arguments)
    try:
        tokenizer = load_tokenizer(options.tokenizer)
        files = {
            name: path.read_bytes() for name, path in tokenizer_files(options.tokenizer).items()
        }
        architecture = find_architecture(options.preset)
        architecture = replace(architecture, vocab=architecture.vocab or tokenizer.vocab_size)
        tokens = {"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
        nbytes = write(
            architecture,
            options.output,
            dtype=DTYPES[options.dtype],
            seed=options.seed,
            files=files,
            tokens=tokens,
        )
    except (ReftError, OSError) as error:
        print(f"random_checkpoint: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {architecture.name}, {nbytes / 1e9:.3f} GB of random {options.dtype}")
    return 0


def write(
    architecture: Architecture,
    folder: Path,
    *,
    dtype: torch.dtype,
    seed: int,
    files: dict[str, bytes],
    tokens: dict[str, int],
) -> int:
    """Write the folder, with `files` beside the weights; returns the bytes of its tensors.

    Weights are normal with the architecture's standard deviation, norms near one, biases near zero,
    so that none can hide behind a zero.
    """
    tensors = {
        name: TensorInfo(shape=shape, dtype=dtype)
        for weight in weights(architecture, vocab=architecture.vocab, head="none")
        for name, shape in weight.sources.items()
    }
    generator = torch.Generator().manual_seed(seed)
    with WeightWriter(folder, tensors) as writer:
        for name, info in tensors.items():
            drawn = torch.randn(info.shape, generator=generator) * architecture.init_std
            if len(info.shape) == 1 and name.endswith("weight"):
                drawn += 1
            writer.write(name, drawn.to(dtype))
        writer.finish(settings_files(architecture, files, head="none", dtype=dtype, tokens=tokens))
    return sum(info.nbytes for info in tensors.values())


def word_tokenizer(count: int) -> str:
    """A `tokenizer.json` of `count` ids: 0 begins, 1 pads and 2 ends a text, the rest are words."""
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2}
    words = {f"w{number}": number for number in range(3, count)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({**ids, **words}, unk_token="w3"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.add_special_tokens(list(ids))
    return str(made.to_str())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make a Hugging Face folder with random weights.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", required=True, help=f"one of {', '.join(presets())}")
    parser.add_argument("--tokenizer", required=True, help="its tokenizer: a file or a folder")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="of the weights (fp32)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
