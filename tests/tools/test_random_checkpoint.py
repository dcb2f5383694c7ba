"""Random checkpoints, and the two conversions as commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reft_megatron.tokenizer_training import train_tokenizer
from tools import hf_to_megatron, megatron_to_hf, random_checkpoint


@pytest.fixture
def tiny(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A random galactica-tiny with a tokenizer."""
    texts = [f"{number} zebras run far\n" for number in range(100)]
    train_tokenizer(texts, tmp_path / "tiny.model", vocab_size=300)
    status = random_checkpoint.main(
        [
            *("--preset", "galactica-tiny", "--tokenizer", str(tmp_path / "tiny.model")),
            *("--output", str(tmp_path / "hf"), "--dtype", "bf16"),
        ]
    )
    assert (status, capsys.readouterr().out) == (
        0,
        f"{tmp_path / 'hf'}: galactica-tiny, 0.001 GB of random bf16\n",
    )
    return tmp_path / "hf"


def test_no_weight_is_trivial(tiny: Path):
    tensors = load_file(tiny / "model.safetensors")
    assert all(tensor.dtype == torch.bfloat16 for tensor in tensors.values())
    assert all(tensor.float().std() > 0.01 for tensor in tensors.values())
    norm = tensors["model.decoder.final_layer_norm.weight"].float()
    assert norm.mean().item() == pytest.approx(1, abs=0.1)


def test_transformers_reads_it(tiny: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    ids = tokenizer("7 zebras", return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids[0]) == "7 zebras"
    assert model(ids).logits.shape == (1, ids.shape[1], 300)


def test_there_and_back_as_commands(tiny: Path, capsys: pytest.CaptureFixture[str]):
    checkpoint, back = tiny.with_name("ckpt"), tiny.with_name("back")
    assert hf_to_megatron.main(["--input", str(tiny), "--output", str(checkpoint)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{checkpoint}: opt-4x96, 52 tensors, 0.001 GB, head: none.")
    assert out.endswith(f"model.load={checkpoint}\n")
    arguments = ["--input", str(checkpoint), "--output", str(back)]
    assert megatron_to_hf.main(arguments) == 0
    assert capsys.readouterr().out == f"{back}: opt-4x96, 68 tensors, 0.001 GB, head: none\n"
    first, second = (load_file(folder / "model.safetensors") for folder in (tiny, back))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("config.json", "tokenizer.model", "tokenizer_config.json"):
        assert (tiny / name).read_bytes() == (back / name).read_bytes()
    assert megatron_to_hf.main(arguments) == 1
    assert capsys.readouterr().err.startswith("megatron_to_hf: the checkpoint could not be begun")


def test_bad_input_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    status = random_checkpoint.main(
        [
            *("--preset", "galactica-tiny", "--tokenizer", "/nowhere"),
            *("--output", str(tmp_path / "out")),
        ]
    )
    assert status == 1
    assert not (tmp_path / "out").exists()
    message = capsys.readouterr().err
    assert message.startswith("random_checkpoint: cannot read the tokenizer file /nowhere")
