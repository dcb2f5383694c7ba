"""What the two commands of conversion have in common.

Owns their options, joining the processes, and what is said at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from reft_megatron.config import ParallelConfig
from reft_megatron.errors import ReftError
from reft_megatron.mesh import Axis
from reft_megatron.policy import join, leave
from reft_megatron.policy.huggingface import Converted

__all__ = ["make_parser", "run"]


def make_parser(
    description: str, *, epilog: str, source: str, result: str
) -> argparse.ArgumentParser:
    """A parser of --input, --output and --timeout; `source` and `result` say what those are."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", type=Path, required=True, help=source)
    parser.add_argument("--output", type=Path, required=True, help=f"{result} to make")
    parser.add_argument(
        "--timeout", type=int, default=3600, help="seconds that processes wait for each other"
    )
    return parser


def run(
    program: str,
    options: argparse.Namespace,
    convert: Callable[[Axis], Converted],
    *,
    advice: str = "",
) -> int:
    """Convert with all processes; returns the exit status: 1, with a message, for bad input."""
    try:
        # More threads only wait for each other.
        mesh = join(ParallelConfig(), seed=0, timeout_s=options.timeout, threads=1)
        done = convert(mesh.world)
        if mesh.main:
            print(
                f"{options.output}: {done.architecture.name}, {done.tensors} tensors, "
                f"{done.nbytes / 1e9:.3f} GB, head: {done.head}{advice}"
            )
        leave()
    except ReftError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0
