from __future__ import annotations

import hashlib
import json
import resource
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reft_megatron.errors import DataError
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Completion, Reason, Rollout, Verdict


def _rollout(number: int) -> Rollout:
    return Rollout(
        completion=Completion(
            problem_id=f"gsm8k_{number}",
            sample=0,
            prompt_ids=np.arange(3, dtype=np.int32),
            token_ids=np.arange(number + 1, dtype=np.int32),
            logprobs=np.full(number + 1, -0.5, np.float32),
            finished=True,
        ),
        text=f"return {number}",
        verdict=Verdict(reason=Reason.CORRECT, value=float(number)),
        reward=1.0,
        policy_version=4,
        seed=7,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Iterations 1 and 2 sealed, 3 only appended; two data ranks."""
    ledger = Ledger(tmp_path / "ledger")
    for iteration in (1, 2, 3):
        ledger.append(iteration, 0, [_rollout(0), _rollout(1)])
        ledger.append(iteration, 1, [_rollout(2)])
    ledger.seal(1, data_size=2)
    ledger.seal(2, data_size=2)
    return ledger


def _folder(tmp_path: Path, iteration: int) -> Path:
    return tmp_path / "ledger" / f"iteration-{iteration:06d}"


def test_sealed_iterations_are_read_back(ledger: Ledger):
    assert ledger.iterations() == [1, 2]
    rollouts = ledger.read(2)
    assert [r.text for r in rollouts] == ["return 0", "return 1", "return 2"]
    assert rollouts[2].completion.token_ids.tolist() == [0, 1, 2]


def test_files_are_plain_parquet_and_the_manifest_describes_them(ledger: Ledger, tmp_path: Path):
    folder = _folder(tmp_path, 1)
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "rank-00000.parquet",
        "rank-00001.parquet",
    ]
    assert pq.read_table(folder / "rank-00000.parquet")["problem_id"].to_pylist() == [
        "gsm8k_0",
        "gsm8k_1",
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256((folder / "rank-00001.parquet").read_bytes()).hexdigest()
    assert manifest["files"]["rank-00001.parquet"] == {"sha256": digest, "rows": 1}
    assert sorted(manifest) == ["files", "format", "iteration", "versions"]


def test_an_unsealed_iteration_does_not_count(ledger: Ledger, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        ledger.read(3)
    assert str(caught.value) == (
        f"iteration 3 of the rollout ledger {tmp_path / 'ledger'} is not sealed; the sealed ones "
        "are [1, 2]."
    )


def test_a_sealed_iteration_is_not_overwritten(ledger: Ledger, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        ledger.append(2, 0, [])
    assert str(caught.value) == (
        f"iteration 2 of the rollout ledger {tmp_path / 'ledger'} is sealed already; drop it "
        "first (`drop_from`) to record it anew."
    )


def test_a_missing_rank_cannot_be_sealed(ledger: Ledger, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        ledger.seal(3, data_size=3)
    path = _folder(tmp_path, 3) / "rank-00002.parquet"
    assert str(caught.value) == f"cannot read the ledger file {path}: No such file or directory."
    assert ledger.iterations() == [1, 2]


def _flip_a_byte(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("name", ["rank-00001.parquet", "manifest.json"])
@pytest.mark.parametrize("damage", [_flip_a_byte, lambda content: content[: len(content) // 2]])
def test_torn_and_altered_files_are_found(ledger: Ledger, tmp_path: Path, name: str, damage):
    path = _folder(tmp_path, 2) / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        ledger.read(2)
    # A flipped bit inside the manifest's checksum cannot be told from one in the file it is about.
    blamed = {path, _folder(tmp_path, 2) / "rank-00000.parquet"}
    assert str(caught.value) in {
        f"the ledger file {p} is torn or altered; restore it, or drop its iteration and those "
        "after it."
        for p in blamed
    }
    assert [r.text for r in ledger.read(1)] == ["return 0", "return 1", "return 2"]


def test_resume_drops_what_comes_after(ledger: Ledger, tmp_path: Path):
    ledger.drop_from(2)
    assert ledger.iterations() == [1]
    assert [path.name for path in (tmp_path / "ledger").iterdir()] == ["iteration-000001"]
    ledger.append(2, 0, [_rollout(5)])
    ledger.seal(2, data_size=1)
    assert [r.text for r in ledger.read(2)] == ["return 5"]


def test_an_empty_ledger_has_no_iterations(tmp_path: Path):
    ledger = Ledger(tmp_path / "nothing")
    ledger.drop_from(0)
    assert ledger.iterations() == []


def test_a_full_disk_is_a_named_error_and_leaves_nothing_half_written(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files stands for a full disk: the write fails half-way.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DataError) as caught:
            ledger.append(1, 0, [_rollout(n) for n in range(50)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    path = _folder(tmp_path, 1) / "rank-00000.parquet"
    assert str(caught.value) == _refusal(path, "File too large", str(caught.value))
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_the_same_error(tmp_path: Path):
    (tmp_path / "ledger").write_text("in the way")
    with pytest.raises(DataError) as caught:
        Ledger(tmp_path / "ledger").append(1, 0, [])
    path = _folder(tmp_path, 1) / "rank-00000.parquet"
    assert str(caught.value) == _refusal(path, "Not a directory", str(caught.value))


def _refusal(path: Path, why: str, seen: str) -> str:
    """The whole message; the size of a Parquet file, which varies with pyarrow, is as seen."""
    size = int(seen.split("needs ")[1].split(maxsplit=1)[0])
    return (
        f"cannot write the ledger file {path}: {why}; the run needs {size} bytes there. "
        "Free the disk or choose another run.dir, then resume."
    )
