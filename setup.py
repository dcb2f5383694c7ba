"""Builds the package; what is only a statement stands in `pyproject.toml`.

Owns the native parts: the C++ extractor (csrc/extractor); of the kernels (csrc/kernels) the host
twin, always, and the library for GPUs, where nvcc is. Neither of these knows Python or torch.

Environment: REFT_BUILD_CUDA is auto (the default: if nvcc is found), on (an error without nvcc) or
off; CUDA_HOME is the toolkit to take; REFT_CUDA_ARCHITECTURES, as "90a 100a", what to compile for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

sys.path.insert(0, "csrc/kernels")
from compile_cuda import SOURCES, architectures, compile_cuda, find_nvcc

CORE = Path("csrc/extractor")
# Doubles must come out bit for bit as in CPython: no contraction, no fast maths.
FLAGS = ["-O2", "-ffp-contract=off", "-fno-fast-math", "-fvisibility=hidden", "-Wall"]

EXTRACTOR = Pybind11Extension(
    "reft_megatron._extractor",
    sources=sorted(map(str, set(CORE.rglob("*.cpp")) - set(CORE.glob("fuzz/*")))),
    depends=sorted(map(str, [*CORE.rglob("*.hpp"), *CORE.rglob("*.inc")])),
    include_dirs=[str(CORE)],
    cxx_std=20,
    extra_compile_args=[*FLAGS],
)

KERNELS = Path("csrc/kernels")
HEADERS = sorted(map(str, [*KERNELS.rglob("*.h"), *KERNELS.rglob("*.hpp")]))
HOST = Extension(
    "reft_megatron._kernels_host",
    sources=sorted(map(str, KERNELS.glob("host/*.cpp"))),
    depends=HEADERS,
    include_dirs=[str(KERNELS)],
    extra_compile_args=["-std=c++17", *FLAGS, "-Wextra"],
)
CUDA = Extension(
    "reft_megatron._kernels_cuda",
    sources=[os.path.relpath(source) for source in SOURCES],  # setuptools wants them so
    depends=[*HEADERS, str(KERNELS / "compile_cuda.py")],
)
NVCC = find_nvcc(os.environ.get("CUDA_HOME"))


class BuildNative(build_ext):
    """Builds what knows no Python too: nvcc's part, and names without Python's version."""

    def get_ext_filename(self, fullname: str) -> str:
        """Path of an extension's library."""
        name: str = super().get_ext_filename(fullname)
        if fullname.rpartition(".")[2].startswith("_kernels_"):
            return f"{name.partition('.')[0]}.so"
        return name

    def build_extension(self, ext: Extension) -> None:
        """Build one library, if it is older than what it is made of."""
        if ext is not CUDA:
            super().build_extension(ext)
            return
        library = Path(self.get_ext_fullpath(ext.name))
        if self.force or newer_group([*ext.sources, *ext.depends], str(library)):
            library.parent.mkdir(parents=True, exist_ok=True)
            asked = os.environ.get("REFT_CUDA_ARCHITECTURES", "").split()
            compile_cuda(NVCC, library, asked or architectures(NVCC))


def extensions() -> list[Extension]:
    """What to build here."""
    wish = os.environ.get("REFT_BUILD_CUDA", "auto")
    if wish not in ("auto", "on", "off"):
        sys.exit(f"REFT_BUILD_CUDA is {wish!r}; wanted auto, on or off.")
    if wish == "on" and NVCC is None:
        sys.exit(
            "REFT_BUILD_CUDA is on, and there is no nvcc in CUDA_HOME, on PATH or in "
            "/usr/local/cuda: install the CUDA toolkit, or name its folder with CUDA_HOME."
        )
    return [EXTRACTOR, HOST, CUDA] if NVCC and wish != "off" else [EXTRACTOR, HOST]


ParallelCompile("NPY_NUM_BUILD_JOBS").install()

setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
