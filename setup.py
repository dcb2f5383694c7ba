"""Builds the package; what is only a statement stands in `pyproject.toml`.

Owns the native parts: the C++ extractor (csrc/extractor); of the kernels (csrc/kernels) the host
twin, always, and the library for GPUs, where nvcc is. Neither of these knows Python or torch.

Environment: REFT_BUILD_CUDA is auto (the default: if there is an nvcc that can), on (an error where
there is none) or off (removes what an earlier build left); CUDA_HOME is the toolkit to take;
REFT_CUDA_ARCHITECTURES, as "90a 100a", what to compile for.
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
from compile_cuda import SOURCES, choose, compile_cuda, is_compiled_for

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
    # -O3 for vector instructions, which change no result.
    extra_compile_args=["-std=c++17", *FLAGS, "-O3", "-Wextra"],
)
CUDA = Extension(
    "reft_megatron._kernels_cuda",
    sources=[os.path.relpath(source) for source in SOURCES],  # setuptools wants them so
    depends=[*HEADERS, str(KERNELS / "compile_cuda.py")],
)
WISH = os.environ.get("REFT_BUILD_CUDA", "auto")
CHOICE = choose(
    WISH,
    home=os.environ.get("CUDA_HOME"),
    asked=os.environ.get("REFT_CUDA_ARCHITECTURES", "").split(),
)


class BuildNative(build_ext):
    """Builds what knows no Python too: nvcc's part, and names without Python's version."""

    def run(self) -> None:
        """Build, and say what has become of the kernels for GPUs, and why."""
        super().run()
        library = Path(self.get_ext_filename(CUDA.name))
        places = [Path(self.build_lib, library), *([library] if self.inplace else [])]
        if WISH == "off":
            for place in places:
                place.unlink(missing_ok=True)
        told = f"for {', '.join(CHOICE.names)}" if CHOICE.names else "not built"
        kept = not CHOICE.names and any(place.exists() for place in places)
        stays = "; that of an earlier build stays" if kept else ""
        print(f"{library.name}, the kernels for GPUs: {told} ({CHOICE.why}){stays}", flush=True)

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
        older = newer_group([*ext.sources, *ext.depends], str(library))
        if self.force or older or not is_compiled_for(library, CHOICE.names):
            library.parent.mkdir(parents=True, exist_ok=True)
            compile_cuda(CHOICE.nvcc, library, CHOICE.names)


ParallelCompile("NPY_NUM_BUILD_JOBS").install()

setup(
    ext_modules=[EXTRACTOR, HOST, *([CUDA] if CHOICE.names else [])],
    cmdclass={"build_ext": BuildNative},
)
