"""The kernels for GPUs compile here: no warning, no spill, and nothing in the library but them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from reft_megatron.ops import kernels

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "csrc/kernels/compile_cuda.py"
SYSTEM = {"libc.so.6", "ld-linux-x86-64.so.2", "libm.so.6", "libgcc_s.so.1"}
"""Libraries that every Linux has."""
REGISTERS = 128
"""At most, so that two blocks of 256 threads fit into a multiprocessor."""


def script() -> ModuleType:
    """compile_cuda.py, which stands outside the package."""
    spec = importlib.util.spec_from_file_location("compile_cuda", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NVCC = script().find_nvcc()
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="no nvcc here: kernels for GPUs are not built")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(library for Hopper, what the assembler said)."""
    library = tmp_path_factory.mktemp("cuda") / "kernels.so"
    return library, script().compile_cuda(NVCC, library, ["90a"])


def tool(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def exported(library: Path) -> set[str]:
    lines = tool("nm", "-D", "--defined-only", str(library)).splitlines()
    return {line.split()[-1] for line in lines}


def declared() -> set[str]:
    """Functions of the header."""
    text = (ROOT / "csrc/kernels/reft_kernels.h").read_text()
    return set(re.findall(r"^REFT_API [^;(]*?(\w+)\(", text, re.MULTILINE))


def needed(library: Path) -> set[str]:
    return set(re.findall(r"NEEDED.*\[(.*)\]", tool("readelf", "-d", str(library))))


@needs_nvcc
def test_no_kernel_spills_and_all_fit(built: tuple[Path, str]):
    _, report = built
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes", report)
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", report)]
    kernels_seen = len(re.findall(r"Compiling entry function", report))
    assert kernels_seen == len(registers) > 10
    assert {tuple(map(int, row)) for row in spills} == {(0, 0, 0)}
    assert max(registers) <= REGISTERS


@needs_nvcc
def test_the_library_exports_the_header_and_needs_the_system_alone(built: tuple[Path, str]):
    library, _ = built
    assert exported(library) == declared()
    assert needed(library) <= SYSTEM


@needs_nvcc
def test_without_a_driver_it_loads_and_says_what_is_missing(built: tuple[Path, str]):
    """In a process that can see no device, whatever the machine has."""
    library, _ = built
    code = (
        "from pathlib import Path\n"
        "from reft_megatron.ops.kernels import Library\n"
        f"library = Library(Path({str(library)!r}))\n"
        "status = library.probe(0)\n"
        "print(library.target, status, library.message(status), sep='|')\n"
    )
    command = ["env", "CUDA_VISIBLE_DEVICES=", sys.executable, "-c", code]
    target, status, message = tool(*command).strip().split("|")
    assert target == "cuda 90a"
    # 35 without a driver, 100 with one that shows no device
    assert (status, message) in {
        ("35", "CUDA driver version is insufficient for CUDA runtime version"),
        ("100", "no CUDA-capable device is detected"),
    }


def test_the_twin_exports_the_header():
    assert exported(kernels.HOST) == declared()
    assert needed(kernels.HOST) <= SYSTEM | {"libstdc++.so.6"}


def test_a_failing_compiler_ends_the_build_with_its_words(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"REFT_BUILD_CUDA=off builds without kernels for GPUs"):
        script().compile_cuda("false", tmp_path / "none.so", ["90a"])
