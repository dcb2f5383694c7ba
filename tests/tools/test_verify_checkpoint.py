"""The comparison with transformers as a command: tables, exit status, refusals."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

from reft_megatron.policy import Policy, join
from reft_megatron.tokenizer import load_tokenizer
from tests.policy.huggingface.zoo import build, spoil
from tests.policy.scene import LAYOUTS, configure
from tools.verify_checkpoint import main

pytestmark = pytest.mark.megatron

TP2 = ("parallel.tensor=2", "parallel.sequence=true")
PP2 = ("parallel.pipeline=2",)


def play(*arguments: str) -> tuple[int, str, str]:
    """Exit status, output and complaints of the command on this rank."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def play_save(hf: Path, folder: Path) -> None:
    """A checkpoint of a Hugging Face folder's model."""
    config = configure(LAYOUTS["pp2"], f"model.hf={hf}")
    mesh = join(config.parallel, seed=0, timeout_s=300, threads=1)
    Policy(config, mesh, load_tokenizer(hf), total_steps=None).save(folder, extra={})


@pytest.fixture(scope="module")
def root(ranks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a spoilt copy of it, as Hugging Face folders and as checkpoints."""
    folder = tmp_path_factory.mktemp("zoo")
    build(folder, ("qwen3",))
    spoil(folder / "qwen3", folder / "spoilt", "model.layers.2.mlp.up_proj.weight")
    for name in ("qwen3", "spoilt"):
        ranks(2, play_save, folder / name, folder / f"{name} checkpoint")
    return folder


def test_a_folder_agrees_with_itself(ranks, root: Path):
    ((status, out, err),) = ranks(1, play, "--hf", str(root / "qwen3"))
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "they agree: no difference is over 0.0001"
    assert "Question" in out, "there are prompts to start with"
    assert "logits max" in out
    assert "values max" in out


def test_a_checkpoint_agrees_with_the_folder_it_came_from(ranks, root: Path, tmp_path: Path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("w5 w6 w7\n\nw8\\nw9 [/w10]\n")
    arguments = ("--hf", root / "qwen3", "--checkpoint", root / "qwen3 checkpoint")
    main_rank, other = ranks(2, play, *map(str, arguments), "--prompts", str(prompts), *TP2)
    assert main_rank[0] == other[0] == 0
    assert other[1] == "", "one process speaks"
    rows = [line for line in main_rank[1].splitlines() if "\u2502" in line]
    assert len(rows) == 2
    assert "w8\\nw9 [/w10]" in rows[1]


@pytest.mark.parametrize("layout", [TP2, PP2])
def test_a_spoilt_checkpoint_is_told_with_its_layer(ranks, root: Path, layout: tuple[str, ...]):
    arguments = ("--hf", root / "qwen3", "--checkpoint", root / "spoilt checkpoint")
    main_rank, other = ranks(2, play, *map(str, arguments), *layout)
    assert main_rank[0] == other[0] == 1
    assert other[1:] == ("", "")
    lines = main_rank[1].splitlines()
    assert lines[-1] == "they differ by more than 0.0001: it begins in model.layers.2"
    assert [line.split()[1] for line in lines if "model.layers" in line[:20]] == [
        f"model.layers.{layer}" for layer in range(4)
    ]


def test_a_tolerance_decides(ranks, root: Path):
    arguments = ("--hf", root / "qwen3", "--tolerance", "0.5", f"model.hf={root / 'spoilt'}")
    ((status, out, _),) = ranks(1, play, *map(str, arguments))
    assert (status, out.splitlines()[-1]) == (0, "they agree: no difference is over 0.5")


def test_rows_without_a_token_are_not_compared(ranks, root: Path):
    narrow = root / "narrow"
    shutil.copytree(root / "qwen3", narrow)
    words = json.loads((narrow / "tokenizer.json").read_text())
    words["model"]["vocab"] = {w: i for w, i in words["model"]["vocab"].items() if i < 80}
    (narrow / "tokenizer.json").write_text(json.dumps(words))
    ((status, out, _),) = ranks(1, play, "--hf", str(narrow))
    assert (status, out.splitlines()[-1]) == (0, "they agree: no difference is over 0.0001")


def test_bad_input_is_one_message(ranks, root: Path, tmp_path: Path):
    model = str(root / "qwen3")
    (tmp_path / "empty.txt").write_text("\n")
    cases = {
        ("--hf", "/nowhere"): "/nowhere",
        ("--hf", model, "--checkpoint", "/nowhere"): "there is no checkpoint /nowhere, ",
        ("--hf", model, "--prompts", "/nowhere"): "cannot read the prompts /nowhere: ",
        ("--hf", model, "--prompts", str(tmp_path / "empty.txt")): "no prompt was given",
        ("--hf", model, "parallel.tensor=3"): "must divide the number of processes, which is 1",
    }
    for arguments, message in cases.items():
        ((status, out, err),) = ranks(1, play, *arguments)
        assert (status, out) == (1, "")
        assert err.startswith("verify_checkpoint: ")
        assert message in err
        assert len(err.splitlines()) == 1
