"""Measures the kernels: first whether they are right, then, on a GPU, how fast.

Owns the command, the table and the line of JSON at the end; `tools/kernel_bench` has the operators
and the stopwatch. Without a GPU the host twin is held to the reference at small shapes, and nothing
is said of speed. Ends with status 1 if an operator is wrong; the time of one that is wrong is not
taken.

Try it: `python tools/bench_kernels.py --tokens 64`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

if not __package__:  # started by its path: `tools` is found from the root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reft_megatron.errors import ReftError
from reft_megatron.ops import kernels
from tools.kernel_bench.cases import Case, Shapes, cases, trouble
from tools.kernel_bench.stopwatch import ceilings, compare, compiled, extra_mib, gpu, sets_of
from tools.machine import describe_machine

_SHAPES = {
    "cuda": Shapes(tokens=8192, hidden=4096, inner=16384, vocabulary=50048, chunk=1024),
    "cpu": Shapes(tokens=128, hidden=256, inner=1024, vocabulary=5000, chunk=32),
}
_UNMEASURED = "speed is unmeasured: there is no GPU here"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, measure, say what came out, and return the exit status."""
    options = _parser().parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        library = _library(device)
    except ReftError as error:
        print(f"bench_kernels: {error}", file=sys.stderr)
        return 1
    print(describe_machine("torch", "reft-megatron"))
    record: dict[str, Any] = {"library": library, "torch": torch.__version__}
    if device.type == "cuda":
        record |= {"gpu": gpu(), "ceilings": ceilings()}
    shapes = _shapes(options, device)
    rows = [_row(case, device, record) for case in cases(shapes, device)]
    if device.type == "cuda":
        record["gpu_after"] = gpu()
    _print(rows, record, shapes)
    print(json.dumps(record | {"shapes": _told(shapes), "operators": rows}))
    return 1 if any(row["wrong"] for row in rows) else 0


def _library(device: torch.device) -> dict[str, str]:
    """Which kernels are measured; raises ConfigError where there are none."""
    library = kernels.host() if device.type == "cpu" else kernels.cuda(torch.cuda.current_device())
    if isinstance(library, str):
        raise ReftError(f"no kernel can be measured on this GPU: {library}")
    path = kernels.HOST if device.type == "cpu" else kernels.CUDA
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {"name": library.name, "target": library.target, "sha256": digest}


def _row(case: Case, device: torch.device, record: dict[str, Any]) -> dict[str, Any]:
    """What is found of one operator."""
    inputs = case.inputs(0)
    if device.type == "cuda":  # what the operator does not write must not look right
        torch.full((case.nbytes,), 0xFF, dtype=torch.uint8, device=device)
    wrong = trouble(case.ours(*inputs), case.reference(*inputs), steps=case.steps)
    row: dict[str, Any] = {"name": case.name, "wrong": wrong, "bytes": case.nbytes}
    if wrong or device.type == "cpu":
        return row
    sets = [inputs, *(case.inputs(seed) for seed in range(10, 10 * sets_of(case.nbytes), 10))]
    times = compare(case.ours, [case.reference, compiled(case.reference)], sets)
    eager, fast = times.rivals
    return row | {
        "ms": times.ours,
        "eager_ms": eager,
        "compiled_ms": fast,
        "noisy": times.noisy,
        "share_of_copy": case.nbytes / times.ours / 1e9 / record["ceilings"]["copy_tb_s"],
        "extra_mib": extra_mib(case.ours, inputs),
        "eager_extra_mib": extra_mib(case.reference, inputs),
    }


def _print(rows: list[dict[str, Any]], record: dict[str, Any], shapes: Shapes) -> None:
    title = f"{record['library']['name']} at {_told(shapes)}; Gaussian with six outlying columns"
    table = Table("operator", "right", title=title, title_justify="left")
    measured = "ceilings" in record
    for name in ("us", "eager", "compiled", "of a copy", "extra MiB") if measured else ():
        table.add_column(name, justify="right")
    for row in rows:
        cells = [row["name"], f"FAIL: {row['wrong']}" if row["wrong"] else "yes"]
        if "ms" in row:
            cells += [
                f"{1000 * row['ms']:.1f}{' noise' if row['noisy'] else ''}",
                f"{row['eager_ms'] / row['ms']:.2f}x",
                f"{row['compiled_ms'] / row['ms']:.2f}x",
                f"{row['share_of_copy']:.0%}",
                f"{row['extra_mib']:.1f} / {row['eager_extra_mib']:.1f}",
            ]
        table.add_row(*cells)
    Console(width=140).print(table)
    told = ", ".join(f"{name} {x:.2f}" for name, x in record.get("ceilings", {}).items())
    print(f"ceilings: {told}" if measured else f"{_UNMEASURED}; the host twin was checked.")


def _shapes(options: argparse.Namespace, device: torch.device) -> Shapes:
    usual = _SHAPES[device.type]
    return Shapes(
        tokens=options.tokens or usual.tokens,
        hidden=usual.hidden,
        inner=usual.inner,
        vocabulary=usual.vocabulary,
        chunk=usual.chunk,
    )


def _told(shapes: Shapes) -> str:
    return (
        f"{shapes.tokens} tokens of {shapes.hidden} and {shapes.inner}, {shapes.chunk} rows of "
        f"{shapes.vocabulary} logits"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--tokens", type=_count, default=0, help="of a micro-batch (8192 on a GPU, else 128)"
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
