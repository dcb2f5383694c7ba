"""Leaving the trainer's namespaces, as far as the machine lets one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reft_megatron.ops.workers.isolated import namespaces

LEAVE = """
from ops.workers.isolated import namespaces
kinds = ("user", "net", "ipc", "pid_for_children")
before = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
states = namespaces.leave()
child = os.fork()
if child == 0:
    os._exit(os.getpid() == 1)
first = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
after = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds[:3]]
print(json.dumps([states, [a != b for a, b in zip(after, before)] + [first == 1]]))
"""


def test_what_is_said_to_be_on_is_on(in_fresh_process: Callable[[str], Any]) -> None:
    states, moved = in_fresh_process(LEAVE)
    assert list(states) == list(namespaces.KINDS)
    assert [state == "on" for state in states.values()] == moved


def test_a_refusal_is_named(in_fresh_process: Callable[[str], Any]) -> None:
    code = """
from ops.workers.isolated import namespaces
namespaces.KINDS = {"user_namespace": 1}
print(json.dumps(namespaces.leave()))
"""
    assert in_fresh_process(code) == {"user_namespace": "off: Invalid argument"}
