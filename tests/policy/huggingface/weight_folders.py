"""Folders of weights for the tests: what the reader may meet, and what the writer should make."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from reft_megatron.config import ParallelConfig
from reft_megatron.mesh import Axis
from reft_megatron.policy import join
from reft_megatron.policy.huggingface.shard_plan import TensorInfo
from reft_megatron.policy.huggingface.writer import WeightWriter

ST, BIN = "model.safetensors", "pytorch_model.bin"
TENSORS = {
    "embedding": TensorInfo(shape=(12, 8), dtype=torch.bfloat16),
    "norm": TensorInfo(shape=(8,), dtype=torch.float32),
    "output": TensorInfo(shape=(8, 12), dtype=torch.bfloat16),
}
FILES = {"config.json": b'{"model_type": "none"}', "tokenizer.json": b"{}"}


def save(folder: Path, held: dict[str, object], kind: str) -> Path:
    if kind.endswith(".safetensors"):
        save_file(held, folder / kind)
    else:
        torch.save(held, folder / kind)
    return folder / kind


def shard_names(kind: str, count: int) -> list[str]:
    stem, suffix = kind.split(".")
    return [f"{stem}-{i:05}-of-{count:05}.{suffix}" for i in range(1, count + 1)]


def save_sharded(folder: Path, parts: list[dict[str, object]], kind: str) -> None:
    """Each part as a shard, and the index over them."""
    names = shard_names(kind, len(parts))
    for name, part in zip(names, parts, strict=True):
        save(folder, part, name)
    weight_map = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / f"{kind}.index.json").write_text(json.dumps(index))


def fill(folder: Path, held: dict[str, torch.Tensor], kind: str, *, sharded: bool) -> None:
    if not sharded:
        save(folder, held, kind)
        return
    names = list(held)
    save_sharded(folder, [{n: held[n] for n in names[i::2]} for i in (0, 1)], kind)


def drawn(tensors: dict[str, TensorInfo]) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {name: torch.randn(info.shape).to(info.dtype) for name, info in tensors.items()}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write_all(folder: Path, *, shard_bytes: int = 5 * 10**9) -> None:
    with WeightWriter(folder, TENSORS, shard_bytes=shard_bytes) as writer:
        for name, tensor in drawn(TENSORS).items():
            writer.write(name, tensor)
        writer.finish(FILES)


def join_world() -> Axis:
    """All ranks of the play."""
    return join(ParallelConfig(), seed=0, timeout_s=300, threads=1).world
