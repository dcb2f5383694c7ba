"""What a machine may lack, named to its user: each in a process of its own, from start to end.

Packages that are broken have `test_packages.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from reft_megatron.ops import kernels
from tests.ops.test_kernels import HOW, PICKY, compiled

ROOT = Path(__file__).parents[1]
OLD_GPU = """
import contextlib, types
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.current_device = lambda: 0
torch.cuda.device = lambda number: contextlib.nullcontext()
torch.cuda.get_device_name = lambda device=None: "NVIDIA A100"
torch.cuda.get_device_capability = lambda device=None: (8, 0)
torch.cuda.get_device_properties = lambda device: types.SimpleNamespace(
    name="NVIDIA A100", major=8, minor=0
)
"""
"""A GPU to ask about, for which no kernel here has code."""
DOCTOR = "from reft_megatron.cli import main\nsys.exit(main(['doctor']))\n"
CHECK = """
from reft_megatron.config import load_config
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.fp8.readiness import check_fp8
config = load_config(None, ["model.precision=fp8_rollout"])
tiny = find_architecture("galactica-tiny")
device = torch.device("cuda", 0)
check_fp8(tiny, config.model, config.parallel, fp8=config.fp8, device=device)
"""


def run(program: str) -> tuple[int, str, str]:
    """(status, output, errors) of a program, without the lines of tables."""
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys, torch\nfrom pathlib import Path\n{program}"],
        env={**os.environ, "COLUMNS": "200"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    plain = "".join(c for c in ended.stdout if c.isascii())
    return ended.returncode, " ".join(plain.split()), ended.stderr


def with_library(name: str, path: Path) -> str:
    return f"from reft_megatron.ops import kernels\nkernels.{name} = Path({str(path)!r})\n"


def test_a_toolkit_without_nvcc(tmp_path: Path):
    """An install that insists on kernels for GPUs ends; what setup.py asks is asked here."""
    program = "sys.path.insert(0, 'csrc/kernels')\nfrom compile_cuda import choose\n"
    program += f"choose('on', home={str(tmp_path)!r}, asked=[])\n"
    status, _, errors = run(program)
    assert status == 1
    assert errors.splitlines()[-1] == (
        f"REFT_BUILD_CUDA is on, and there is no nvcc in {tmp_path}/bin: install a CUDA toolkit "
        "(from 12.8 on they compile for 89, 90a, 100a), or name its folder with CUDA_HOME."
    )


def test_a_library_of_another_abi(tmp_path: Path):
    made = compiled("int reft_abi(void) { return 99; }\n", tmp_path, "-shared", "-fPIC")
    status, output, errors = run(with_library("HOST", made) + DOCTOR)
    why = f"made.so has ABI 99, and this package wants {kernels.ABI}: {HOW}"
    assert (status, errors) == (1, f"reft-megatron: ConfigError: {why}\n")
    assert why in output


def test_a_gpu_of_another_architecture(tmp_path: Path):
    """Kernels give way to torch and say why; FP8, which nothing could serve, is refused."""
    source = PICKY.replace('"no such device"', '"no kernel image is available for this GPU"')
    flags = ("-shared", "-fPIC", "-Wno-unused-parameter")
    made = compiled(source.replace(": 100;", ": 209;"), tmp_path, *flags)
    status, output, errors = run(with_library("CUDA", made) + OLD_GPU + DOCTOR)
    assert (status, errors) == (0, "")
    why = "has code for cuda 90a, but no kernel image is available for this GPU (status 209)"
    assert f"made.so {why}" in output
    assert f"quantise_rows torch {why}" in output
    status, _, errors = run(OLD_GPU + CHECK)
    assert status == 1
    assert errors.splitlines()[-1] == (
        "reft_megatron.errors.ConfigError: model.precision=fp8_rollout: NVIDIA A100 is sm_80, and "
        "FP8 products need sm_89 (Ada), sm_90 (Hopper) or newer. Set model.precision=bf16, or use "
        "another GPU."
    )
