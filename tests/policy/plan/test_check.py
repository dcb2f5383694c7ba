"""The trainer's question before it builds anything: is there memory for this?"""

from __future__ import annotations

import psutil
import pytest

from reft_megatron.errors import ConfigError
from reft_megatron.policy import join
from reft_megatron.policy.plan.check import available_memory, check_memory
from reft_megatron.policy.plan.memory import predict_memory
from tests.policy.plan.shapes import case_of
from tests.policy.scene import LAYOUTS, ONE


def test_what_fits_passes_and_so_does_what_nearly_fits():
    case = case_of(LAYOUTS["tp2"])
    needed = predict_memory(case).total
    check_memory(case, 2 * needed)
    check_memory(case, needed)
    check_memory(case, int(needed / 1.09))


def test_what_clearly_does_not_fit_is_refused_with_the_tables():
    case = case_of(LAYOUTS["dp2"], "optimizer.micro_batch_tokens=1024")
    needed = predict_memory(case).total
    with pytest.raises(ConfigError) as refused:
        check_memory(case, needed // 2)
    told = str(refused.value).splitlines()
    assert told[0].startswith("galactica-tiny as TP x PP x VPP x DP = 1 x 1 x 1 x 2 needs ")
    assert told[0].endswith("Predicted, in GB on a rank:")
    assert told[1].split()[:5] == ["TP", "PP", "VPP", "DP", "weights"]
    assert told[3].split()[:4] == ["1", "1", "1", "2"]


def test_a_layout_that_cannot_run_is_refused_as_the_trainer_does():
    with pytest.raises(ConfigError, match="must divide the number of processes"):
        check_memory(case_of(ONE, "parallel.tensor=2"), 10**12)


def test_a_rank_has_its_share_of_the_host(alone):
    free = psutil.virtual_memory().available
    assert available_memory(alone) == pytest.approx(free, rel=0.2)


def play_asking() -> tuple[int, int]:
    mesh = join(case_of(LAYOUTS["dp2"]).parallel, seed=0, timeout_s=300, threads=1)
    return available_memory(mesh), psutil.virtual_memory().available


@pytest.mark.megatron
def test_ranks_of_one_host_share_it(ranks):
    (one, free), (other, _) = ranks(2, play_asking)
    assert one == other == pytest.approx(free / 2, rel=0.2)
