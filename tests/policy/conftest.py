"""What the tests of the policy may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_megatron.mesh import Mesh
from reft_megatron.policy import Policy, join, leave
from tests.policy.scene import ONE, assemble, configure, open_policy, record, weights_of


@pytest.fixture(scope="session")
def alone() -> Iterator[Mesh]:
    """The mesh of this very process, joined for good."""
    yield join(configure(ONE).parallel, seed=0, timeout_s=300, threads=1)
    leave()


@pytest.fixture(scope="session")
def still(alone: Mesh) -> Policy:
    """A frozen policy of one rank with the scene's weights; nothing may change it."""
    return open_policy(ONE, total_steps=None)


@pytest.fixture(scope="session")
def weights(still: Policy) -> dict[str, np.ndarray[Any, Any]]:
    """The scene's weights, whole, by name."""
    return assemble([weights_of(still)])


@pytest.fixture(scope="session")
def fields(still: Policy) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """PPO's fields of the recorded batch, by problem id."""
    return record(still)


@pytest.fixture
def saved(alone: Mesh, tmp_path: Path) -> Path:
    """A checkpoint of one rank."""
    open_policy(ONE).save(tmp_path / "ckpt", extra={})
    return tmp_path / "ckpt"
