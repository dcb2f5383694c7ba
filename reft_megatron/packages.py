"""Packages that Megatron takes up if it finds them: Transformer Engine and apex.

Owns the question whether what is installed is what Megatron would take it for. Megatron guards
against a package that is missing, not against one that is broken or only has the name: a half
installed Transformer Engine ends `import megatron.core` with a traceback, and with any package
called apex Megatron plans with NVIDIA's. Nothing is imported here; a package is tried in a process
of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reft_megatron.errors import ConfigError

__all__ = [
    "INSTALL_TE",
    "Package",
    "apex",
    "check_packages",
    "go_without_packages",
    "transformer_engine",
]

_TRY = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
try:
    import transformer_engine
    import transformer_engine.pytorch
    told = ["", transformer_engine.__version__]
except BaseException as error:
    told = [type(error).__name__, " ".join(str(error).split())]
print(json.dumps(told))
"""
_COMMAND = "pip install 'transformer-engine[core_cu13,pytorch]>=2.9,<2.12'"
INSTALL_TE = f"Install it ({_COMMAND})"
"""What to do where it is wanted and missing."""
_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What there is of a package."""

    usable: bool
    """It is there, and is what its name says."""
    told: str
    """Its version or place, or what is wrong."""
    version: str = ""
    """Of Transformer Engine, where it is usable."""
    remedy: str = ""
    """What to do, where Megatron cannot be imported, or cannot be trusted, beside it."""


def check_packages() -> None:
    """ConfigError if a package is installed that Megatron would trip over."""
    for package in (transformer_engine(), apex()):
        if package.remedy:
            raise ConfigError(f"{package.told}. {package.remedy}")


def go_without_packages() -> None:
    """Let `import` not find them: on a CPU Megatron would take optimizers that only GPUs run."""
    for name in ("transformer_engine", "apex"):
        sys.modules[name] = None  # type: ignore[assignment]  # Python's way to say so


def transformer_engine() -> Package:
    """Transformer Engine; seconds where it is installed."""
    if _folder("transformer_engine") is None:
        return Package(usable=False, told="Transformer Engine is not installed")
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _TRY, json.dumps(sys.path)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        error, text = json.loads(ended.stdout.strip().rpartition("\n")[2] or '["", ""]')
        if ended.returncode or not (error or text):
            error, text = "crash", f"its import ended with status {ended.returncode}"
    except subprocess.TimeoutExpired:
        error, text = "TimeoutExpired", f"its import takes more than {_SECONDS} s"
    if not error:
        return Package(usable=True, told=f"Transformer Engine {text}", version=text)
    told = f"Transformer Engine is installed and cannot be imported ({error}: {text})"
    if error in ("ImportError", "ModuleNotFoundError"):
        return Package(usable=False, told=told)  # Megatron goes without it
    remedy = (
        f"Megatron cannot be imported beside one like that: install all of it ({_COMMAND}) or "
        "remove it (pip uninstall transformer_engine transformer_engine_torch)."
    )
    return Package(usable=False, told=told, remedy=remedy)


def apex() -> Package:
    """NVIDIA's apex, known by what it contains: PyPI's package of that name is another."""
    folder = _folder("apex")
    if folder is None:
        return Package(usable=False, told="apex is not installed")
    parts = ("normalization", "optimizers", "multi_tensor_apply")
    missing = [part for part in parts if not (folder / part).is_dir()]
    if not missing:
        return Package(usable=True, told=f"NVIDIA's apex in {folder}")
    return Package(
        usable=False,
        told=f"the package apex in {folder} is not NVIDIA's: it has no apex.{missing[0]}",
        remedy="Megatron would take it for that: remove it (pip uninstall apex), nothing here "
        "needs it.",
    )


def _folder(name: str) -> Path | None:
    """Where a package lies, or would lie if it were one; None if nothing has the name."""
    # Not `importlib.util.find_spec`, which finds nothing where we go without.
    specs = (finder.find_spec(name, None) for finder in sys.meta_path)
    spec = next(filter(None, specs), None)
    if spec is None:
        return None
    places = [*(spec.submodule_search_locations or ()), spec.origin or name]
    return Path(places[0])
