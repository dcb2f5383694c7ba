"""Weight files that the reader refuses, each by name and with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.huggingface.reader import WeightFiles
from tests.policy.huggingface.weight_folders import BIN, ST, save, save_sharded, shard_names

AGAIN = "Download or export it again, or point at another folder."


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        WeightFiles(folder)
    return str(caught.value)


def test_a_folder_without_weights(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "nothing"):
        assert refusal(folder) == (
            f"{folder} has no weight files; wanted model.safetensors or "
            "model.safetensors.index.json, pytorch_model.bin or pytorch_model.bin.index.json. "
            "Point at a folder that a model was downloaded to, or saved to with save_pretrained()."
        )


@pytest.mark.parametrize("kind", [ST, BIN])
def test_a_file_that_is_not_there(tmp_path: Path, kind: str):
    save_sharded(
        tmp_path, [{"a": torch.zeros(1)}, {"b": torch.zeros(1)}, {"c": torch.ones(1)}], kind
    )
    _, second, third = shard_names(kind, 3)
    (tmp_path / second).unlink()
    index = tmp_path / f"{kind}.index.json"
    assert refusal(tmp_path) == f"{index} names {second}, which is not there. {AGAIN}"
    (tmp_path / third).unlink()
    assert refusal(tmp_path) == f"{index} names {second}, {third}, which are not there. {AGAIN}"


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path):
    save(tmp_path, {"a": torch.zeros(1)}, BIN)
    (tmp_path / ST).symlink_to(tmp_path / "blob")
    assert refusal(tmp_path).startswith(f"{tmp_path / ST} cannot be read: No such file")


@pytest.mark.parametrize("kind", [ST, BIN])
def test_shards_that_do_not_hold_what_the_index_says(tmp_path: Path, kind: str):
    save_sharded(
        tmp_path, [{"a": torch.zeros(1), "b": torch.zeros(1)}, {"c": torch.zeros(1)}], kind
    )
    first, second = shard_names(kind, 2)
    save(tmp_path, {"b": torch.zeros(1)}, first)
    assert refusal(tmp_path) == (
        f"{tmp_path / first} lacks tensor a, which the index says it holds. {AGAIN}"
    )
    save(tmp_path, {"c": torch.zeros(1), "a": torch.zeros(1)}, second)
    assert refusal(tmp_path) == (
        f"{tmp_path / first} lacks tensor a, which the index says it holds. {AGAIN}"
    )
    save(tmp_path, {"c": torch.zeros(1), "b": torch.zeros(1)}, second)
    assert refusal(tmp_path) == f"{tmp_path}: both {first} and {second} hold tensor b. {AGAIN}"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}']
)
def test_an_index_without_a_map(tmp_path: Path, text: str):
    (tmp_path / f"{ST}.index.json").write_text(text)
    assert refusal(tmp_path) == (
        f"{tmp_path / ST}.index.json is not an index of weight files: it has no readable "
        f"weight_map. {AGAIN}"
    )


@pytest.mark.parametrize("where", ["../model.safetensors", "/etc/passwd", "sub/x", "", None])
def test_an_index_that_leads_out_of_the_folder(tmp_path: Path, where: str | None):
    text = json.dumps({"weight_map": {} if where is None else {"a": where}})
    (tmp_path / f"{ST}.index.json").write_text(text)
    assert refusal(tmp_path) == (
        f"{tmp_path / ST}.index.json is not an index of weight files: its weight_map must give "
        f"each tensor the name of a file in the same folder. {AGAIN}"
    )


@pytest.mark.parametrize("name", [ST, BIN, f"{ST}.index.json"])
def test_pointers_of_git_lfs(tmp_path: Path, name: str):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    told = refusal(tmp_path)
    assert told.startswith(f"{tmp_path / name} is not ")
    assert told.endswith(
        f"It is a pointer of Git LFS; `git lfs pull` fetches the file itself. {AGAIN}"
    )


@pytest.mark.parametrize("name", [ST, BIN, f"{ST}.index.json"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    assert refusal(tmp_path).startswith(f"{tmp_path / name} cannot be read: ")


def header(entries: object, data: int) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def entry(dtype: str, shape: list[int], *offsets: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "header too small"),
        (b"\x01\0\0", "header too small"),
        (b"not a header at all", "header too large"),
        ((1 << 20).to_bytes(8, "little") + b"{}", "invalid header length"),
        (header([1, 2], 0), "invalid JSON in header"),
        (header({"a": entry("F32", [2], 0, 8)}, 7), "file not fully covered"),
        (header({"a": entry("F32", [2], 0, 8)}, 9), "file not fully covered"),
        (header({"a": entry("F32", [2], 0, 4)}, 4), "invalid shape, data type, or offset"),
        (header({"a": entry("F16", [2], 0, 8)}, 8), "invalid shape, data type, or offset"),
        (header({"a": entry("F9", [2], 0, 8)}, 8), "unknown variant `F9`"),
        (
            header({"a": entry("F16", [2], 0, 4), "b": entry("F16", [2], 2, 6)}, 6),
            "invalid offset for tensor `b`",
        ),
    ],
)
def test_files_that_are_not_whole_safetensors(tmp_path: Path, content: bytes, found: str):
    (tmp_path / ST).write_bytes(content)
    told = refusal(tmp_path)
    assert told.startswith(f"{tmp_path / ST} is not a whole safetensors file: ")
    assert found in told
    assert told.endswith(f". {AGAIN}")


@pytest.mark.parametrize("kind", [ST, BIN])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, kind: str):
    path = save(tmp_path, {"a": torch.ones(9), "b": torch.ones(3, 3)}, kind)
    whole = path.read_bytes()
    for size in range(0, len(whole), 13):
        path.write_bytes(whole[:size])
        assert " is not a whole " in refusal(tmp_path)


def test_numbers_that_torch_does_not_have(tmp_path: Path):
    (tmp_path / ST).write_bytes(header({"a": entry("F6_E2M3", [4], 0, 3)}, 3))
    assert refusal(tmp_path) == (
        f"tensor a of {tmp_path / ST} is F6_E2M3, which torch cannot hold. Save the model in "
        "float16, bfloat16 or float32."
    )


@pytest.mark.parametrize("content", ["text", "legacy", "code", "damaged"])
def test_files_that_torch_did_not_save_or_that_hold_code(tmp_path: Path, content: str):
    path = tmp_path / BIN
    if content == "text":
        path.write_text("no weights")
    elif content == "legacy":
        torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    elif content == "code":
        torch.save({"a": print}, path)
    else:
        path = save(tmp_path, {"a": torch.ones(1)}, BIN)
        path.write_bytes(
            path.read_bytes().replace(b"_rebuild_tensor_v2", b"_rebuild_\xff\xff\xffsor_v2")
        )
    assert refusal(tmp_path) == (
        f"{path} is not a whole file of torch.save, from torch 1.6 or later, with nothing but "
        f"tensors in it. {AGAIN}"
    )


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ({"step": 3}, "a int under 'step'"),
        ({"model": {"w": torch.ones(1)}}, "a dict under 'model'"),
        ({3: torch.ones(1)}, "a Tensor under 3"),
        ({"w": torch.eye(2).to_sparse()}, "a Tensor under 'w'"),
        ({"w": torch.empty(2, device="meta")}, "a Tensor under 'w'"),
    ],
)
def test_torch_files_with_more_than_tensors(tmp_path: Path, held, found: str):
    path = save(tmp_path, held, BIN)
    assert refusal(tmp_path) == (
        f"{path} holds {found}; wanted plain tensors by name and nothing else. Save the model's "
        "state_dict() with torch.save."
    )


def test_a_torch_file_of_one_tensor(tmp_path: Path):
    torch.save(torch.ones(2), tmp_path / BIN)
    assert refusal(tmp_path) == (
        f"{tmp_path / BIN} holds a Tensor; wanted tensors by name. Save the model's state_dict() "
        "with torch.save."
    )


# ---------------------------------------------------------------- what is refused when read


@pytest.mark.parametrize("kind", [ST, BIN])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_other_dtypes_may_lie_about_but_are_not_weights(tmp_path: Path, kind: str, dtype):
    path = save(tmp_path, {"ids": torch.ones(3).to(dtype), "w": torch.ones(3)}, kind)
    with WeightFiles(tmp_path) as files:
        assert files.tensors["ids"].dtype == dtype
        assert files.read("w").tolist() == [1, 1, 1]
        with pytest.raises(CheckpointError) as caught:
            files.read("ids")
    assert str(caught.value) == (
        f"tensor ids of {path} is {dtype}; weights are read as float16, bfloat16 or float32. "
        "Save the model in one of these."
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("value", "found"),
    [("nan", "NaN"), ("inf", "infinities"), ("-inf", "infinities")],
)
def test_values_that_are_not_finite(tmp_path: Path, dtype, value: str, found: str):
    weight = torch.ones(40, 30, dtype=dtype)
    weight[17, 3] = float(value)
    path = save(tmp_path, {"w": weight}, ST)
    with WeightFiles(tmp_path) as files:
        assert files.read("w", rows=slice(18, 40)).shape == (22, 30)
        with pytest.raises(CheckpointError) as caught:
            files.read("w", columns=slice(3, 5))
    assert str(caught.value) == (
        f"tensor w of {path} holds {found}. Such a model cannot be trained; use another "
        "checkpoint of it, or allow values that are not finite."
    )
    with WeightFiles(tmp_path, allow_nonfinite=True) as files:
        found = files.read("w")
    assert torch.equal(found.view(torch.uint8), weight.view(torch.uint8)), "bit for bit, NaN too"


def test_the_largest_numbers_are_finite(tmp_path: Path):
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        save(tmp_path, {"w": torch.full((300,), torch.finfo(dtype).max, dtype=dtype)}, ST)
        with WeightFiles(tmp_path) as files:
            files.read("w")


@pytest.mark.parametrize("kind", [ST, BIN])
def test_files_larger_than_the_machine(tmp_path: Path, monkeypatch, kind: str):
    """The kernel does not map more than there is memory, unless it is told to."""
    path = save(tmp_path, {"a": torch.ones(1)}, kind)

    def refuse(*args: object, **options: object) -> None:
        raise RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)")

    monkeypatch.setattr(torch.UntypedStorage, "from_file", refuse)
    assert refusal(tmp_path) == (
        f"{path} cannot be mapped: unable to mmap 9 bytes: Cannot allocate memory (12). Save the "
        "model in smaller shards, each well below the machine's memory."
    )
