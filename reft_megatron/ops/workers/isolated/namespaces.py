"""Namespaces of its own for a worker: users, network, processes, shared memory.

Owns leaving those of the trainer, one by one, as far as this machine permits. Standard library
only.
"""

from __future__ import annotations

from . import system

__all__ = ["KINDS", "leave"]

KINDS = {
    # First: it brings the right to make the others, and takes what rights root had outside.
    "user_namespace": 0x10000000,
    "network_namespace": 0x40000000,
    "ipc_namespace": 0x08000000,
    # Only children enter: the next one forked is its process 1, and its death ends all others.
    "pid_namespace": 0x20000000,
}
"""Names of the namespaces with their flags, in the order they are made."""


def leave() -> dict[str, str]:
    """Move this process into new namespaces; returns `on`, or `off: ` and why, for each kind.

    Nobody is mapped into the user namespace: the worker is nobody there.
    """
    in_force = {}
    for name, flag in KINDS.items():
        try:
            system.require(system.LIBC.unshare(flag))
            in_force[name] = "on"
        except OSError as error:
            in_force[name] = f"off: {error.strerror}"
    return in_force
