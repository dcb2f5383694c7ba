"""What the filters let pass, and what is read for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from reft_megatron.commands.rollouts.selection import (
    ROWS,
    Reading,
    Selection,
    find_ledger,
    records,
    told_numbers,
)
from reft_megatron.errors import DataError
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.rollouts.schema import to_table
from reft_megatron.types import Completion, Reason, Rollout, Verdict


def read(reading: Reading, *names: str) -> Iterator[tuple]:
    for iteration, row in records(reading.batches({name: ds.field(name) for name in names})):
        yield iteration, *row.values()


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (
            {},
            [
                *((1, "gsm8k_12", 0), (1, "gsm8k_12", 1), (1, "gsm8k_7", 0), (1, "gsm8k_7", 1)),
                *((2, "mathqa_1", 0), (3, "gsm8k_12", 0), (3, "gsm8k_12", 1)),
            ],
        ),
        ({"iterations": (2, 2)}, [(2, "mathqa_1", 0)]),
        (
            {"iterations": (2, 9)},
            [(2, "mathqa_1", 0), (3, "gsm8k_12", 0), (3, "gsm8k_12", 1)],
        ),
        ({"problem": "gsm8k_7"}, [(1, "gsm8k_7", 0), (1, "gsm8k_7", 1)]),
        ({"problem": "gsm8k_1"}, []),
        ({"reasons": (Reason.TIMEOUT,)}, [(1, "gsm8k_7", 0)]),
        (
            {"reasons": (Reason.TIMEOUT, Reason.RUNTIME_ERROR)},
            [(1, "gsm8k_7", 0), (1, "gsm8k_7", 1)],
        ),
        ({"min_reward": 0.1, "max_reward": 0.5}, [(1, "gsm8k_12", 0)]),
        ({"max_reward": 0}, [(1, "gsm8k_7", 0), (1, "gsm8k_7", 1)]),
        ({"wrong": True, "min_reward": 0.1}, [(1, "gsm8k_12", 0)]),
        ({"truncated": True}, [(1, "gsm8k_7", 0)]),
        ({"version": 4}, [(3, "gsm8k_12", 0), (3, "gsm8k_12", 1)]),
        (
            {"problem": "gsm8k_12", "limit": 3},
            [(1, "gsm8k_12", 0), (1, "gsm8k_12", 1), (3, "gsm8k_12", 0)],
        ),
    ],
)
def test_a_rollout_must_pass_all_filters(run: Path, filters: dict, found: list) -> None:
    reading = Reading(run / "ledger", Selection(**filters))
    assert list(read(reading, "problem_id", "sample")) == found
    assert reading.damage == []


def overwrite(path: Path, *columns: str) -> None:
    """Fill the data of columns with ones, and leave the size of the file."""
    groups = pq.read_metadata(path)
    content = bytearray(path.read_bytes())
    for group in range(groups.num_row_groups):
        for number in range(groups.num_columns):
            chunk = groups.row_group(group).column(number)
            if chunk.path_in_schema.split(".")[0] in columns:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                size = chunk.total_compressed_size
                content[start : start + size] = b"\xff" * size
    path.write_bytes(content)


def test_only_the_columns_that_are_asked_for_are_read(run: Path) -> None:
    """Without checksums what is not read cannot be known to be bad."""
    path = run / "ledger" / "iteration-000001" / "rank-00000.parquet"
    overwrite(path, "logprobs", "text")
    reading = Reading(run / "ledger", Selection(iterations=(1, 1)), checksums=False)
    assert len(list(read(reading, "problem_id", "reward"))) == 4
    assert reading.damage == []
    assert len(list(read(reading, "problem_id", "text"))) == 2
    assert len(reading.damage) == 1
    assert reading.damage[0].startswith(f"the ledger file {path} cannot be read: ")


def test_of_files_where_nothing_matches_only_the_filtered_columns_are_read(run: Path) -> None:
    path = run / "ledger" / "iteration-000001" / "rank-00000.parquet"
    overwrite(path, "logprobs", "text")
    selection = Selection(iterations=(1, 1), problem="gsm8k_7")
    reading = Reading(run / "ledger", selection, checksums=False)
    assert len(list(read(reading, "problem_id", "text", "logprobs"))) == 2
    assert reading.damage == []


def test_of_row_groups_out_of_range_nothing_is_read(run: Path) -> None:
    """Smallest and largest values stand at the end of the file."""
    path = run / "ledger" / "iteration-000001" / "rank-00000.parquet"
    overwrite(path, *pq.read_schema(path).names)
    selection = Selection(iterations=(1, 1), max_reward=0.05)
    reading = Reading(run / "ledger", selection, checksums=False)
    assert list(read(reading, "reward")) == [(1, 0.0), (1, 0.0)]
    assert reading.damage == []


def test_damage_is_remembered_and_passed_over(run: Path) -> None:
    torn = run / "ledger" / "iteration-000001" / "rank-00001.parquet"
    torn.write_bytes(torn.read_bytes()[:-100])
    altered = run / "ledger" / "iteration-000003" / "rank-00000.parquet"
    overwrite(altered, "logprobs")
    gone = run / "ledger" / "iteration-000003" / "rank-00001.parquet"
    gone.unlink()
    manifest = run / "ledger" / "iteration-000002" / "manifest.json"
    manifest.write_text(manifest.read_text()[:-10])
    reading = Reading(run / "ledger", Selection())
    assert list(read(reading, "sample")) == [(1, 0), (1, 1)]
    assert reading.damage == [
        f"the ledger file {torn} is torn or altered",
        f"the ledger file {manifest} is torn or altered; restore it, or drop its iteration and "
        "those after it",
        f"the ledger file {altered} is torn or altered",
        f"cannot read the ledger file {gone}: No such file or directory",
    ]


def test_large_files_are_read_in_batches(tmp_path: Path) -> None:
    numbers = np.zeros(1, np.int32)
    rollouts = [
        Rollout(
            completion=Completion(
                problem_id=f"gsm8k_{number % 5}",
                sample=number,
                prompt_ids=numbers,
                token_ids=numbers,
                logprobs=numbers.astype(np.float32),
                finished=True,
            ),
            text="",
            verdict=Verdict(reason=Reason.TIMEOUT),
            reward=0.0,
            policy_version=0,
            seed=0,
        )
        for number in range(2 * ROWS + 100)
    ]
    ledger = Ledger(tmp_path)
    table = to_table(rollouts)
    ledger.append_parts(1, 0, [table, table])
    ledger.seal(1, data_size=1)

    def samples(**filters: object) -> list[pa.Array]:
        batches = Reading(tmp_path, Selection(**filters)).batches({"sample": ds.field("sample")})
        return [rows["sample"] for _, rows in batches]

    assert [len(batch) for batch in samples()] == 2 * [ROWS, ROWS, 100]
    assert pa.concat_arrays(samples()).equals(pa.concat_arrays(2 * table["sample"].chunks))
    assert [len(batch) for batch in samples(limit=ROWS + 1)] == [ROWS, 1]
    thirds = 2 * [number for number in range(2 * ROWS + 100) if number % 5 == 3]
    found = pa.concat_arrays(samples(problem="gsm8k_3", limit=4000)).to_pylist()
    assert found == thirds[:4000]


def test_a_run_is_known_by_its_ledger(run: Path) -> None:
    assert find_ledger(run) == find_ledger(run / "ledger") == run / "ledger"


def test_what_is_no_ledger_is_refused(run: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_ledger(run.parent / "none")
    wanted = (
        "Wanted: the `ledger` folder of a PPO run, with subfolders like iteration-000001, or the "
        "folder of the run."
    )
    assert str(caught.value) == f"{run.parent / 'none'} is no folder. {wanted}"
    with pytest.raises(DataError) as caught:
        find_ledger(run.parent)
    assert str(caught.value) == f"{run.parent} holds no iteration of rollouts. {wanted}"


def test_an_iteration_must_be_sealed(run: Path) -> None:
    reading = Reading(run / "ledger", Selection(iterations=(3, 7)))
    assert (reading.iterations, reading.unsealed) == ([3], [4])
    with pytest.raises(DataError) as caught:
        Reading(run / "ledger", Selection(iterations=(4, 4)))
    assert str(caught.value) == (
        f"iteration 4 of the rollout ledger {run / 'ledger'} is not sealed. Sealed: 1-3; begun, "
        "and not sealed: 4. An iteration can be read once every data rank has written its part."
    )


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([], "none"),
        ([3], "3"),
        ([1, 2, 3, 5, 7, 8], "1-3, 5, 7-8"),
        ([(2, 4), 5, (9, 9)], "2-5, 9"),
    ],
)
def test_numbers_are_told_in_spans(numbers: list, told: str) -> None:
    assert told_numbers(numbers) == told
