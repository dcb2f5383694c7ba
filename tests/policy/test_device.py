"""Megatron's CUDA questions, answered on a machine that has no GPU."""

from __future__ import annotations

import pytest
import torch

from reft_megatron.policy import device as devices

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    devices.has_gpu(), reason="this machine has a GPU, where nothing is answered for it"
)


def test_everything_lives_on_the_cpu():
    assert devices.device() == CPU
    assert torch.cuda.current_device() == CPU
    assert torch.cuda.get_device_capability() == (0, 0)
    assert torch.cuda.memory_stats() == {}
    assert torch.cuda.memory_allocated() == torch.cuda.max_memory_allocated() == 0
    assert torch.cuda.FloatTensor([1.5]).tolist() == [1.5]


def test_a_literal_cuda_device_is_the_cpu():
    made = [
        torch.empty(2, device="cuda"),
        torch.zeros(2, device="cuda:0"),
        torch.full((2,), 1.0, device=torch.device("cuda", 0)),
        torch.tensor([1, 2], device="cuda"),
        torch.arange(2, device="cuda"),
        torch.ones(2).to("cuda"),
        torch.ones(2).to(device="cuda", dtype=torch.float64),
        torch.ones(2).cuda(),
        torch.nn.Linear(2, 2).cuda().weight,
    ]
    assert {tensor.device for tensor in made} == {CPU}
    assert made[6].dtype == torch.float64
    assert torch.ones(2).to(torch.int64).dtype == torch.int64


def test_a_device_as_a_context_holds():
    with torch.device("meta"):
        made = [torch.empty(2), torch.zeros(2), torch.arange(2), torch.tensor([1, 2])]
    assert all(tensor.is_meta for tensor in made)


def test_types_have_the_name_that_gradient_clipping_asserts():
    assert torch.ones(1).type() == "torch.cuda.FloatTensor"
    assert torch.ones(1).bfloat16().type() == "torch.cuda.BFloat16Tensor"
    assert torch.ones(1).type(torch.float64).dtype == torch.float64


def test_streams_and_events_do_nothing_and_are_done():
    stream, event = torch.cuda.Stream(), torch.cuda.Event(enable_timing=True)
    with torch.cuda.stream(stream), stream:
        event.record(stream)
        stream.wait_event(event)
    torch.cuda.current_stream().synchronize()
    torch.cuda.default_stream().wait_stream(stream)
    torch.cuda.synchronize()
    torch.cuda.nvtx.range_push("name")
    torch.cuda.nvtx.range_pop()
    assert event.query()


def test_random_state_is_that_of_the_cpu():
    before = devices.rng_state()
    first = torch.rand(3)
    devices.set_rng_state(before)
    assert torch.equal(torch.rand(3), first)
    torch.cuda.manual_seed(5)
    again = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), again)
    assert torch.cuda.default_generators[0] is torch.default_generator
    called = []
    torch.cuda._lazy_call(lambda: called.append(1))
    assert called == [1]
    devices.set_rng_state(before)


def test_answering_twice_changes_nothing():
    answers = (torch.empty, torch.Tensor.to, torch.Tensor.type, torch.cuda.current_device)
    devices.answer_cuda_calls()
    assert answers == (
        torch.empty,
        torch.Tensor.to,
        torch.Tensor.type,
        torch.cuda.current_device,
    )
