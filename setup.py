"""Builds the package; what is only a statement stands in `pyproject.toml`.

Owns the native extensions: the C++ extractor (csrc/extractor).
"""

from __future__ import annotations

from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

CORE = Path("csrc/extractor")
# Doubles must come out bit for bit as in CPython: no contraction, no fast maths.
FLAGS = ["-O2", "-ffp-contract=off", "-fno-fast-math", "-fvisibility=hidden", "-Wall"]

EXTRACTOR = Pybind11Extension(
    "reft_megatron._extractor",
    sources=sorted(map(str, set(CORE.rglob("*.cpp")) - set(CORE.glob("fuzz/*")))),
    depends=sorted(map(str, [*CORE.rglob("*.hpp"), *CORE.rglob("*.inc")])),
    include_dirs=[str(CORE)],
    cxx_std=20,
    extra_compile_args=FLAGS,
)

ParallelCompile("NPY_NUM_BUILD_JOBS").install()

setup(ext_modules=[EXTRACTOR])
