"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reft_megatron import files
from reft_megatron.files import Flusher, LargeFile, checksum, drafting, write_whole


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in ("first, and longer \u00e9\n", b"second\n"):
        write_whole(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_no_draft(tmp_path: Path) -> None:
    def break_off() -> None:
        with drafting(tmp_path / "file") as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert list(tmp_path.iterdir()) == []
    with drafting(tmp_path / "file") as draft:
        draft.write_text("whole")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_text() == "whole"


def test_a_large_file_is_summed_up_and_sent_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but its end, each byte once; what is sent is there to be read, and to be synchronised."""
    sent: list[tuple[int, int, int]] = []
    advise = os.posix_fadvise

    def heard(descriptor: int, first: int, count: int, advice: int) -> None:
        sent.append((first, count, advice))
        advise(descriptor, first, count, advice)

    monkeypatch.setattr("os.posix_fadvise", heard)
    parts = [bytes([n]) * n for n in (3, 200, 0, 255)] + [bytes(range(256)) * 12_000] * 4
    with LargeFile(tmp_path / "file") as file:
        for number, part in enumerate(parts):
            file.write(memoryview(part) if number % 2 else part)
            assert file.size == sum(map(len, parts[: number + 1]))
        assert file.checksum == checksum(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"".join(parts)
    ends = [0, *(first + count for first, count, _ in sent)]
    assert [first for first, _, _ in sent] == ends[:-1]
    assert 0 <= file.size - ends[-1] < 4 << 20
    assert {advice for _, _, advice in sent} == {os.POSIX_FADV_DONTNEED}
    with pytest.raises(ValueError, match="closed file"):
        file.write(b"x")


def test_a_checksum_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 3_000_000)
    assert checksum(tmp_path / "a") == checksum(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert checksum(tmp_path / "a") != checksum(tmp_path / "b")
    (tmp_path / "a").write_bytes(b"")
    assert checksum(tmp_path / "a") == "99aa06d3014798d86001c324468d497f"  # of the specification


def test_a_flusher_works_behind_the_writer_and_tells_what_the_disk_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_FLUSH_BYTES", 10)
    with (tmp_path / "file").open("wb") as file:
        flusher = Flusher(file.fileno())
        flusher.wrote(9)
        assert flusher._last is None
        flusher.wrote(1)
        assert flusher._last is not None
        flusher._last.result()

        def refuse(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(files.os, "fdatasync", refuse)
        flusher.wrote(10)
        flusher._last.exception()
        with pytest.raises(OSError, match="Input/output error"):
            flusher.wrote(10)
        flusher.close()


def test_a_flusher_tells_at_its_end_what_the_disk_refused_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel synchronises no device without a disk behind it."""
    monkeypatch.setattr(files, "_FLUSH_BYTES", 10)
    with Path("/dev/null").open("wb") as file:
        flusher = Flusher(file.fileno())
        flusher.wrote(10)
        with pytest.raises(OSError, match="Invalid argument"):
            flusher.close()
