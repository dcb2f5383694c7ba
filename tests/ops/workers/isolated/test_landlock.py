"""What a process under Landlock can still reach."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reft_megatron.ops.workers.isolated import landlock

try:
    VERSION = landlock.version()
except OSError:
    pytest.skip("this kernel has no Landlock", allow_module_level=True)

ATTEMPTS = """
import socket
from ops.workers.isolated import landlock
landlock.restrict([os.getcwd() + "/library", "/no/such/folder"])
attempts = {
    "part": lambda: open("library/part").close(),
    "list": lambda: os.listdir("library"),
    "secret": lambda: open("secret").close(),
    "around": lambda: open("library/../secret").close(),
    "write": lambda: open("library/part", "w").close(),
    "create": lambda: open("new", "w").close(),
    "remove": lambda: os.unlink("library/part"),
    "mkdir": lambda: os.mkdir("library/folder"),
    "list outside": lambda: os.listdir("."),
    "run": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "truncate": lambda: os.truncate("secret", 0),
    "connect": lambda: socket.socket().connect(("127.0.0.1", 9)),
    "signal": lambda: os.kill(os.getppid(), 0),
}
found = {}
for name, call in attempts.items():
    try:
        call()
        found[name] = 0
    except OSError as error:
        found[name] = error.errno
print(json.dumps(found))
"""


def test_nothing_is_left_but_reading_the_library(
    in_fresh_process: Callable[[str], Any], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "part").write_text("part")
    found = in_fresh_process(ATTEMPTS)
    late = {"truncate": 3, "connect": 4, "signal": 6}
    for name, code in found.items():
        if name in ("part", "list"):
            assert code == 0, name
        elif late.get(name, 1) <= VERSION:
            assert code in (errno.EACCES, errno.EPERM), name
    assert (tmp_path / "secret").read_text() == "x"
    assert (tmp_path / "library" / "part").read_text() == "part"
