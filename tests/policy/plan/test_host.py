"""Free memory: what the system has, and what a cgroup's limit leaves of it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from reft_megatron.policy.plan.host import free_memory

GB = 10**9


def group(folder: Path, version: int, limit: str, used: int, files: int = 0) -> None:
    """A cgroup's folder as the kernel shows it; half of `files` bytes are in use, half are not."""
    total, names = "", ("memory.max", "memory.current")
    if version == 1:
        total, names = "total_", ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folder.mkdir(parents=True, exist_ok=True)
    stat = f"anon 5\n{total}inactive_file {files // 2}\n{total}active_file {files // 2}\n"
    (folder / "memory.stat").write_text(stat)
    for name, content in zip(names, (limit, str(used)), strict=True):
        (folder / name).write_text(content + "\n")


def test_where_there_is_no_group_it_is_what_the_system_has(tmp_path: Path):
    free = free_memory(tmp_path / "none", tmp_path)
    assert free == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_this_machine():
    assert 0 < free_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("version", "line", "top"),
    [(1, "7:cpu,memory:/job/step", "memory"), (2, "0::/job/step", "")],
    ids=["v1", "v2"],
)
def test_the_tightest_limit_around_the_process_counts(
    tmp_path: Path, version: int, line: str, top: str
):
    membership = tmp_path / "cgroup"
    membership.write_text(f"9:devices:/elsewhere\n{line}\n")
    mount = tmp_path / top
    group(mount / "job" / "step", version, limit=f"{GB}", used=GB // 2)
    assert free_memory(membership, tmp_path) == GB // 2
    # Files that are only kept in memory give way.
    group(mount / "job" / "step", version, limit=f"{GB}", used=GB // 2, files=GB // 10)
    assert free_memory(membership, tmp_path) == GB // 2 + GB // 10
    group(mount / "job", version, limit=f"{GB}", used=GB * 9 // 10)
    assert free_memory(membership, tmp_path) == GB // 10
    # What is over its limit, as while the kernel still takes back, leaves nothing.
    group(mount / "job", version, limit=f"{GB}", used=2 * GB)
    assert free_memory(membership, tmp_path) == 0


def test_a_group_without_a_limit_leaves_all(tmp_path: Path):
    (tmp_path / "cgroup").write_text("0::/job\n")
    group(tmp_path / "job", 2, limit="max", used=GB)
    free = free_memory(tmp_path / "cgroup", tmp_path)
    assert free == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_container_sees_its_limit_at_the_top(tmp_path: Path):
    (tmp_path / "cgroup").write_text("4:memory:/docker/0123abcd\n")
    group(tmp_path / "memory", 1, limit=f"{GB}", used=GB // 4)
    assert free_memory(tmp_path / "cgroup", tmp_path) == GB * 3 // 4
