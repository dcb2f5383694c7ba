"""What a verdict is worth."""

from __future__ import annotations

import pytest

from reft_megatron.rewards import reward
from reft_megatron.types import Reason, Verdict


@pytest.mark.parametrize("reason", [r for r in Reason if r is not Reason.EXECUTOR_FAULT])
def test_right_wrong_and_nothing(reason: Reason) -> None:
    worth = {Reason.CORRECT: 1.0, Reason.WRONG_VALUE: 0.1}.get(reason, 0.0)
    assert reward(Verdict(reason=reason), partial=0.1) == worth


def test_a_fault_has_no_reward() -> None:
    message = r"^an executor fault has no reward \(gone\); drop the rollout and count it\.$"
    with pytest.raises(ValueError, match=message):
        reward(Verdict(reason=Reason.EXECUTOR_FAULT, detail="gone"), partial=0.1)
