"""Checkpoints: bit for bit at the same layout, readable at any, and never half of one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.errors import CheckpointError
from reft_megatron.files import checksum
from reft_megatron.policy import Policy, join
from reft_megatron.policy.checkpoint import check_identity, same_layout
from tests.policy.scene import (
    LAYOUTS,
    ONE,
    PPO,
    TOKENIZER,
    Layout,
    assemble,
    configure,
    make_batches,
    open_other,
    open_policy,
    weights_of,
)

# ---------------------------------------------------------------- round trips


def play_diamond(layout: Layout, fields: Any, folder: Path, *overrides: str) -> dict[str, Any]:
    """Four updates in one life, and two + save + load into another policy + two."""
    dropped = ("model.dropout=0.1", "optimizer.schedule=linear", *overrides)
    policy = open_policy(layout, *dropped)
    batches = make_batches(policy, fields)

    def train(learner: Policy) -> list[Any]:
        return [learner.update(batches, loss=PPO, dropout=True) for _ in range(2)]

    train(policy)
    policy.save(folder, extra={"iteration": 2, "names": ["a", "b"]})
    straight = train(policy), weights_of(policy), optimizer_of(policy)
    other = open_other(layout, *dropped)
    extra = other.load(folder, weights_only=False)
    version = other.version
    resumed = train(other), weights_of(other), optimizer_of(other)
    return {"straight": straight, "resumed": resumed, "extra": extra, "version": version}


def optimizer_of(policy: Policy) -> list[np.ndarray[Any, Any]]:
    """Masters, moments and step counts of this rank's share."""
    inner = policy._optimizer.optimizer
    masters = [p for group in inner.param_groups for p in group["params"]]
    state = [inner.state[p][key] for p in masters for key in ("exp_avg", "exp_avg_sq", "step")]
    return [np.array(x.detach().float()) for x in (*masters, *state)]


@pytest.mark.megatron
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("1", ()),
        ("tp2-pp2", ()),
        ("dp2", ()),
        ("dp2", ("parallel.distributed_optimizer=false",)),
        ("dp2", ("model.precision=bf16",)),
    ],
    ids=["1", "tp2-pp2", "dp2", "dp2-unshared", "dp2-bf16"],
)
def test_resuming_is_bit_exact(ranks, fields, tmp_path: Path, name: str, overrides):
    layout = LAYOUTS[name]
    for rank in ranks(layout.world, play_diamond, layout, fields, tmp_path / "ckpt", *overrides):
        assert rank["extra"] == {"iteration": 2, "names": ["a", "b"]}
        assert rank["version"] == 2
        (stats, weights, optimizer), (its_stats, its_weights, its_optimizer) = (
            rank["straight"],
            rank["resumed"],
        )
        assert its_stats == stats
        assert len(optimizer) > 4
        for a, b in zip(its_optimizer, optimizer, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(its_weights, weights, strict=True):
            assert a[0] == b[0]
            np.testing.assert_array_equal(a[3], b[3], err_msg=a[0])


def play_reading(layout: Layout, folder: Path) -> tuple[list[Any], dict[str, Any], int]:
    policy = open_other(layout)
    extra = policy.load(folder, weights_only=True)
    return weights_of(policy), extra, policy.version


def play_writing(layout: Layout, folder: Path) -> None:
    open_policy(layout).save(folder, extra={"from": "here"})


@pytest.mark.megatron
@pytest.mark.parametrize(
    ("writer", "reader"),
    [("1", "tp2"), ("1", "pp2-vpp2"), ("tp2-pp2", "1"), ("pp2-dp2", "pp2"), ("dp2", "tp2-pp2")],
)
def test_weights_are_read_at_any_layout(ranks, weights, tmp_path, writer: str, reader: str):
    folder = tmp_path / "deep" / "ckpt"
    ranks(LAYOUTS[writer].world, play_writing, LAYOUTS[writer], folder)
    seen = ranks(LAYOUTS[reader].world, play_reading, LAYOUTS[reader], folder)
    found = assemble(rank[0] for rank in seen)
    assert found.keys() == weights.keys()
    for key, wanted in weights.items():
        np.testing.assert_array_equal(found[key], wanted, err_msg=key)
    assert [(extra, version) for _, extra, version in seen] == [({"from": "here"}, 0)] * len(seen)


def test_weights_that_were_read_are_what_the_optimizer_moves(alone, fields, weights, tmp_path):
    """In bf16 the optimizer has fp32 masters, which must not bring the old weights back."""
    open_policy(ONE).save(tmp_path / "ckpt", extra={})
    policy = open_other(ONE, "model.precision=bf16")
    policy.load(tmp_path / "ckpt", weights_only=True)
    policy.update(make_batches(policy, fields), loss=PPO)
    for key, tensor in assemble([weights_of(policy)]).items():
        np.testing.assert_allclose(tensor, weights[key], rtol=0.01, atol=2.5e-4, err_msg=key)


# ---------------------------------------------------------------- what is refused


def refusal(folder: Path, policy: Policy | None = None, *, weights_only: bool = True) -> str:
    """The message that reading raises; weights and version are then as before."""
    policy = policy or open_other(ONE)
    before = weights_of(policy)
    with pytest.raises(CheckpointError) as caught:
        policy.load(folder, weights_only=weights_only)
    for a, b in zip(weights_of(policy), before, strict=True):
        np.testing.assert_array_equal(a[3], b[3])
    assert policy.version == 0
    return str(caught.value)


@pytest.mark.parametrize("half", ["missing", "no manifest", "bad manifest"])
def test_an_unfinished_checkpoint_is_refused(saved: Path, half: str):
    if half == "missing":
        saved = saved.with_name("nothing")
    elif half == "no manifest":
        (saved / "manifest.json").unlink()
    else:
        (saved / "manifest.json").write_text('{"files": {"meta.js')
    assert refusal(saved) == (
        f"{saved} is not a complete checkpoint: it has no readable manifest.json. "
        "Point at a folder written by a finished save."
    )


def test_a_damaged_file_is_refused(saved: Path):
    (weights, *_) = sorted((saved / "weights").glob("*.distcp"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert refusal(saved) == (
        f"{saved} is damaged: weights/{weights.name} differs from its checksum. Use another one."
    )
    weights.unlink()
    assert refusal(saved) == (
        f"{saved} is damaged: weights/{weights.name} is missing. Use another checkpoint."
    )


def test_a_damaged_optimizer_is_refused_to_resume_alone(saved: Path):
    (state, *_) = sorted((saved / "optimizer").glob("*.distcp"))
    state.write_bytes(b"")
    assert refusal(saved, weights_only=False) == (
        f"{saved} is damaged: optimizer/{state.name} differs from its checksum. Use another one."
    )
    open_other(ONE).load(saved, weights_only=True)


@pytest.mark.megatron
def test_a_random_state_that_one_cannot_read_is_refused_before_weights(ranks, tmp_path: Path):
    wanted = f"cannot read the random state {tmp_path}/ckpt/random/rank_1.pt: "
    for told, unchanged in ranks(2, play_lost_randomness, tmp_path / "ckpt"):
        assert told.startswith(wanted)
        assert told.endswith(". Use another checkpoint.")
        assert unchanged


def replace_in(folder: Path, name: str, content: bytes) -> None:
    """Another file in a checkpoint, of which its manifest says that it belongs there."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = [len(content), checksum(folder / name)]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def play_lost_randomness(folder: Path) -> tuple[str, bool]:
    """Rank 1's file is no state, and the manifest does not say so."""
    layout = LAYOUTS["tp2"]
    open_policy(layout).save(folder, extra={})
    policy = open_other(layout)
    world = policy.mesh.world
    if world.first:
        replace_in(folder, "random/rank_1.pt", b"nothing")
    world.barrier()
    before = [p.clone() for chunk in policy.chunks for p in chunk.parameters()]
    told = refusal(folder, policy, weights_only=False)
    after = [p for chunk in policy.chunks for p in chunk.parameters()]
    return told, all(map(torch.equal, before, after))


@pytest.mark.parametrize(
    ("content", "kind"), [(b"", "EOFError"), (b"(lp0\nI1\na.", "UnpicklingError")]
)
def test_a_random_state_that_is_none_is_refused(saved: Path, content: bytes, kind: str):
    replace_in(saved, "random/rank_0.pt", content)
    told = refusal(saved, weights_only=False)
    assert told.startswith(f"cannot read the random state {saved}/random/rank_0.pt: {kind}: ")


def test_a_checkpoint_of_before_layers_were_told_brings_its_random_state(saved: Path):
    meta = json.loads((saved / "meta.json").read_text())
    assert meta["layout"].pop("layers") == [4]
    replace_in(saved, "meta.json", json.dumps(meta).encode())
    wanted = torch.load(saved / "random" / "rank_0.pt")["cpu"]
    policy = open_other(ONE)
    assert not torch.equal(torch.get_rng_state(), wanted)
    policy.load(saved, weights_only=False)
    assert torch.equal(torch.get_rng_state(), wanted)
    assert not policy.redrawn
    meta["layout"]["data"] = 2
    replace_in(saved, "meta.json", json.dumps(meta).encode())
    other = open_other(ONE)
    other.load(saved, weights_only=False)
    assert not torch.equal(torch.get_rng_state(), wanted)
    assert other.redrawn, "and says so"


@pytest.mark.parametrize(
    ("pipeline", "layers", "same"), [(1, [4], True), (2, [2, 2], True), (2, [3, 1], False)]
)
def test_layers_that_nobody_told_were_even(pipeline: int, layers: list[int], same: bool):
    told = {"tensor": 1, "pipeline": pipeline, "virtual_pipeline": 1, "data": 1}
    meta = {"architecture": {"layers": 4}, "layout": told}
    assert same_layout(meta, {"layout": {**told, "layers": layers}}) is same


def play_refusal(layout: Layout, folder: Path) -> str:
    return refusal(folder, open_other(layout))


@pytest.mark.megatron
def test_every_rank_refuses_what_one_finds(ranks, saved: Path):
    (saved / "meta.json").write_text("{}")
    assert (
        ranks(2, play_refusal, LAYOUTS["tp2"], saved)
        == [f"{saved} is damaged: meta.json differs from its checksum. Use another one."] * 2
    )


def test_another_model_is_refused(saved: Path):
    config = configure(ONE)
    mesh = join(config.parallel, seed=0, timeout_s=300, threads=1)
    larger = Policy(config, mesh, replace(TOKENIZER, vocab_size=87), total_steps=8)
    assert refusal(saved, larger) == (
        f"{saved} was written for vocab_size 86, but this run has 87. "
        "Use the settings of the run that wrote it, or another checkpoint."
    )
    foreign = Policy(config, mesh, replace(TOKENIZER, fingerprint="f" * 16), total_steps=8)
    assert refusal(saved, foreign) == (
        f"{saved} was written for tokenizer '0123456789abcdef', but this run has "
        "'ffffffffffffffff'. Use the settings of the run that wrote it, or another checkpoint."
    )


def test_another_architecture_is_refused(saved: Path):
    meta = json.loads((saved / "meta.json").read_text())
    ours = {**meta, "architecture": {**meta["architecture"], "layers": 5}}
    with pytest.raises(CheckpointError) as caught:
        check_identity(saved, meta, ours, resume=False)
    assert str(caught.value) == (
        f"{saved} was written for architecture {{'layers': 4}}, but this run has {{'layers': 5}}. "
        "Use the settings of the run that wrote it, or another checkpoint."
    )
    newer = {**meta, "architecture": {**meta["architecture"], "experts": 8}}
    with pytest.raises(CheckpointError, match=r"architecture {'experts': 8}, .* {'experts': None}"):
        check_identity(saved, newer, meta, resume=False)


def test_a_head_that_is_needed_must_be_there(saved: Path):
    before = weights_of(scorer := open_policy(ONE, "model.head=rerank", total_steps=None))
    with pytest.raises(CheckpointError) as caught:
        scorer.load(saved, weights_only=True, with_head=True)
    assert str(caught.value) == (
        f"{saved}/weights does not hold this model: it lacks rerank_head.weight. Use the settings "
        "of the run that wrote it, or another checkpoint."
    )
    scorer.load(saved, weights_only=True)
    for a, b in zip(weights_of(scorer), before, strict=True):
        np.testing.assert_array_equal(a[3], b[3])
    open_policy(ONE).load(saved, weights_only=True, with_head=True)


def test_neither_name_nor_first_weights_make_another_model(saved: Path):
    meta = json.loads((saved / "meta.json").read_text())
    assert meta["architecture"]["name"] == "galactica-tiny"
    ours = {**meta, "architecture": {**meta["architecture"], "name": "mine", "init_std": 0.5}}
    check_identity(saved, meta, ours, resume=True)


def play_unreadable(folder: Path) -> str:
    return refusal(folder, open_policy(LAYOUTS["dp2"]))


@pytest.mark.megatron
def test_every_rank_hears_that_megatrons_pointer_cannot_be_read(ranks, tmp_path: Path):
    (tmp_path / "latest_checkpointed_iteration.txt").write_bytes(b"\xff\xfe")
    messages = ranks(2, play_unreadable, tmp_path)
    assert len(set(messages)) == 1
    assert "which names Megatron-LM's last checkpoint: 'ascii' codec" in messages[0]


def test_another_precision_cannot_resume(saved: Path):
    policy = open_other(ONE, "model.precision=bf16")
    assert refusal(saved, policy, weights_only=False) == (
        f"{saved} was written for precision 'fp32', but this run has 'bf16'. "
        "Use the settings of the run that wrote it, or another checkpoint."
    )
