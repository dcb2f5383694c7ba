"""Compiles the kernels for GPUs into one library, with nvcc and nothing else.

Owns nvcc's flags, the architectures, and what a build's wishes come to; setup.py has the wishes.
The library needs neither torch nor Python nor CUDA's runtime beside it, and can be taken to another
machine. By hand:

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
from typing import NamedTuple

__all__ = ["SOURCES", "Choice", "choose", "compile_cuda", "find_nvcc", "is_compiled_for"]

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


class Choice(NamedTuple):
    """What to compile."""

    nvcc: str
    """With which compiler."""
    names: list[str]
    """For which architectures; none: no library."""
    why: str
    """What decided so."""


def choose(wish: str, *, home: str | None, asked: list[str]) -> Choice:
    """What a `wish` of auto, on or off comes to here.

    The toolkit is that of `home`, or the one that is found; the architectures are those `asked`
    for, or all of ours that it knows. Ends the build, saying why, if the wish is none of these, or
    is on and cannot be had.
    """
    if wish not in ("auto", "on", "off"):
        sys.exit(f"REFT_BUILD_CUDA is {wish!r}; wanted auto, on or off.")
    if wish == "off":
        return Choice("", [], "REFT_BUILD_CUDA is off")
    nvcc = find_nvcc(home)
    if nvcc and asked:
        return Choice(nvcc, asked, f"REFT_CUDA_ARCHITECTURES asks {nvcc} for them")
    if nvcc and (names := [name for name in OURS if _knows(nvcc, name)]):
        return Choice(nvcc, names, f"{nvcc} knows them")
    why = f"there is no nvcc in {f'{home}/bin' if home else 'PATH or /usr/local/cuda/bin'}"
    if nvcc:
        listed = ", ".join(_listed(nvcc)) or "none"
        why = f"{nvcc} compiles for none of {', '.join(OURS)} (it lists {listed})"
    if wish == "on":
        sys.exit(
            f"REFT_BUILD_CUDA is on, and {why}: install a CUDA toolkit (from 12.8 on they compile "
            f"for {', '.join(OURS)}), or name its folder with CUDA_HOME."
        )
    return Choice("", [], why)


def find_nvcc(home: str | None = None) -> str | None:
    """Path of nvcc: of the toolkit at `home`, or of PATH, or where a toolkit installs itself."""
    if home:
        return shutil.which("nvcc", path=f"{home}/bin")
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def is_compiled_for(library: Path, names: Sequence[str]) -> bool:
    """True if there is a library that was compiled for just these architectures."""
    return library.is_file() and f"cuda {' '.join(names)}\0".encode() in library.read_bytes()


def compile_cuda(nvcc: str, library: Path, names: Sequence[str]) -> str:
    """Compile for the architectures `names`; returns what the assembler reports of each kernel."""
    targets = [_target(name) for name in names]
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


def _knows(nvcc: str, name: str) -> bool:
    """True if it compiles for that architecture; of those with an "a" its list says nothing."""
    command = [nvcc, "--dryrun", _target(name), "-x", "cu", "-c", "/dev/null", "-o", "/dev/null"]
    return not subprocess.run(command, check=False, capture_output=True).returncode


def _listed(nvcc: str) -> list[str]:
    """Architectures that it says it knows; the oldest cannot say."""
    ended = subprocess.run([nvcc, "--list-gpu-code"], check=False, capture_output=True, text=True)
    return [] if ended.returncode else [name.removeprefix("sm_") for name in ended.stdout.split()]


def _target(name: str) -> str:
    return f"-gencode=arch=compute_{name},code=sm_{name}"


def _run(command: list[str]) -> str:
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(
            f"{ended.stdout}{ended.stderr}\n{' '.join(command)}\nfailed. REFT_BUILD_CUDA=off builds"
            " without kernels for GPUs, CUDA_HOME names another toolkit."
        )
    return ended.stdout + ended.stderr


def _main(arguments: Sequence[str]) -> None:
    if not arguments:
        sys.exit("usage: compile_cuda.py LIBRARY [ARCHITECTURE ...], with nvcc on PATH")
    chosen = choose("on", home=None, asked=[*arguments[1:]])
    sys.stdout.write(compile_cuda(chosen.nvcc, Path(arguments[0]), chosen.names))


if __name__ == "__main__":
    _main(sys.argv[1:])
