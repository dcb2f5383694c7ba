"""What a build for GPUs comes to, and what it makes: no warning, no spill, nothing but kernels."""

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


def toolkit(folder: Path, *, knows: str, lists: str) -> str:
    """Makes a folder a toolkit's, whose nvcc knows and lists some architectures, as old ones do."""
    (folder / "bin").mkdir()
    nvcc = folder / "bin/nvcc"
    nvcc.write_text(
        "#!/bin/sh\n"
        f"for name in {knows}; do case $* in *=compute_$name,*) exit 0; esac; done\n"
        + (f"[ $1 = --list-gpu-code ] && echo {lists} && exit 0\n" if lists else "")
        + "exit 1\n"
    )
    nvcc.chmod(0o755)
    return str(folder)


def chosen(wish: str, home: str, *asked: str) -> tuple[list[str], str]:
    """(architectures, why)."""
    found = script().choose(wish, home=home, asked=[*asked])
    assert bool(found.nvcc) == bool(found.names)
    return found.names, found.why


@needs_nvcc
def test_the_nvcc_of_this_machine_compiles_for_some_of_ours():
    chosen = script().choose("on", home=None, asked=[])
    assert chosen.nvcc == NVCC
    assert set(chosen.names) <= {"89", "90a", "100a"}


def test_a_build_takes_of_ours_what_the_toolkit_knows(tmp_path: Path):
    """CUDA 11.8 lists sm_90 and does not know sm_90a."""
    home = toolkit(tmp_path, knows="80 89 90", lists="sm_80 sm_89 sm_90")
    for wish in ("auto", "on"):
        assert chosen(wish, home) == (["89"], f"{home}/bin/nvcc knows them")
    asked = (["80"], f"REFT_CUDA_ARCHITECTURES asks {home}/bin/nvcc for them")
    assert chosen("auto", home, "80") == asked
    assert chosen("off", home, "80") == ([], "REFT_BUILD_CUDA is off")


@pytest.mark.parametrize(("lists", "listed"), [("sm_70 sm_80", "70, 80"), ("", "none")])
def test_a_toolkit_that_is_too_old_builds_none_and_is_named(
    tmp_path: Path, lists: str, listed: str
):
    home = toolkit(tmp_path, knows="70 80", lists=lists)
    why = f"{home}/bin/nvcc compiles for none of 89, 90a, 100a (it lists {listed})"
    assert chosen("auto", home) == ([], why)
    with pytest.raises(SystemExit) as ended:
        chosen("on", home)
    assert str(ended.value) == (
        f"REFT_BUILD_CUDA is on, and {why}: install a CUDA toolkit (from 12.8 on they compile for "
        "89, 90a, 100a), or name its folder with CUDA_HOME."
    )


def test_without_a_toolkit_none_is_built(tmp_path: Path):
    why = f"there is no nvcc in {tmp_path}/bin"
    assert chosen("auto", str(tmp_path)) == ([], why)
    with pytest.raises(SystemExit, match=f"^REFT_BUILD_CUDA is on, and {why}: install a CUDA"):
        chosen("on", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^REFT_BUILD_CUDA is 'yes'; wanted auto, on or off\.$"):
        chosen("yes", str(tmp_path))


@needs_nvcc
def test_a_library_tells_what_it_was_compiled_for(built: tuple[Path, str], tmp_path: Path):
    library, _ = built
    told = script().is_compiled_for
    assert told(library, ["90a"])
    assert not told(library, ["90"])
    assert not told(library, ["89", "90a"])
    assert not told(tmp_path / "none.so", ["90a"])


def test_a_failing_compiler_ends_the_build_with_its_words(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"REFT_BUILD_CUDA=off builds without kernels for GPUs"):
        script().compile_cuda("false", tmp_path / "none.so", ["90a"])
