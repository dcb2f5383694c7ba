"""`reft-megatron doctor`: who serves each operator on this machine, and why.

Owns the command line and the tables; what is true stands in `ops`.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from reft_megatron.errors import ConfigError
from reft_megatron.ops import kernels
from reft_megatron.packages import Package, apex, transformer_engine

__all__ = ["parser", "run"]


def run(arguments: Sequence[str]) -> None:
    """Print the tables."""
    parser().parse_args(arguments)
    console = Console()
    console.print(_machine())
    console.print(_operators())


def parser() -> argparse.ArgumentParser:
    """The command line, which has no options."""
    return argparse.ArgumentParser(
        prog="reft-megatron doctor",
        description="Shows what this machine has, and which backend serves each operator here.",
    )


def _machine() -> Table:
    table = Table(title="this machine", title_justify="left", show_header=False)
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    table.add_row("Python", platform.python_version())
    table.add_row("torch", torch.__version__)
    for i, gpu in enumerate(gpus):
        table.add_row(f"GPU {i}", f"{gpu.name}, sm_{gpu.major}{gpu.minor}")
    if not gpus:
        table.add_row("GPU", "none that torch can use")
    for path in (kernels.CUDA, kernels.HOST):
        table.add_row(path.name, _library(path))
    table.add_row("Transformer Engine", _told(transformer_engine()))
    table.add_row("apex", _told(apex()))
    return table


def _told(package: Package) -> str:
    return ". ".join(filter(None, (package.told, package.remedy)))


def _library(path: Path) -> str:
    try:
        device = torch.cuda.current_device() if torch.cuda.is_available() else 0
        return kernels.state(kernels.Library(path), device)
    except ConfigError as error:
        return str(error)


def _operators() -> Table:
    table = Table("operator", "served by", "why", title="operators", title_justify="left")
    for row in kernels.served():
        table.add_row(row.operator, row.backend, row.why)
    return table
