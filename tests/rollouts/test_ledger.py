from __future__ import annotations

import dataclasses
import json
import resource
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reft_megatron import __version__
from reft_megatron.errors import DataError
from reft_megatron.files import checksum
from reft_megatron.rollouts.ledger import Ledger, Origin, _seal_of
from reft_megatron.rollouts.schema import to_table, token_rows
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


ORIGIN = Origin(task="gsm8k (program)", tokenizer="0123456789abcdef", weights="abc", settings="def")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Iterations 1 and 2 sealed, 3 only appended; two data ranks."""
    ledger = Ledger(tmp_path / "ledger", origin=ORIGIN)
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
    path = folder / "rank-00001.parquet"
    digest = {"bytes": path.stat().st_size, "xxh3_128": checksum(path)}
    assert manifest["files"]["rank-00001.parquet"] == {"rows": 1, **digest}
    assert manifest["origin"] == {
        "task": "gsm8k (program)",
        "tokenizer": "0123456789abcdef",
        "weights": "abc",
        "settings": "def",
    }
    names = ["checksum", "files", "format", "iteration", "origin", "seal", "versions"]
    assert sorted(manifest) == names


def test_an_unsealed_iteration_does_not_count(ledger: Ledger, tmp_path: Path):
    assert ledger.unsealed() == [3]
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
    assert str(caught.value) == (
        f"data rank 2 has not appended to iteration 3 of the rollout ledger {tmp_path / 'ledger'}; "
        "seal it once all 3 have."
    )
    assert ledger.iterations() == [1, 2]


def test_what_a_bigger_run_left_is_not_sealed(ledger: Ledger, tmp_path: Path):
    (_folder(tmp_path, 3) / "rank-00004.parquet.tmp").write_bytes(b"torn")
    ledger.seal(3, data_size=1)
    names = {path.name for path in _folder(tmp_path, 3).iterdir()}
    assert names == {"manifest.json", "rank-00000.parquet"}
    assert [r.text for r in ledger.read(3)] == ["return 0", "return 1"]


def test_the_same_rows_make_the_same_bytes(ledger: Ledger, tmp_path: Path):
    first, second = (_folder(tmp_path, n) / "rank-00000.parquet" for n in (1, 2))
    assert first.read_bytes() == second.read_bytes()


def test_scores_stand_beside_their_rollouts(tmp_path: Path):
    ledger = Ledger(tmp_path)
    values = [np.arange(n + 1, dtype=np.float32) for n in range(2)]
    ledger.append(1, 0, to_table([_rollout(0), _rollout(1)], {"values": values}))
    ledger.seal(1, data_size=1)
    assert [row.tolist() for row in token_rows(ledger.table(1), "values")] == [[0], [0, 1]]
    assert token_rows(ledger.table(1, ["returns"]), "returns") == [None, None]


def test_more_than_memory_holds_goes_to_several_files(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.append_parts(1, 0, (to_table([_rollout(n)]) for n in range(5)))
    ledger.append_parts(1, 0, (to_table([_rollout(n), _rollout(n)]) for n in range(3)))
    ledger.append_parts(1, 1, ())
    ledger.seal(1, data_size=2)
    names = ["rank-00000.parquet", "rank-00000-00001.parquet", "rank-00000-00002.parquet"]
    manifest = json.loads((tmp_path / "iteration-000001" / "manifest.json").read_text())
    assert list(manifest["files"]) == [*names, "rank-00001.parquet"]
    texts = [r.text for r in ledger.read(1)]
    assert texts == [f"return {n}" for n in range(3) for _ in range(2)]
    scanned = [(n, b.num_rows) for n, b in ledger.scan(["text"], rows=1) if b.num_rows]
    assert scanned == [(1, 1)] * 6


def test_only_rollouts_of_one_task_and_tokenizer_are_read(ledger: Ledger, tmp_path: Path):
    assert ledger.origin(1) == Ledger(tmp_path / "ledger").origin(1) == ORIGIN
    heir = dataclasses.replace(ORIGIN, weights="other", settings="other")
    assert Ledger(tmp_path / "ledger", origin=heir).read(1), "whoever recorded them"
    other = Origin(task="svamp (program)", tokenizer=ORIGIN.tokenizer)
    with pytest.raises(DataError) as caught:
        Ledger(tmp_path / "ledger", origin=other).read(1)
    assert str(caught.value) == (
        f"the rollout ledger {tmp_path / 'ledger'} holds rollouts of the task gsm8k (program) and "
        "the tokenizer 0123456789abcdef, and this run has the task svamp (program) and the "
        "tokenizer 0123456789abcdef. Take a ledger of this task and tokenizer."
    )
    nobody = Ledger(tmp_path / "nobody")
    nobody.append(1, 0, [])
    nobody.seal(1, data_size=1)
    with pytest.raises(DataError, match="a task and tokenizer that nobody wrote down, and this"):
        Ledger(tmp_path / "nobody", origin=ORIGIN).read(1)


@pytest.mark.parametrize("number", [1, 3])
def test_other_formats_are_refused(ledger: Ledger, tmp_path: Path, number: int):
    path = _folder(tmp_path, 1) / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["seal"]
    manifest["format"] = number
    sealed = {"seal": _seal_of(manifest)} if number > 1 else {}
    path.write_text(json.dumps({**manifest, **sealed}))
    with pytest.raises(DataError) as caught:
        ledger.read(1)
    assert str(caught.value) == (
        f"{path} was written by an earlier version of this package, with other checksums and "
        "without scores. Record the rollouts anew."
        if number == 1
        else f"{path} has format 3, and this version of the package reads 2. Use the version that "
        f"wrote it ({__version__})."
    )


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
    trouble = f"the ledger file {path} is torn or altered"
    assert str(caught.value) == (
        f"{trouble}; restore it, or drop its iteration and those after it."
    )
    assert [r.text for r in ledger.read(1)] == ["return 0", "return 1", "return 2"]
    assert ledger.drop_damaged() == [
        "dropped iteration 3 of the rollout ledger: it was not sealed",
        f"dropped iteration 2 of the rollout ledger: {trouble}",
    ]
    assert ledger.iterations() == [1]
    assert ledger.drop_damaged() == []


def test_what_is_whole_is_told_from_what_is_not(ledger: Ledger, tmp_path: Path):
    """Without checksums only the sizes are looked at, and nothing is taken for checked."""
    whole, flipped = (_folder(tmp_path, 2) / f"rank-0000{rank}.parquet" for rank in range(2))
    flipped.write_bytes(_flip_a_byte(flipped.read_bytes()))
    assert list(ledger.files(2, checksums=False)) == [(whole, ""), (flipped, "")]
    damage = f"the ledger file {flipped} is torn or altered"
    assert list(ledger.files(2)) == [(whole, ""), (flipped, damage)]
    flipped.write_bytes(flipped.read_bytes()[:-1])
    assert list(ledger.files(2, checksums=False)) == [(whole, ""), (flipped, damage)]


def test_a_file_that_is_gone_is_damage(ledger: Ledger, tmp_path: Path):
    path = _folder(tmp_path, 2) / "rank-00000.parquet"
    path.unlink()
    ledger.drop_from(3)
    assert ledger.drop_damaged() == [
        f"dropped iteration 2 of the rollout ledger: cannot read the ledger file {path}: No such "
        "file or directory"
    ]


def test_resume_drops_what_comes_after(ledger: Ledger, tmp_path: Path):
    ledger.drop_from(2)
    assert ledger.iterations() == [1]
    assert [path.name for path in (tmp_path / "ledger").iterdir()] == ["iteration-000001"]
    ledger.append(2, 0, [_rollout(5)])
    ledger.seal(2, data_size=1)
    assert [r.text for r in ledger.read(2)] == ["return 5"]


def test_only_files_of_other_processes_are_read_to_be_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What a process wrote it knows: were it read back, damage until then would be sealed too."""
    main, other = (Ledger(tmp_path / "ledger", origin=ORIGIN) for _ in range(2))
    read: list[str] = []

    def heard(path: Path) -> str:
        read.append(path.name)
        return checksum(path)

    monkeypatch.setattr("reft_megatron.rollouts.ledger.checksum", heard)
    main.append_parts(1, 0, [to_table([_rollout(0)]), to_table([_rollout(1)])])
    other.append(1, 1, [_rollout(2)])
    own = _folder(tmp_path, 1) / "rank-00000-00001.parquet"
    content = own.read_bytes()
    own.write_bytes(_flip_a_byte(content))
    main.seal(1, data_size=2)
    assert read == ["rank-00001.parquet"]
    assert [damage for _, damage in main.files(1)] == [
        "",
        f"the ledger file {own} is torn or altered",
        "",
    ]
    own.write_bytes(content)
    described = json.loads((own.parent / "manifest.json").read_text())["files"]
    (own.parent / "manifest.json").unlink()
    Ledger(tmp_path / "ledger", origin=ORIGIN).seal(1, data_size=2)
    assert json.loads((own.parent / "manifest.json").read_text())["files"] == described
    assert len(other.read(1)) == 3


def test_what_is_recorded_anew_is_checked_anew(ledger: Ledger, tmp_path: Path):
    assert [damage for _, damage in ledger.files(2)] == ["", ""]
    ledger.drop_from(2)
    ledger.append(2, 0, [_rollout(5)])
    ledger.seal(2, data_size=1)
    path = _folder(tmp_path, 2) / "rank-00000.parquet"
    path.write_bytes(_flip_a_byte(path.read_bytes()))
    assert list(ledger.files(2)) == [(path, f"the ledger file {path} is torn or altered")]


def test_an_empty_ledger_has_no_iterations(tmp_path: Path):
    ledger = Ledger(tmp_path / "nothing")
    ledger.drop_from(0)
    assert ledger.iterations() == ledger.unsealed() == []


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
    table = to_table([_rollout(n) for n in range(50)])
    assert str(caught.value) == (
        f"cannot write {path}: File too large; it takes about {table.nbytes:,} bytes. What was "
        "written before is whole. Free the disk or choose another folder, then resume."
    )
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_the_same_error(tmp_path: Path):
    (tmp_path / "ledger").write_text("in the way")
    with pytest.raises(DataError) as caught:
        Ledger(tmp_path / "ledger").append(1, 0, [])
    assert str(caught.value) == (
        f"cannot write {_folder(tmp_path, 1)}: Not a directory. What was written before is whole. "
        "Free the disk or choose another folder, then resume."
    )


def test_the_fingerprint_is_of_what_is_sealed(ledger: Ledger, tmp_path: Path):
    seen = [ledger.fingerprint()]
    assert Ledger(tmp_path / "ledger").fingerprint() == seen[0], "whoever reads it"
    ledger.append(3, 0, [_rollout(5)])
    assert ledger.fingerprint() == seen[0], "what is not sealed does not count"
    ledger.seal(3, data_size=2)
    seen.append(ledger.fingerprint())
    ledger.drop_from(3)
    assert ledger.fingerprint() == seen[0]
    ledger.append(3, 0, [_rollout(6)])
    ledger.append(3, 1, [_rollout(2)])
    ledger.seal(3, data_size=2)
    seen.append(ledger.fingerprint())
    assert len({*seen, Ledger(tmp_path / "none").fingerprint()}) == 4
