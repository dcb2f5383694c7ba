"""The trainer's question before it builds anything: is there memory for this?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from reft_megatron.errors import ConfigError
from reft_megatron.policy import join
from reft_megatron.policy.plan.check import Available, available_memory, check_memory
from reft_megatron.policy.plan.host import free_memory
from reft_megatron.policy.plan.memory import predict_memory
from tests.policy.plan.shapes import case_of
from tests.policy.scene import LAYOUTS, ONE


def on_gpus(size: float) -> Available:
    return Available(size=int(size), sharing=1)


def test_what_fits_passes_and_so_does_what_nearly_fits():
    case = case_of(LAYOUTS["tp2"])
    needed = predict_memory(case).total
    check_memory(case, on_gpus(2 * needed))
    check_memory(case, on_gpus(needed))
    check_memory(case, on_gpus(needed / 1.09))
    with pytest.raises(ConfigError):
        check_memory(case, on_gpus(needed / 1.11))


def test_what_clearly_does_not_fit_is_refused_with_the_tables():
    case = case_of(LAYOUTS["dp2"], "optimizer.micro_batch_tokens=1024")
    needed = predict_memory(case).total
    with pytest.raises(ConfigError) as refused:
        check_memory(case, on_gpus(needed // 2))
    told = str(refused.value).splitlines()
    assert told[0].startswith("galactica-tiny as TP x PP x VPP x DP = 1 x 1 x 1 x 2 needs ")
    assert told[0].endswith("Predicted, in GB on a rank:")
    assert told[1].split()[:6] == ["TP", "PP", "VPP", "DP", "SP", "weights"]
    assert told[3].split()[:5] == ["1", "1", "1", "2", "-"]


def test_a_row_that_differs_only_in_sequence_parallelism_says_so():
    asked = ("model.recompute=full", "optimizer.micro_batch_tokens=8192", "task.dev_size=0")
    case = case_of(LAYOUTS["tp2"], *asked, "parallel.sequence=false", recipe="sft")
    deep = replace(case.architecture, layers=96)  # so that hidden states between layers fill it
    case = replace(case, architecture=deep)
    with pytest.raises(ConfigError) as refused:
        check_memory(case, on_gpus(predict_memory(case).total / 1.12))
    asked, *others = [line.split()[:5] for line in str(refused.value).splitlines()[3:-1]]
    assert asked == ["2", "1", "1", "1", "-"]
    assert ["2", "1", "1", "1", "on"] in others
    assert asked not in others
    assert "The other rows would fit (SP is parallel.sequence). " in str(refused.value)


def test_what_a_recipe_can_do_about_it_is_not_to_be_another_recipe():
    with pytest.raises(ConfigError) as refused:
        check_memory(case_of(ONE), on_gpus(1e6))
    told = str(refused.value)
    assert "No layout of 1 ranks fits. What may help:" in told
    assert "ppo.kl_coef=0 (no KL penalty, so no reference)" in told
    assert "the recipe" not in told


def test_ranks_of_one_host_need_what_they_need_together():
    # The last stage of this pipeline needs more than the first: on a GPU it alone counts.
    case = case_of(LAYOUTS["pp2"], "model.vocab_multiple=4096")
    most, mean = predict_memory(case).total, predict_memory(replace(case, sharing=2)).total
    assert mean < most / 1.15
    check_memory(case, Available(size=mean, sharing=2))
    with pytest.raises(ConfigError, match=r"on a rank, which has "):
        check_memory(case, on_gpus(mean))
    with pytest.raises(ConfigError, match=r"on a rank \(the mean of 2 that share a host\), which"):
        check_memory(case, Available(size=mean // 2, sharing=2))


def test_a_layout_that_cannot_run_is_refused_as_the_trainer_does():
    with pytest.raises(ConfigError, match="must divide the number of processes"):
        check_memory(case_of(ONE, "parallel.tensor=2"), on_gpus(1e12))


def test_a_rank_has_its_share_of_the_host(alone):
    available = available_memory(alone)
    assert available.size == pytest.approx(free_memory(), rel=0.2)
    assert available.sharing == 1


def play_asking() -> tuple[Available, int]:
    mesh = join(case_of(LAYOUTS["dp2"]).parallel, seed=0, timeout_s=300, threads=1)
    return available_memory(mesh), free_memory()


@pytest.mark.megatron
def test_ranks_of_one_host_share_it(ranks):
    (one, free), (other, _) = ranks(2, play_asking)
    assert one == other
    assert one.size == pytest.approx(free / 2, rel=0.2)
    assert one.sharing == 2
