"""Measures what the kernels are for: blocks of a layer in FP8 against bf16.

Owns the command, the table and the line of JSON at the end; `tools/layer_bench` has the blocks.
First each block is held to its rival; then, on a GPU, both are timed. Without a GPU the blocks are
computed by emulation at small shapes, and nothing is said of speed. Ends with status 1 if a block
is wrong; the time of one that is wrong is not taken.

Try it: `python tools/bench_layers.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

if not __package__:  # started by its path: `tools` is found from the root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reft_megatron.ops import fp8
from tools.kernel_bench.stopwatch import ceilings, compare, extra_mib, gpu
from tools.layer_bench.blocks import Block, Shapes, blocks, distance
from tools.machine import describe_machine

_SHAPES = {
    "cuda": Shapes(
        tokens=(4096, 8192, 16384),
        scored=8192,
        slots=(128, 256),
        context=700,
        hidden=4096,
        heads=32,
        inner=16384,
        vocabulary=50048,
        chunk=1024,
    ),
    "cpu": Shapes(
        tokens=(48,),
        scored=40,
        slots=(16,),
        context=24,
        hidden=128,
        heads=4,
        inner=512,
        vocabulary=320,
        chunk=16,
    ),
}
_SETS = 4
"""Of inputs, in turn: the largest are more than a cache holds."""
_UNMEASURED = "speed is unmeasured: there is no GPU here; the blocks were checked by emulation."


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, measure, say what came out, and return the exit status."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if told := fp8.refusal(device):
        print(f"bench_layers: {told}", file=sys.stderr)
        return 1
    print(describe_machine("torch", "reft-megatron"))
    record: dict[str, Any] = {"torch": torch.__version__}
    if device.type == "cuda":
        record |= {"gpu": gpu(), "ceilings": ceilings()}
    shapes = _SHAPES[device.type]
    rows = [_row(block, measured=device.type == "cuda") for block in blocks(shapes, device)]
    if device.type == "cuda":
        record["gpu_after"] = gpu()
    _print(rows, record)
    print(json.dumps(record | {"shapes": asdict(shapes), "blocks": rows}))
    return 1 if any(row["wrong"] for row in rows) else 0


def _row(block: Block, *, measured: bool) -> dict[str, Any]:
    """What is found of one block."""
    inputs = block.inputs(0)
    far = distance(block.ours(*inputs), block.theirs(*inputs))
    wrong = "" if far <= block.band else f"off by {far:.1e}, over {block.band:.1e}"
    row: dict[str, Any] = {"name": block.name, "rival": block.rival, "far": far, "wrong": wrong}
    if wrong or not measured:
        return row
    sets = [inputs, *(block.inputs(10 * number) for number in range(1, _SETS))]
    times = compare(block.ours, [block.theirs], sets)
    ours, theirs = (extra_mib(call, inputs) for call in (block.ours, block.theirs))
    ratio = times.rivals[0] / times.ours
    fits = not block.memory or ours <= block.memory * theirs
    return row | {
        "ms": times.ours,
        "rival_ms": times.rivals[0],
        "ratio": ratio,
        "wanted": block.wanted,
        "met": ratio >= block.wanted and fits,
        "noisy": times.noisy,
        "extra_mib": ours,
        "rival_extra_mib": theirs,
    }


def _print(rows: list[dict[str, Any]], record: dict[str, Any]) -> None:
    measured = "ceilings" in record
    table = Table("block", "against", "off by")
    for name in ("ms", "times as fast", "extra MiB") if measured else ():
        table.add_column(name, justify="right")
    for row in rows:
        cells = [row["name"], row["rival"], f"FAIL: {row['wrong']}" if row["wrong"] else ""]
        cells[2] = cells[2] or f"{row['far']:.1e}"
        if "ms" in row:
            met = "met" if row["met"] else "missed"
            cells += [
                f"{row['ms']:.3f}{' noise' if row['noisy'] else ''}",
                f"{row['ratio']:.2f} ({row['wanted']:.2f} wanted: {met})",
                f"{row['extra_mib']:.0f} / {row['rival_extra_mib']:.0f}",
            ]
        table.add_row(*cells)
    Console(width=140).print(table)
    told = ", ".join(f"{name} {x:.2f}" for name, x in record.get("ceilings", {}).items())
    print(f"ceilings: {told}" if measured else _UNMEASURED)


if __name__ == "__main__":
    sys.exit(main())
