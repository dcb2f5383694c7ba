"""A disk that refuses is a named error."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.errors import DataError
from reft_megatron.rollouts.disk import reason, refused


def test_what_the_disk_says_is_told(tmp_path: Path):
    path = tmp_path / "missing" / "file"
    with pytest.raises(DataError) as caught, refused(path, nbytes=12_000):
        path.write_text("x")
    assert str(caught.value) == (
        f"cannot write {path}: No such file or directory; it takes about 12,000 bytes. What was "
        "written before is whole. Free the disk or choose another folder, then resume."
    )


def test_an_error_without_a_number_speaks_for_itself():
    assert reason(OSError("broken pipe of its own")) == "broken pipe of its own"
