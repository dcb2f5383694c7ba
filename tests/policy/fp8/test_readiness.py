"""FP8 is had as it is asked for, or the run does not start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from reft_megatron.config import Fp8Config, ModelConfig, ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.packages import Package
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.fp8 import readiness
from reft_megatron.policy.fp8.readiness import check_fp8, precision_note
from tests.policy.fp8.transformer_engine_scene import install, uninstall

TINY = find_architecture("galactica-tiny")
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def on_hopper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU to ask about, and a Transformer Engine to ask."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    install(monkeypatch)
    yield
    uninstall()


def refused(
    precision: str = "fp8", tensor: int = 1, device: torch.device = CPU, **fp8: object
) -> str:
    """What is said of the tiny model in that precision; nothing if it can be had."""
    model, parallel = ModelConfig(precision=precision), ParallelConfig(tensor=tensor)
    try:
        check_fp8(TINY, model, parallel, fp8=Fp8Config(**fp8), device=device)
    except ConfigError as error:
        return str(error)
    return ""


def test_a_cpu_serves_it_and_says_so():
    assert refused("fp8") == refused("fp8_rollout") == refused("fp8", tensor=2) == ""
    assert precision_note(ModelConfig(precision="fp8_rollout"), CPU) == (
        "fp8_rollout (emulated exactly on a CPU, which is slow)"
    )
    assert precision_note(ModelConfig(precision="fp8"), torch.device("cuda")) == "fp8"
    assert precision_note(ModelConfig(precision="bf16"), CPU) == "bf16"


def test_an_older_gpu_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA A100")
    with pytest.raises(ConfigError) as told:
        check_fp8(
            TINY,
            ModelConfig(precision="fp8_rollout"),
            ParallelConfig(),
            fp8=Fp8Config(),
            device=torch.device("cuda", 0),
        )
    assert str(told.value) == (
        "model.precision=fp8_rollout: NVIDIA A100 is sm_80, and FP8 products need sm_89 (Ada), "
        "sm_90 (Hopper) or newer. Set model.precision=bf16, or use another GPU."
    )


def test_transformer_engine_is_for_gpus():
    assert refused(provider="te") == (
        "fp8.provider=te: Transformer Engine computes on GPUs only. Set fp8.provider=ours, which a "
        "CPU emulates."
    )
    assert refused("bf16", provider="te") == ""


INSTALL = (
    "Install it (pip install 'transformer-engine[core_cu13,pytorch]>=2.9,<2.12'), or set "
    "fp8.provider=ours."
)


@pytest.mark.parametrize(
    ("package", "said"),
    [
        (
            Package(usable=False, told="Transformer Engine is not installed"),
            f"Transformer Engine is not installed. {INSTALL}",
        ),
        (
            Package(usable=True, told="Transformer Engine 2.8.0", version="2.8.0"),
            "Transformer Engine 2.8.0, and its layers are used here from 2.9 on and before 2.12. "
            f"{INSTALL}",
        ),
        (
            Package(usable=True, told="Transformer Engine 2.17.1", version="2.17.1"),
            "Transformer Engine 2.17.1, and its layers are used here from 2.9 on and before 2.12. "
            f"{INSTALL}",
        ),
        (Package(usable=True, told="Transformer Engine 2.11.0", version="2.11.0"), ""),
    ],
)
def test_transformer_engine_is_one_that_megatron_knows(
    on_hopper: None, monkeypatch: pytest.MonkeyPatch, package: Package, said: str
):
    monkeypatch.setattr(readiness, "transformer_engine", lambda: package)
    assert refused(device=GPU, provider="te") == (said and f"fp8.provider=te: {said}")


def test_a_recipe_that_the_gpu_has_not(on_hopper: None, monkeypatch: pytest.MonkeyPatch):
    package = Package(usable=True, told="Transformer Engine 2.11.0", version="2.11.0")
    monkeypatch.setattr(readiness, "transformer_engine", lambda: package)
    assert refused(device=GPU, provider="te", te_recipe="blockwise") == ""
    assert refused(device=GPU, provider="te", te_recipe="mxfp8") == (
        "fp8.provider=te with fp8.te_recipe=mxfp8: Device compute capability 10.0 or higher "
        "required. Set fp8.te_recipe=tensorwise."
    )


def test_some_layer_must_be_left():
    assert refused(first_layers_bf16=2, last_layers_bf16=1) == ""
    assert refused(first_layers_bf16=2, last_layers_bf16=2) == (
        "model.precision=fp8, and fp8.first_layers_bf16=2 with fp8.last_layers_bf16=2 leave none "
        "of the 4 layers of galactica-tiny to it. Lower them, or set model.precision=bf16."
    )


def test_widths_are_those_that_a_gpu_multiplies(monkeypatch: pytest.MonkeyPatch):
    assert refused(tensor=4) == (
        "model.precision=fp8: galactica-tiny has 24 columns of queries on each of "
        "parallel.tensor=4 ranks, and FP8 products want multiples of 16. Set model.precision=bf16, "
        "or another parallel.tensor."
    )
    odd = replace(TINY, hidden=90)
    with pytest.raises(ConfigError, match="has 90 hidden channels on each of"):
        check_fp8(odd, ModelConfig(precision="fp8"), ParallelConfig(), fp8=Fp8Config(), device=CPU)
