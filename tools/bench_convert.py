"""Measures conversion, both ways, against `cp` of the same bytes.

Owns the command, the table and the line of JSON at the end. Everything ends on the disk: what is
copied is synchronised as the conversions are, and `cp` without it is shown too. Each conversion
runs in a process of its own, whose peak of resident memory the system tells.

Try it: `python tools/bench_convert.py --folder /tmp/bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

if not __package__:  # started by its path: `tools` is found from the root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from reft_megatron.mesh import Axis
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.huggingface import DTYPES, to_checkpoint, to_huggingface
from tools.machine import describe_machine
from tools.random_checkpoint import word_tokenizer, write

_ROOT = Path(__file__).resolve().parents[1]
_SHAPE = "galactica-1.3b"
_VOCAB = 50_000
_PARTS = {"to checkpoint": "ratio_cp_in", "to Hugging Face": "ratio_cp_out"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, say what came out, and return the exit status."""
    options = _parser().parse_args(arguments)
    if options.part:
        return _run_part(options.part, options.folder)
    print(describe_machine("torch", "megatron-core", "safetensors", "reft-megatron"))
    options.folder.mkdir(parents=True, exist_ok=True)
    # What is removed is a folder of its own: the one that is given may hold anything.
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as work:
        folder = Path(work)
        nbytes = _make(folder / "hf", options.gb)
        found: dict[str, list[float]] = {}
        peaks: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            for name, seconds in _copies(folder).items():
                found.setdefault(name, []).append(seconds)
            for part in _PARTS:
                seconds, peak = _measure(part, folder)
                found.setdefault(part, []).append(seconds)
                peaks.setdefault(part, []).append(peak)
        _report(found, peaks, nbytes)
    return 0


def _make(folder: Path, gb: float) -> int:
    """A random Galactica of about that many GB in bf16; returns the bytes of its weights."""
    whole = find_architecture(_SHAPE)
    layer = 12 * whole.hidden**2 * 2
    layers = max(1, round((gb * 1e9 - _VOCAB * whole.hidden * 2) / layer))
    architecture = replace(whole, layers=layers, vocab=_VOCAB)
    return write(
        architecture,
        folder,
        dtype=DTYPES["bf16"],
        seed=0,
        files={"tokenizer.json": word_tokenizer(_VOCAB).encode()},
        tokens={"eos_token_id": 2, "pad_token_id": 1},
    )


def _copies(folder: Path) -> dict[str, float]:
    """Seconds of `cp -r` alone, and until the copy is on the disk."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    subprocess.run(["cp", "-r", str(folder / "hf"), str(copy)], check=True)
    copied = time.perf_counter() - start
    subprocess.run(["sync", "-f", *map(str, copy.iterdir())], check=True)
    return {"cp, not synchronised": copied, "cp": time.perf_counter() - start}


def _measure(part: str, folder: Path) -> tuple[float, float]:
    """(seconds, peak of resident memory in MiB) of a conversion in a process of its own."""
    for name in ("checkpoint", "back") if part == "to checkpoint" else ("back",):
        shutil.rmtree(folder / name, ignore_errors=True)
    os.sync()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tools.bench_convert",
            "--part",
            part,
            "--folder",
            str(folder.resolve()),
        ],
        cwd=_ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def _run_part(part: str, folder: Path) -> int:
    conversions: dict[str, Callable[[], object]] = {
        "to checkpoint": lambda: to_checkpoint(folder / "hf", folder / "checkpoint", world=Axis()),
        "to Hugging Face": lambda: to_huggingface(
            folder / "checkpoint", folder / "back", world=Axis()
        ),
    }
    torch.set_num_threads(1)  # as the commands do: more only wait for each other
    start = time.perf_counter()
    conversions[part]()
    seconds = time.perf_counter() - start
    # Not ru_maxrss, which begins with the memory of the process that forked.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps([seconds, peak]))
    return 0


def _report(found: dict[str, list[float]], peaks: dict[str, list[float]], nbytes: int) -> None:
    table = Table(title=f"{nbytes / 1e9:.2f} GB of weights, from disk to disk, files in memory")
    for column in ("what", "median", "spread", "MB/s", "of cp", "peak MiB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    for name, seconds in found.items():
        table.add_row(
            name,
            f"{medians[name]:.2f} s",
            f"{min(seconds):.2f} to {max(seconds):.2f}",
            f"{nbytes / 1e6 / medians[name]:,.0f}",
            f"{medians['cp'] / medians[name]:.2f}",
            f"{max(peaks[name]):,.0f}" if name in peaks else "",
        )
    Console().print(table)
    ratios = {key: round(medians["cp"] / medians[part], 3) for part, key in _PARTS.items()}
    record = {
        "ratio_cp": min(ratios.values()),
        "peak_rss_mib": round(max(max(one) for one in peaks.values()), 1),
        **ratios,
        "ratio_unsynchronised_cp": round(
            medians["cp, not synchronised"] / max(medians[part] for part in _PARTS), 3
        ),
        "gb": round(nbytes / 1e9, 3),
    }
    print(json.dumps(record))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measure the conversion of a random checkpoint against cp."
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/bench_convert"),
        help="to work in, in a new folder",
    )
    parser.add_argument("--gb", type=float, default=2.0, help="size of the model in GB (2)")
    parser.add_argument("--repeats", type=int, default=3, help="of everything (3)")
    parser.add_argument("--part", choices=_PARTS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
