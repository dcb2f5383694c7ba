"""Packages that are broken, or only have the name, are named before Megatron trips over them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reft_megatron import packages
from reft_megatron.errors import ConfigError
from reft_megatron.packages import apex, check_packages, transformer_engine

HALF = (
    "raise RuntimeError('Found empty `transformer-engine` meta package installed. Install "
    "`transformer-engine` with framework extensions')\n"
)
CALLED = (
    "Transformer Engine is installed and cannot be imported (RuntimeError: Found empty "
    "`transformer-engine` meta package installed. Install `transformer-engine` with framework "
    "extensions)"
)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a package of that text, which is found from then on."""

    def make(name: str, text: str = "", *, parts: tuple[str, ...] = ()) -> Path:
        folder = tmp_path / name
        for path in (folder, *(folder / part for part in parts)):
            path.mkdir()
            (path / "__init__.py").write_text("")
        (folder / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        return folder

    return make


def test_none_of_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "_folder", lambda name: None)
    assert transformer_engine().told == "Transformer Engine is not installed"
    assert apex().told == "apex is not installed"
    check_packages()


def test_transformer_engine_that_is_whole(install):
    install("transformer_engine", "__version__ = '2.11.0'\n", parts=("pytorch",))
    found = transformer_engine()
    assert (found.usable, found.told) == (True, "Transformer Engine 2.11.0")
    check_packages()


def test_half_of_transformer_engine(install):
    install("transformer_engine", HALF)
    found = transformer_engine()
    assert (found.usable, found.told) == (False, CALLED)
    with pytest.raises(ConfigError, match="Megatron cannot be imported beside one like that: ins"):
        check_packages()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise ImportError('libcuda.so.1: cannot open')\n", "ImportError: libcuda.so.1: cannot"),
    ],
)
def test_transformer_engine_that_megatron_goes_without(install, text: str, why: str):
    install("transformer_engine", text)
    found = transformer_engine()
    assert not found.usable
    assert found.told.startswith(f"Transformer Engine is installed and cannot be imported ({why}")
    check_packages()


def test_transformer_engine_that_ends_its_process(install):
    install("transformer_engine", "import os\nos._exit(3)\n")
    assert transformer_engine().told == (
        "Transformer Engine is installed and cannot be imported (crash: its import ended with "
        "status 3)"
    )
    with pytest.raises(ConfigError, match="crash"):
        check_packages()


def test_an_apex_of_somebody_else(install):
    folder = install("apex", "")
    with pytest.raises(ConfigError) as told:
        check_packages()
    assert str(told.value) == (
        f"the package apex in {folder} is not NVIDIA's: it has no apex.normalization. Megatron "
        "would take it for that: remove it (pip uninstall apex), nothing here needs it."
    )


def test_nvidias_apex(install):
    folder = install("apex", parts=("normalization", "optimizers", "multi_tensor_apply"))
    assert apex().told == f"NVIDIA's apex in {folder}"
    check_packages()


def test_a_cpu_goes_without_what_only_gpus_run(install, tmp_path: Path):
    """Megatron would step with Transformer Engine's Adam, and find no driver."""
    folder = install("transformer_engine", "__version__ = '2.11.0'\n", parts=("pytorch",))
    adam = "class FusedAdam: ...\nclass FusedSGD: ...\n"
    (folder / "pytorch/optimizers.py").write_text(adam)
    program = "import reft_megatron.policy\nfrom megatron.core.optimizer import Adam\nprint(Adam)"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "<class 'torch.optim.adamw.AdamW'>\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("transformer_engine", HALF, f"{CALLED}. Megatron cannot be imported beside one like that"),
        ("apex", "", "the package apex in {folder} is not NVIDIA's: it has no apex.normalization."),
    ],
)
def test_a_run_is_told_in_one_line(install, tmp_path: Path, name: str, text: str, said: str):
    folder = install(name, text)
    ended = subprocess.run(
        [sys.executable, "-m", "reft_megatron", "sft", f"run.dir={tmp_path}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    said = said.replace("{folder}", str(folder))
    assert ended.stderr.startswith(f"reft-megatron: ConfigError: {said}")
    assert ended.stderr.count("\n") == 1
