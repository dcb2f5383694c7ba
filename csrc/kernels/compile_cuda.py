"""Compiles the kernels for GPUs into one library, with nvcc and nothing else.

Owns nvcc's flags and the architectures; setup.py decides whether to. The library needs neither
torch nor Python nor CUDA's runtime beside it, and can be taken to another machine. By hand:

    python csrc/kernels/compile_cuda.py reft_megatron/_kernels_cuda.so 90a
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["SOURCES", "architectures", "compile_cuda", "find_nvcc"]

ROOT = Path(__file__).parent
SOURCES = sorted(ROOT.glob("cuda/*.cu"))
# Ada, Hopper, Blackwell. The "a" is needed for what one architecture alone has.
OURS = ("89", "90a", "100a")
COMPILE = [
    *("-std=c++17", "-O3", "-lineinfo", f"-I{ROOT}", "-Werror", "all-warnings"),
    *("-Xptxas", "-v,-warn-spills", "-Xcompiler", "-Wall,-Wextra,-fPIC,-fvisibility=hidden"),
]
LINK = [
    *("-shared", "-cudart", "static", "-Xlinker", "--exclude-libs,ALL"),
    *("-Xcompiler", "-static-libstdc++,-static-libgcc"),
]


def find_nvcc(home: str | None = None) -> str | None:
    """Path of nvcc: of the toolkit at `home`, or of PATH, or where a toolkit installs itself."""
    if home:
        return shutil.which("nvcc", path=f"{home}/bin")
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def architectures(nvcc: str) -> list[str]:
    """Those of ours that this nvcc knows."""
    known = _run([nvcc, "--list-gpu-code"]).split()
    return [name for name in OURS if f"sm_{name.rstrip('a')}" in known]


def compile_cuda(nvcc: str, library: Path, names: Sequence[str]) -> str:
    """Compile for the architectures `names`; returns what the assembler reports of each kernel."""
    targets = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in names]
    flags = [*COMPILE, *targets, f'-DREFT_ARCHITECTURES="{" ".join(names)}"']
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [f"{folder}/{source.stem}.o" for source in SOURCES]
        commands = [
            [nvcc, *flags, "-c", str(source), "-o", made]
            for source, made in zip(SOURCES, objects, strict=True)
        ]
        reports = list(pool.map(_run, commands))
        _run([nvcc, *LINK, *targets, *objects, "-o", str(library)])
    return "".join(reports)


def _run(command: list[str]) -> str:
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(
            f"{ended.stdout}{ended.stderr}\n{' '.join(command)}\nfailed. REFT_BUILD_CUDA=off builds"
            " without kernels for GPUs, CUDA_HOME names another toolkit."
        )
    return ended.stdout + ended.stderr


def _main(arguments: Sequence[str]) -> None:
    nvcc = find_nvcc()
    if nvcc is None or not arguments:
        sys.exit("usage: compile_cuda.py LIBRARY [ARCHITECTURE ...], with nvcc on PATH")
    names = arguments[1:] or architectures(nvcc)
    sys.stdout.write(compile_cuda(nvcc, Path(arguments[0]), names))


if __name__ == "__main__":
    _main(sys.argv[1:])
