"""What the scripts share: which run of the paper, and how many processes.

Owns the words of a command, `task=`, `form=`, `model=`, `of=` and `split=`, which pick a run
(`paper_runs`) and its config `configs/<recipe>_gsm8k_<size>.yaml`. Everything else goes to
`reft-megatron` as it is. `launch.sh` owns starting the processes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from examples.paper_runs import POLICIES, PROBLEMS, SIZES, SPLITS, STAGES, Run
from reft_megatron.cli import main
from reft_megatron.config import load_config
from reft_megatron.errors import ReftError

_CONFIGS = Path(__file__).parent / "configs"
_OF_SCRIPTS = {"sft_gsm8k": "warmup", "ppo_gsm8k": "ppo"}
"""The stage of GSM8K that a script with a name of its own starts."""
_PICKS = ("task", "form", "model", "of", "split")
_USAGE = f"""A run of the paper (examples/README.md).

usage: paper.sh STAGE [word=value ...] [section.key=value ...]

  STAGE    {", ".join(STAGES)}
  task=    {", ".join(dict.fromkeys(task for task, _ in PROBLEMS))}
  form=    {", ".join(dict.fromkeys(form for _, form in PROBLEMS))}
  model=   {", ".join(SIZES)}, tiny
  of=      whose policy is asked, or started from: {", ".join(POLICIES)}
  split=   what is sampled: {", ".join(SPLITS)}

`paper.sh STAGE --help` explains every setting, `paper.sh STAGE ... --print-config` shows those of a
run."""


def run(script: str, given: Sequence[str]) -> int:
    """Run what the script and the words say; returns the exit code.

    With `--processes` among the words, print how many processes the rest of them want instead; for
    `--help` without a stage, which stages and words there are. Raises SystemExit, with what there
    is, for a word that picks nothing.
    """
    if Path(script).stem not in _OF_SCRIPTS and given[:1] in (["--help"], ["-h"]):
        print(_USAGE)
        return 0
    picked, words = pick(Path(script).stem, given)
    config = _config(picked)
    settings = [f"{key}={value}" for key, value in picked.settings().items()]
    if "--processes" in words:
        words.remove("--processes")
        print(processes(config, [*settings, *words]))
        return 0
    return main([STAGES[picked.stage].recipe, *settings, *words, "--config", str(config)])


def pick(script: str, given: Sequence[str]) -> tuple[Run, list[str]]:
    """The run that the words pick, and the words left."""
    chosen: dict[str, str] = {}
    words = []
    for word in given:
        name, _, value = word.partition("=")
        if name in _PICKS:
            chosen[name] = value
        else:
            words.append(word)
    stage = _OF_SCRIPTS.get(script) or (words.pop(0) if words else "")
    _check(stage, STAGES, "there is no stage ")
    if script in _OF_SCRIPTS and set(chosen) - {"model"}:
        picks = " ".join(word for word in given if word not in words)
        raise SystemExit(
            f"{script}.sh is GSM8K as programs; for another run: examples/paper.sh {stage} {picks}"
        )
    _check(chosen.get("task", "gsm8k"), {task for task, _ in PROBLEMS}, "there is no task=")
    _check(chosen.get("form", "nl"), {form for _, form in PROBLEMS}, "there is no form=")
    if "of" in chosen:
        _check(chosen["of"], POLICIES if STAGES[stage].of else (), f"{stage} has no of=")
    if "split" in chosen:
        _check(chosen["split"], SPLITS if STAGES[stage].split else (), f"{stage} has no split=")
    return Run(stage=stage, **chosen), words


def processes(config: Path, overrides: list[str]) -> int:
    """One process a GPU; on a CPU just enough for one replica of the model."""
    try:
        parallel = load_config(config, overrides).parallel
    except ReftError as error:
        raise SystemExit(str(error)) from None
    return torch.cuda.device_count() or parallel.tensor * parallel.pipeline


def _config(picked: Run) -> Path:
    recipe = STAGES[picked.stage].recipe
    paths = {path.stem.partition("_gsm8k_")[2]: path for path in _CONFIGS.glob(f"{recipe}_gsm8k_*")}
    _check(picked.model, paths, f"{picked.stage} has no model=")
    return paths[picked.model]


def _check(seen: str, known: Collection[str], refusal: str) -> None:
    if seen not in known:
        there = f"take one of {', '.join(sorted(known))}" if known else "it takes none"
        raise SystemExit(f"{refusal}{seen}; {there}.")
