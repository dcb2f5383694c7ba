"""The buffer in one process, and over four real gloo ranks: data 2 x pipeline 2.

Run as a script, this file is those ranks: each fills a buffer and writes down what it sees.
"""

from __future__ import annotations

import datetime
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from reft_megatron.errors import ConfigError, DataError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.rollouts.batch import pick
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.rollouts.schema import LEDGER, token_rows
from tests.rollouts.scene import make_rollout

PAD = 1
BUDGET = 64
PER_TOKEN = ("mask", "sampler_logprobs", "advantages")


WHOLE = [make_rollout(number, sample) for number in range(12) for sample in range(2)]


def _fill(mesh: Mesh) -> RolloutBuffer:
    """A buffer with all of WHOLE, sampled by the replicas in turn and in no order."""
    buffer = RolloutBuffer(mesh, pad_id=PAD)
    own = WHOLE[mesh.data.rank :: mesh.data.size][::-1]
    buffer.fill(own if mesh.writer else None)
    return buffer


def _observe(mesh: Mesh) -> dict[str, Any]:
    """What one rank holds after a round through the buffer, as plain Python."""
    buffer = _fill(mesh)
    batch = [rollout.text for rollout in buffer.rollouts]
    buffer.distribute(max_tokens=BUDGET, multiple_of=2)
    advantages = None
    if buffer.holds("advantages"):
        advantages = buffer.padded("sampler_logprobs") * 2
    buffer.put("advantages", advantages)
    made = {
        packed: buffer.micro_batches(PER_TOKEN, packed=packed, length_multiple=4)
        for packed in (True, False)
    }
    return {
        "batch": batch,
        "num_sequences": buffer.num_sequences,
        "lengths": buffer.lengths,
        "rewards": buffer.rewards.tolist(),
        "kept": [rollout.text for rollout in buffer.rollouts],
        "table": buffer.table().to_pylist(),
        "tokens": [row.tolist() for row in buffer.rows("tokens")],
        "shapes": {p: {tuple(b.positions.shape) for b in batches} for p, batches in made.items()},
        "fields": {name for batches in made.values() for b in batches for name in b.fields},
        "indices": [b.indices for b in made[True]],
        "sums": {
            packed: sum(b.fields["advantages"].double().sum().item() for b in batches)
            for packed, batches in made.items()
            if mesh.pipeline.last
        },
        "rows_out": {
            i: row.tolist()
            for b in made[True]
            if b.tokens is not None
            for i, row in zip(b.indices, pick(b, b.tokens), strict=True)
        },
    }


def _mesh_of_this_rank(rank: int) -> Mesh:
    """Global rank = pipeline stage x 2 + data rank, as Megatron orders them."""

    def axis(groups: list[list[int]]) -> Axis:
        made = [(ranks, dist.new_group(ranks)) for ranks in groups]
        ranks, group = next((r, g) for r, g in made if rank in r)
        return Axis(
            rank=ranks.index(rank),
            size=len(ranks),
            ranks=tuple(ranks),
            group=group,
            object_group=group,
        )

    pipeline = axis([[0, 2], [1, 3]])
    return Mesh(
        world=axis([[0, 1, 2, 3]]),
        tensor=Axis(ranks=(rank,)),
        pipeline=pipeline,
        data=axis([[0, 1], [2, 3]]),
        replica=pipeline,
        device=torch.device("cpu"),
    )


def _main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=4,
        timeout=datetime.timedelta(seconds=60),
    )
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(_observe(_mesh_of_this_rank(rank))))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the four ranks saw: stage 0 of replicas 0 and 1, then stage 1 of both."""
    folder = tmp_path_factory.mktemp("ranks")
    run = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(4)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return _observe(Mesh.single())


def test_every_rank_knows_the_whole_batch_in_one_order(ranks, alone):
    for seen in (*ranks, alone):
        assert seen["batch"] == [rollout.text for rollout in WHOLE]
        assert seen["num_sequences"] == 24


def test_each_rollout_is_kept_by_one_replica_and_its_text_by_the_writer(ranks):
    assert [seen["kept"] for seen in ranks[:2]] == [[], []]
    assert sorted(ranks[2]["kept"] + ranks[3]["kept"]) == sorted(r.text for r in WHOLE)


@pytest.mark.parametrize("replica", [0, 1])
def test_the_stages_of_a_replica_keep_the_same_sequences(ranks, replica: int):
    first, last = ranks[replica], ranks[replica + 2]
    for name in ("lengths", "rewards", "tokens", "indices", "rows_out"):
        assert first[name] == last[name]
    texts = {rollout.text: rollout for rollout in WHOLE}
    kept = [texts[text] for text in last["kept"]]
    assert last["rewards"] == [rollout.reward for rollout in kept]
    assert last["lengths"] == tuple(rollout.completion.length for rollout in kept)
    assert last["tokens"] == [
        [*rollout.completion.prompt_ids, *rollout.completion.token_ids] for rollout in kept
    ]


def test_fields_go_only_to_the_stage_that_uses_them(ranks):
    assert [seen["fields"] for seen in ranks] == [set(), set(), set(PER_TOKEN), set(PER_TOKEN)]


def test_a_pipeline_exchanges_one_shape_in_equal_counts(ranks, alone):
    for packed in (True, False):
        assert len(set.union(*(seen["shapes"][packed] for seen in ranks))) == 1
    assert {len(seen["indices"]) for seen in ranks} == {len(ranks[0]["indices"])}
    assert len(ranks[0]["indices"]) % 2 == 0
    assert len(alone["shapes"][True]) > 1, "without a pipeline each is as small as it can be"


def test_micro_batches_give_every_kept_sequence_back_once(ranks, alone):
    for seen in (*ranks, alone):
        assert seen["rows_out"] == dict(enumerate(seen["tokens"]))
        assert sum(len(indices) for indices in seen["indices"]) == len(seen["lengths"])


def test_neither_layout_nor_sharding_changes_a_sum(ranks, alone):
    wanted = 2 * sum(r.completion.logprobs.astype(np.float64).sum() for r in WHOLE)
    for packed in (True, False):
        assert alone["sums"][packed] == pytest.approx(wanted, rel=1e-6)
        both = ranks[2]["sums"][packed] + ranks[3]["sums"][packed]
        assert both == pytest.approx(wanted, rel=1e-6)


def test_the_writers_tables_are_the_batch_with_its_scores(ranks, alone):
    assert [seen["table"] for seen in ranks[:2]] == [[], []]
    rows = [*ranks[2]["table"], *ranks[3]["table"]]
    assert sorted(rows, key=lambda row: (row["problem_id"], row["sample"])) == alone["table"]
    assert [row["text"] for row in alone["table"]] == [rollout.text for rollout in WHOLE]
    for row in rows:
        assert row["advantages"] == [2 * x for x in row["logprobs"]]
        assert row["values"] is None


@pytest.fixture
def buffer() -> RolloutBuffer:
    buffer = _fill(Mesh.single())
    buffer.distribute(max_tokens=BUDGET)
    return buffer


def test_padded_fields_start_with_the_prompt(buffer: RolloutBuffer):
    assert buffer.mask.shape == (24, max(buffer.lengths))
    for i, rollout in enumerate(buffer.rollouts):
        completion = rollout.completion
        prompt, end = len(completion.prompt_ids), completion.length
        assert buffer.mask[i].nonzero().flatten().tolist() == list(range(prompt, end))
        logprobs = buffer.padded("sampler_logprobs")[i]
        assert logprobs[buffer.mask[i]].tolist() == completion.logprobs.tolist()
        assert not logprobs[~buffer.mask[i]].any()


def test_put_takes_rows_and_padded_tensors_of_any_float(buffer: RolloutBuffer):
    rows = [torch.full((n,), 0.5, dtype=torch.bfloat16, requires_grad=True) for n in buffer.lengths]
    buffer.put("old_values", rows)
    buffer.put("returns", buffer.padded("old_values").double())
    for name in ("old_values", "returns"):
        assert [row.dtype for row in buffer.rows(name)] == [np.float32] * 24
        assert [row.tolist() for row in buffer.rows(name)] == [[0.5] * n for n in buffer.lengths]


def test_a_new_batch_forgets_the_old_one(buffer: RolloutBuffer):
    buffer.fill(WHOLE[:3])
    assert buffer.num_sequences == 3
    with pytest.raises(DataError) as caught:
        buffer.micro_batches((), packed=True)
    assert str(caught.value) == (
        "the rollout buffer has no `tokens` here, only []; it lives on this place of the "
        "pipeline: first and last; put it after `distribute`."
    )
    buffer.distribute(max_tokens=BUDGET)
    assert len(buffer.rewards) == 3


def test_an_empty_batch_is_one_micro_batch_of_padding():
    buffer = RolloutBuffer(Mesh.single(), pad_id=PAD)
    buffer.fill([])
    buffer.distribute(max_tokens=BUDGET)
    (batch,) = buffer.micro_batches(("mask",), packed=True)
    assert batch.tokens is not None
    assert batch.tokens.tolist() == [[PAD]]
    assert batch.fields["mask"].tolist() == [[False]]
    assert buffer.mask.shape == (0, 0)


def test_rows_must_fit_the_sequences():
    buffer = RolloutBuffer(Mesh.single(), pad_id=PAD)
    buffer.fill(WHOLE[:1])
    buffer.distribute(max_tokens=BUDGET)
    length = WHOLE[0].completion.length
    with pytest.raises(DataError) as caught:
        buffer.put("returns", [np.zeros(3)])
    assert str(caught.value) == (
        "rows of `returns` have shapes [(3,)], and the sequences this rank keeps have lengths "
        f"[{length}]; put one 1-D row per kept sequence, in order."
    )


def test_a_budget_below_one_sequence_is_refused():
    buffer = _fill(Mesh.single())
    with pytest.raises(
        ConfigError, match=r"^sequence \d+ has \d+ tokens and a micro-batch holds 5;"
    ):
        buffer.distribute(max_tokens=5)


def test_a_batch_can_come_from_the_ledger(buffer: RolloutBuffer):
    buffer.put("old_values", [np.arange(n, dtype=np.float32) for n in buffer.lengths])
    table = buffer.table()
    assert table.schema == LEDGER
    prompts = [len(rollout.completion.prompt_ids) for rollout in WHOLE]
    assert [row[0] for row in token_rows(table, "values")] == prompts
    replayed = RolloutBuffer(Mesh.single(), pad_id=PAD)
    replayed.fill(table)
    replayed.distribute(max_tokens=BUDGET)
    assert replayed.table()["values"].null_count == 24, "scores are made anew"
    for name in ("tokens", "mask", "sampler_logprobs"):
        both = zip(replayed.rows(name), buffer.rows(name), strict=True)
        assert all(ours.tobytes() == theirs.tobytes() for ours, theirs in both)


def test_two_samples_of_one_number_are_refused():
    buffer = RolloutBuffer(Mesh.single(), pad_id=PAD)
    with pytest.raises(DataError) as caught:
        buffer.fill([*WHOLE, *WHOLE[5:7]])
    assert str(caught.value) == (
        "the rollout buffer was given sample 1 of problem gsm8k_002 twice, and 1 more such pairs. "
        "Number the samples of a problem apart."
    )


@pytest.fixture
def aged() -> RolloutBuffer:
    """Rollouts of policy versions 5, 6 and 7."""
    buffer = RolloutBuffer(Mesh.single(), pad_id=PAD)
    buffer.fill([make_rollout(number, 0, policy_version=5 + number % 3) for number in range(9)])
    buffer.distribute(max_tokens=BUDGET)
    return buffer


def test_rollouts_that_are_too_old_are_refused(aged: RolloutBuffer):
    batches = aged.for_ppo(("mask",), policy_version=8, max_staleness=3, packed=True)
    assert sum(len(batch.lengths) for batch in batches) == 9
    assert set(batches[0].fields) == {"mask"}
    with pytest.raises(DataError) as caught:
        aged.for_ppo(("mask",), policy_version=8, max_staleness=2, packed=True)
    assert str(caught.value) == (
        "a rollout was sampled 3 optimizer steps before policy version 8, and at most 2 are "
        "allowed. Sample anew, raise rollouts.max_staleness, or have stale rollouts marked and "
        "corrected."
    )


def test_or_they_are_marked(aged: RolloutBuffer):
    batches = aged.for_ppo(("mask",), policy_version=8, max_staleness=1, beyond="mark", packed=True)
    versions = [rollout.policy_version for rollout in aged.rollouts]
    marks = {
        i: set(row.tolist())
        for batch in batches
        for i, row in zip(batch.indices, pick(batch, batch.fields["stale"]), strict=True)
    }
    assert marks == {i: {version < 7} for i, version in enumerate(versions)}


if __name__ == "__main__":
    # Forked from a fresh process without threads, so that torch is imported once, not four times.
    start_processes(_main, args=(Path(sys.argv[1]),), nprocs=4, start_method="fork")
