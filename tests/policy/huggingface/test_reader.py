"""Reading weight files: every rectangle of every kind, in little memory."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from reft_megatron.policy.huggingface import reader
from reft_megatron.policy.huggingface.reader import MAPPED_BYTES, WeightFiles
from reft_megatron.policy.huggingface.shard_plan import TensorInfo, plan_shards
from tests.policy.huggingface.weight_folders import BIN, ST, fill, save, save_sharded, shard_names

KINDS = [(ST, False), (ST, True), (BIN, False), (BIN, True)]


def tensors() -> dict[str, torch.Tensor]:
    """One of each number of dimensions, and of each dtype a weight may have."""
    torch.manual_seed(5)
    return {
        "matrix": torch.randn(7, 5),
        "half": torch.randn(6, 4).half(),
        "bias": torch.randn(9).bfloat16(),
        "scalar": torch.tensor(2.5),
        "cube": torch.randn(4, 3, 2),
        "empty": torch.zeros(0, 3),
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[tuple[str, bool], Path]:
    """The same tensors in each kind of file."""
    made = {}
    for kind, sharded in KINDS:
        made[kind, sharded] = tmp_path_factory.mktemp("weights")
        fill(made[kind, sharded], tensors(), kind, sharded=sharded)
    return made


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_dtypes_are_known_beforehand(folders, kind):
    held = tensors()
    with WeightFiles(folders[kind]) as files:
        assert files.folder == folders[kind]
        assert files.tensors.keys() == held.keys()
        for name, info in files.tensors.items():
            assert (info.shape, info.dtype) == (tuple(held[name].shape), held[name].dtype)
        names = shard_names(kind[0], 2) if kind[1] else [kind[0]]
        assert {info.file for info in files.tensors.values()} == set(names)


def slices(length: int) -> st.SearchStrategy[slice | None]:
    ends = st.tuples(st.integers(0, length), st.integers(0, length)).map(sorted)
    return st.none() | ends.map(lambda pair: slice(*pair))


@settings(deadline=None, max_examples=60)
@given(
    st.data(),
    st.sampled_from(KINDS),
    st.integers(1, 100),
    st.lists(st.sampled_from(sorted(tensors())), max_size=6),
)
def test_any_rectangle_is_read_in_any_steps(folders, data, kind, mapped: int, names: list[str]):
    held = tensors()
    with mock.patch.object(reader, "MAPPED_BYTES", mapped), WeightFiles(folders[kind]) as files:
        for name in names:
            whole = held[name]
            rows = data.draw(slices(len(whole))) if whole.dim() else None
            columns = data.draw(slices(whole.shape[1])) if whole.dim() == 2 else None
            wanted = whole[rows or slice(None)] if whole.dim() else whole
            wanted = wanted[:, columns] if columns else wanted
            got = files.read(name, rows=rows, columns=columns)
            assert got.dtype == wanted.dtype
            assert torch.equal(got, wanted)
            assert got.is_contiguous()
            assert got.untyped_storage().nbytes() == got.nbytes, "not its own memory"


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_read_outlives_the_files(folders, kind):
    held = tensors()
    with WeightFiles(folders[kind]) as files:
        got = {name: files.read(name) for name in held}
    for name, tensor in got.items():
        assert torch.equal(tensor, held[name])
        tensor.zero_()
    with WeightFiles(folders[kind]) as files:
        assert torch.equal(files.read("matrix"), held["matrix"]), "the file was written to"


@pytest.mark.parametrize(
    ("name", "rows", "columns", "complaint"),
    [
        ("bias", None, slice(0, 1), "columns of bias, whose shape is (9,)"),
        ("cube", None, slice(0, 1), "columns of cube, whose shape is (4, 3, 2)"),
        ("matrix", slice(3, 8), None, "slice(3, 8, None) is not within the 7 rows of matrix"),
        ("matrix", slice(-1, 7), None, "slice(-1, 7, None) is not within the 7 rows of matrix"),
        ("matrix", slice(0, 4, 2), None, "slice(0, 4, 2) is not within the 7 rows of matrix"),
        ("matrix", None, slice(0, 6), "slice(0, 6, None) is not within the 5 columns of matrix"),
    ],
)
def test_what_is_not_there_cannot_be_asked_for(folders, name, rows, columns, complaint):
    with WeightFiles(folders[ST, False]) as files, pytest.raises(IndexError) as caught:
        files.read(name, rows=rows, columns=columns)
    assert str(caught.value) == complaint


def test_safetensors_are_preferred(tmp_path: Path):
    save_sharded(tmp_path, [{"w": torch.zeros(1)}, {"v": torch.zeros(1)}], BIN)
    assert WeightFiles(tmp_path).tensors["w"].file == "pytorch_model-00001-of-00002.bin"
    save(tmp_path, {"w": torch.zeros(1)}, BIN)
    assert WeightFiles(tmp_path).tensors["w"].file == BIN
    save_sharded(tmp_path, [{"w": torch.zeros(1)}], ST)
    assert WeightFiles(tmp_path).tensors["w"].file == "model-00001-of-00001.safetensors"
    save(tmp_path, {"w": torch.zeros(1)}, ST)
    assert WeightFiles(tmp_path).tensors["w"].file == ST


def test_views_of_a_torch_file_are_read_as_they_look(tmp_path: Path):
    """Tied and transposed tensors share one storage there."""
    base = torch.randn(6, 4)
    held = {"w": base, "tied": base, "turned": base.T, "part": base[2:4, 1:], "parameter": base}
    save(tmp_path, {**held, "parameter": torch.nn.Parameter(base)}, BIN)
    with WeightFiles(tmp_path) as files:
        for name, tensor in held.items():
            assert torch.equal(files.read(name), tensor)
        assert torch.equal(files.read("turned", rows=slice(1, 3)), base.T[1:3])


# ---------------------------------------------------------------- memory


def play_peak(folder: Path) -> tuple[int, int]:
    """Bytes by which memory grew at most, while all was read; and the largest tensor."""
    torch.set_num_threads(1)
    with WeightFiles(folder) as files:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before = peak_bytes()
        for name in files.tensors:
            files.read(name)
        return peak_bytes() - before, max(info.nbytes for info in files.tensors.values())


def peak_bytes() -> int:
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("kind", [ST, BIN])
def test_memory_does_not_grow_with_the_files(ranks, tmp_path: Path, kind: str):
    matrix = torch.zeros(1 << 12, 1 << 11)
    save(tmp_path, {f"w{i}": matrix.clone() for i in range(6)}, kind)
    ((peak, largest),) = ranks(1, play_peak, tmp_path)
    assert largest == matrix.nbytes
    assert (tmp_path / kind).stat().st_size > 2 * (largest + MAPPED_BYTES)
    assert peak < largest + MAPPED_BYTES + (16 << 20)


def test_opening_reads_no_weights(tmp_path: Path):
    """A sparse file of 2 GiB, of which one row is read."""
    info = TensorInfo(shape=(1 << 21, 512), dtype=torch.float16)
    (shard,) = plan_shards({"w": info}, 1 << 40)
    with (tmp_path / ST).open("wb") as file:
        file.write(shard.header)
        file.truncate(shard.size)
    with WeightFiles(tmp_path) as files:
        assert files.tensors["w"].shape == info.shape
        assert files.read("w", rows=slice(1 << 20, (1 << 20) + 2)).shape == (2, 512)


def test_a_place_of_another_shape_is_refused_and_another_dtype_is_cast(tmp_path: Path):
    save_file({"x": torch.arange(6.0).view(3, 2)}, tmp_path / "model.safetensors")
    with WeightFiles(tmp_path) as files:
        out = torch.zeros(2, 1, dtype=torch.bfloat16)
        files.read_into("x", out, rows=slice(1, 3), columns=slice(1, 2))
        assert out.tolist() == [[3.0], [5.0]]
        with pytest.raises(ValueError, match=r"x gives \(3, 2\), and the place for it is \(2, 1\)"):
            files.read_into("x", out)
