"""The planner's command: the tables, JSON, settings, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reft_megatron.config import load_config
from tools.plan import main

FOLDER = Path(__file__).parents[2] / "examples" / "configs"
CONFIGS = sorted({*FOLDER.glob("*_gsm8k_*.yaml")} - {*FOLDER.glob("reproduce_*.yaml")})
GALACTICA = ("--model", "galactica-6.7b")
EIGHT = ("--gpus", "8", "--memory", "80")
LLAMA = {
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_attention_heads": 32,
    "num_hidden_layers": 22,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "vocab_size": 32000,
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> list[str]:
    assert main(arguments) == status
    return capsys.readouterr().out.splitlines()


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    return json.loads("\n".join(run(capsys, *arguments, "--json", status=status)))


def test_layouts_that_fit_are_a_table(capsys):
    lines = run(capsys, *GALACTICA, *EIGHT, "--rows", "3")
    assert lines[:3] == [
        "galactica-6.7b, 6.66 billion weights; ppo with a reference model; bf16, recompute full",
        "8 x 80.0 GB (peaks of an H100 80GB), of which 76.0 may be used",
        "sequences of 512 + 400 tokens, 64 slots, micro-batches of 4096 tokens",
    ]
    fitting = len(ask(capsys, *GALACTICA, *EIGHT)["fitting"])
    assert lines[4] == f"{fitting} layouts fit; the fastest first:"
    head, _, *rows = lines[5:10]
    assert head.split()[:4] == ["TP", "PP", "VPP", "DP"]
    assert [len(row.split()) for row in rows] == [len(head.split())] * 3
    assert lines[10].startswith("Too big: ")


def test_documents_of_pretraining_have_their_own_length(capsys):
    lines = run(capsys, *GALACTICA, *EIGHT, "--recipe", "pretrain")
    assert lines[2] == "documents of up to 256 tokens, micro-batches of 4096 tokens"


def test_where_nothing_fits_it_says_what_is_too_big_and_what_would_fit(capsys):
    one = (*GALACTICA, "--gpus", "1", "--memory", "141")
    lines = run(capsys, *one, status=1)
    told = "\n".join(lines)
    assert "1 x 141 GB (peaks of an H200 141GB), of which 134 may be used" in lines
    assert "Nothing fits. The smallest layout:" in lines
    assert "the largest item is the optimizer's state with 79.9 GB." in told
    answers = {line[:48].strip(): line[48:].split() for line in lines[-10:]}
    assert answers["ppo.kl_coef=0 (no KL penalty, so no reference)"][1] == "no"
    assert answers["all of these"][1] == "yes"
    # What it says would help does.
    run(capsys, *one, "ppo.kl_coef=0", "generate.slots=8", "optimizer.micro_batch_tokens=1024")
    run(capsys, *one, "--recipe", "sft", "generate.slots=8")
    run(capsys, *GALACTICA, "--gpus", "2", "--memory", "141")


def test_layouts_that_cannot_run_have_a_reason(capsys):
    lines = run(capsys, "--model", "galactica-120b", "--gpus", "64", "--memory", "80")
    reasons = lines[lines.index("Layouts that cannot run:") + 1 :]
    assert any("80 attention heads, which parallel.tensor = 32 does not" in x for x in reasons)


def test_what_is_asked_follows_options_and_settings(capsys):
    base = ask(capsys, *GALACTICA, *EIGHT)
    assert (base["recipe"], base["reference"], base["prompt"]) == ("ppo", True, 512)
    other = ask(
        capsys,
        *(*GALACTICA, "--gpus", "8", "--gpu", "a100", "--recipe", "sft", "--length", "1500"),
        *("--batch", "16", "model.precision=fp32", "generate.max_new_tokens=500"),
    )
    assert (other["recipe"], other["reference"], other["memory"]) == ("sft", False, 80e9)
    assert (other["prompt"], other["response"], other["gpu"]) == (1000, 500, "A100 80GB")
    assert other["precision"] == "fp32"
    first, second = base["fitting"][0], other["fitting"][0]
    assert first["seconds"]["generate"] > second["seconds"]["generate"] == 0


def test_a_configs_settings_count_and_its_layout_does_not(capsys):
    told = ask(capsys, *EIGHT, "--config", "examples/configs/ppo_gsm8k_6.7b.yaml", "ppo.kl_coef=0")
    assert (told["model"], told["micro_batch_tokens"]) == ("galactica-6.7b", 1536)
    assert (told["prompt"], told["reference"]) == (624, False)
    assert len({row["tensor"] for row in told["fitting"]}) > 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_of_the_examples_is_a_question(capsys, path: Path):
    recipe = path.stem.partition("_gsm8k_")[0]
    told = ask(capsys, *EIGHT, "--config", str(path), "--recipe", recipe)
    assert told["model"] == load_config(path).model.preset
    assert told["recipe"] == recipe
    assert told["fitting"]


def test_a_folder_beside_a_preset_must_be_the_same_model(capsys, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    config = ("--config", "examples/configs/sft_gsm8k_6.7b.yaml")
    assert main((*EIGHT, *config, f"model.hf={tmp_path}")) == 1
    assert "are different models" in capsys.readouterr().err
    told = ask(capsys, *EIGHT, *config, "--model", str(tmp_path))
    assert told["model"] == "llama-22x2048"


def test_a_hugging_face_folder_is_a_model(capsys, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    told = ask(capsys, "--model", str(tmp_path), "--gpus", "1", "--memory", "80")
    # TinyLlama's published 1,100,048,384 weights, and a head for values
    assert (told["model"], told["parameters"]) == ("llama-22x2048", 1_100_048_384 + 2049)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (EIGHT, "nothing says what the model is: give --model or --config."),
        (
            (*GALACTICA, "--gpus", "8"),
            "say what the GPUs are: --memory GB, or --gpu a100|h100|h200.",
        ),
        ((*GALACTICA, "--gpus", "0", "--memory", "80"), "--gpus must be 1 or more, saw 0."),
        ((*GALACTICA, "--gpus", "8", "--memory", "0"), "--memory must be more than 0 GB, saw 0."),
        ((*GALACTICA, *EIGHT, "--rows", "0"), "--rows must be 1 or more, saw 0."),
        ((*GALACTICA, *EIGHT, "--batch", "0"), "--batch must be 1 or more, saw 0."),
        ((*GALACTICA, *EIGHT, "--length", "0"), "--length must be 2 or more, saw 0."),
        ((*GALACTICA, *EIGHT, "--vocab", "0"), "--vocab must be 1 or more, saw 0."),
        (
            (*GALACTICA, *EIGHT, "--recipe", "pretrain", "--length", "900"),
            "pretrain takes no --length: its documents have up to 256 tokens.",
        ),
        (
            (*GALACTICA, *EIGHT, "--recipe", "evaluate", "--batch", "8"),
            "evaluate takes no --batch: it asks all problems, generate.slots at a time.",
        ),
        (
            ("--model", "galactica-7b", *EIGHT),
            "unknown model.preset 'galactica-7b'; the nearest is 'galactica-6.7b', ",
        ),
        ((*GALACTICA, *EIGHT, "model.recompute=some"), "bad setting: model.recompute: "),
    ],
)
def test_bad_input_is_one_message(capsys, arguments: tuple[str, ...], message: str):
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(message)


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "python tools/plan.py --model galactica-6.7b --gpus 8 --memory 80" in shown
    for setting in ("model.recompute", "ppo.kl_coef", "generate.slots", "weights, grads, Adam"):
        assert setting in shown
