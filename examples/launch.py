"""What the GSM8K examples share: which config, and how many processes.

Owns the word `model=NAME`, which picks `configs/<example>_<NAME>.yaml`. Everything else goes to
`reft-megatron` as it is. `launch.sh` owns starting the processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from reft_megatron.cli import main
from reft_megatron.config import load_config
from reft_megatron.errors import ReftError

_CONFIGS = Path(__file__).parent / "configs"
_DEFAULT = "6.7b"


def run(script: str, given: Sequence[str]) -> int:
    """Run the recipe that the example's file name starts with; returns the exit code.

    With `--processes` among the arguments, print how many processes the rest of them want instead.
    """
    example = Path(script).stem
    words = [word for word in given if not word.startswith("model=")]
    names = [word.removeprefix("model=") for word in given if word.startswith("model=")]
    config = _CONFIGS / f"{example}_{[_DEFAULT, *names][-1]}.yaml"
    if not config.is_file():
        known = sorted(
            path.stem.removeprefix(f"{example}_") for path in _CONFIGS.glob(f"{example}_*")
        )
        raise SystemExit(f"{example} has no model={names[-1]}; take one of {', '.join(known)}.")
    if "--processes" in words:
        words.remove("--processes")
        print(processes(config, words))
        return 0
    return main([example.partition("_")[0], *words, "--config", str(config)])


def processes(config: Path, overrides: list[str]) -> int:
    """One process a GPU; on a CPU just enough for one replica of the model."""
    try:
        parallel = load_config(config, overrides).parallel
    except ReftError as error:
        raise SystemExit(str(error)) from None
    return torch.cuda.device_count() or parallel.tensor * parallel.pipeline
