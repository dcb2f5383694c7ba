"""The libraries of kernels: structs as in C, refusals, and who serves what."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reft_megatron.errors import ConfigError
from reft_megatron.ops import cache_kernels, drawing, fp8_kernels, gae, kernels, ppo_loss, softmax

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "csrc/kernels/reft_kernels.h"
STRUCTS = {
    "reft_cache": cache_kernels._Cache,
    "reft_indices": cache_kernels._Indices,
    "reft_decode_attention_args": cache_kernels._DecodeAttention,
    "reft_append_args": cache_kernels._Append,
    "reft_draw_args": drawing._Draw,
    "reft_quantise_rows_args": fp8_kernels._Rows,
    "reft_quantise_columns_args": fp8_kernels._Columns,
    "reft_transpose_args": fp8_kernels._Transpose,
    "reft_softmax_args": softmax._Softmax,
    "reft_softmax_gradient_args": softmax._SoftmaxGradient,
    "reft_gae_args": gae._Gae,
    "reft_ppo_loss_args": ppo_loss._PpoLossArgs,
}


def compiled(source: str, folder: Path, *flags: str) -> Path:
    """What the C compiler makes of a text."""
    made = folder / "made.so"
    (folder / "source.c").write_text(source)
    command = ["cc", "-Wall", "-Werror", "-std=c99", f"-I{HEADER.parent}", *flags]
    subprocess.run([*command, str(folder / "source.c"), "-o", str(made)], check=True)
    return made


def layout(struct: type[ctypes.Structure]) -> Iterator[int]:
    """Its size, then offset and size of each field."""
    yield ctypes.sizeof(struct)
    for name, *_ in struct._fields_:
        field = getattr(struct, name)
        yield from (field.offset, field.size)


def test_the_structs_and_the_number_are_those_of_the_header(tmp_path: Path):
    lines = []
    for name, struct in STRUCTS.items():
        values = [f"sizeof({name})"]
        for field, *_ in struct._fields_:
            values += [f"offsetof({name}, {field})", f"sizeof((({name}*)0)->{field})"]
        lines += [f'printf("%zu ", {value});' for value in values]
    source = (
        "#include <stddef.h>\n#include <stdio.h>\n#include <reft_kernels.h>\n"
        f'int main(void) {{ {"".join(lines)} printf("%d", REFT_KERNELS_ABI); return 0; }}\n'
    )
    program = compiled(source, tmp_path)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    ours = [*(n for struct in STRUCTS.values() for n in layout(struct)), kernels.ABI]
    assert [int(word) for word in printed.split()] == ours


HOW = "`pip install -e .` builds it, for GPUs where nvcc is (REFT_BUILD_CUDA=on insists)."


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        kernels.Library(path)
    return str(refused.value)


def test_a_missing_library_is_named(tmp_path: Path):
    assert refusal(tmp_path / "none.so") == f"none.so is not built: {HOW}"


def test_a_file_that_is_no_library_is_named(tmp_path: Path):
    (tmp_path / "text.so").write_text("no library")
    assert refusal(tmp_path / "text.so").startswith("text.so cannot be loaded (")


def test_a_library_of_others_is_named(tmp_path: Path):
    made = compiled("int nothing;\n", tmp_path, "-shared", "-fPIC")
    assert refusal(made).startswith("made.so cannot be loaded (")
    assert "undefined symbol: reft_abi" in refusal(made)


def test_a_library_of_another_abi_is_named(tmp_path: Path):
    made = compiled("int reft_abi(void) { return 99; }\n", tmp_path, "-shared", "-fPIC")
    assert refusal(made) == f"made.so has ABI 99, and this package wants {kernels.ABI}: {HOW}"


def test_the_twin_runs_everywhere():
    twin = kernels.host()
    assert (twin.target, twin.probe(0), twin.message(0)) == ("host", 0, "no error")


PICKY = """#include <reft_kernels.h>
int reft_abi(void) { return REFT_KERNELS_ABI; }
const char* reft_target(void) { return "cuda 90a"; }
const char* reft_message(int status) { return status ? "no such device" : "no error"; }
int reft_probe(int device) { return device == 2 ? 0 : 100; }
#define NOTHING(name) int reft_##name(const reft_##name##_args* a, int b, void* c) { return 0; }
NOTHING(decode_attention) NOTHING(append) NOTHING(draw)
NOTHING(quantise_rows) NOTHING(quantise_columns) NOTHING(transpose)
NOTHING(softmax) NOTHING(softmax_gradient) NOTHING(gae) NOTHING(ppo_loss)
"""
"""A library that runs on GPU 2 alone."""


def test_a_probe_is_about_a_device_and_leaves_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = compiled(PICKY, tmp_path, "-shared", "-fPIC", "-Wno-unused-parameter")
    library = kernels.Library(made)
    assert kernels.state(library, 2) == "has code for cuda 90a"
    assert kernels.state(library, 1) == "has code for cuda 90a, but no such device (status 100)"
    current = [0]

    @contextlib.contextmanager
    def device(number: int) -> Iterator[None]:
        current.append(number)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(kernels, "CUDA", made)
    monkeypatch.setattr(kernels, "cuda", kernels.cuda.__wrapped__)  # nothing is kept of this
    seen = []
    probe = library._functions.reft_probe
    library._functions.reft_probe = lambda number: seen.append(current[-1]) or probe(number)
    assert [library.probe(number) for number in (2, 5)] == [0, 100]
    assert (seen, current) == ([2, 5], [0])
    assert {(row.backend, row.why) for row in kernels.served()} == {
        (made.name, "it has code for cuda 90a")
    }


TRAINING = [
    *("softmax", "softmax_gradient", "gae", "ppo_loss"),
    *("quantise_rows", "quantise_columns", "quantise_gradient", "transpose_codes"),
    *("layer_norm_quantise", "bias_gelu_quantise", "dgelu_quantise"),
]


def test_who_serves_on_a_cpu():
    assert [(row.operator, row.backend, row.why) for row in kernels.served()] == [
        ("append", "_kernels_host.so", "it has code for host"),
        ("decode_attention", "torch: scaled_dot_product_attention under a mask", "no GPU"),
        ("draw", "_kernels_host.so", "it has code for host"),
        *((name, "torch", "no GPU") for name in TRAINING),
    ]
    assert kernels.summary() == (
        "append, draw by _kernels_host.so (it has code for host); decode_attention, "
        f"{', '.join(TRAINING)} by torch (no GPU)"
    )


def test_a_cpu_without_the_twin_is_told_before_anything_is_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(kernels, "host", lambda: kernels.Library(tmp_path / "none.so"))
    for tell in (kernels.served, kernels.summary):
        with pytest.raises(ConfigError, match=r"^none\.so is not built: "):
            tell()
