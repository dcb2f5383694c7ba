"""The small reproduction as it is shipped, on real SVAMP programs: every stage a real run.

All are laid out over tensor 2 x pipeline 2, four gloo ranks, and what learns does so for two
iterations. Ranks are forks of the tests' own server (`tests.ranks`) instead of torchrun's, which
would import the engine eighty times.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reft_megatron.cli import main
from reft_megatron.rollouts.ledger import Ledger
from tests.launch import RECIPES
from tests.ranks import Ranks

pytestmark = [pytest.mark.megatron, pytest.mark.shared_data]

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "examples" / "configs" / "reproduce_small.yaml"
SMALL = {
    "pretrain": {"steps": 2, "batch_size": 8},
    "sft": {"epochs": 2, "batch_size": 16, "evaluate_every": 0},
    "sample": {"samples_per_problem": 8, "batch_size": 7},
    "offline_sl": {"epochs": 2, "batch_size": 48, "evaluate_every": 0},
    "online_sl": {"iterations": 2, "batch_size": 4, "evaluate_every": 0},
    "ppo": {"iterations": 2, "batch_size": 4, "evaluate_every": 0},
    "rerank": {"dev_size": 3, "epochs": 2, "batch_size": 48},
    "generate": {"slots": 128, "max_new_tokens": 30},
    "log": {"tensorboard": False, "report": False},
}
"""In the place of the shipped numbers."""
BY_HEART = {
    "optimizer": {"lr": 3.0e-3, "schedule": "constant", "warmup_fraction": 0.0},
    "sft": {"epochs": 32, "stop_after_epoch": 32},
}
"""How the warm-up learns its few problems, since a reranker wants completions of both kinds."""
CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server:
    server.sendall("\\0".join(sys.argv[4:]).encode())
    server.shutdown(socket.SHUT_WR)
    code, told = server.makefile().read().split("\\n", 1)
print(told)
sys.exit(int(code))
"""


def play(words: list[str]) -> str:
    """One rank of a stage; what it printed."""
    assert words[0] in [recipe.__name__.rpartition(".")[2] for recipe in RECIPES]
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main(words)
    assert code == 0, told.getvalue()
    return told.getvalue()


@pytest.fixture
def launch(ranks: Ranks, tmp_path: Path) -> Iterator[str]:
    """A command that starts four ranks as torchrun does."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                stage, _ = server.accept()
            except OSError:
                return
            with stage:
                words = stage.makefile().read().split("\0")
                try:
                    told = f"0\n{ranks(4, play, words)[0]}"
                except AssertionError as error:
                    told = f"1\n{error}"
                stage.sendall(told.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    client = tmp_path / "client.py"
    client.write_text(CLIENT)
    yield f"{sys.executable} {client} {server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def merged(blocks: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    return {part: blocks.get(part, {}) | others.get(part, {}) for part in {**blocks, **others}}


def write_pipeline(folder: Path, data: Path) -> Path:
    """The shipped pipeline with SVAMP's shortest problems in the place of its task."""
    items = json.loads((data / "mwp_reft" / "svamp_python_sdp.json").read_text())
    # The shortest programs, whatever their questions; each once more in other words, so that a
    # right completion need not be the gold one.
    shortest = sorted(
        items, key=lambda i: (len(i["answer_cot"]) - len(i["question"]), i["item_id"])
    )[:8]
    again = [
        item
        | {
            "item_id": f"svamp_{10_000 + number}",
            "answer_cot": replaced(item["answer_cot"], "return result", "return result * 1"),
        }
        for number, item in enumerate(shortest)
    ]
    train, texts = folder / "train.json", folder / "texts.txt"
    train.write_text(json.dumps([*shortest, *again]))
    texts.write_text("".join(f"{i['question']}\n{i['answer_cot']}\n" for i in [*items, *again]))
    tree: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    tree |= {"folder": str(folder / "runs"), "processes": 4, "seeds": [1]}
    task = {"name": "svamp", "train": str(train), "dev_size": 3, "test_size": 8}
    task["test"] = str(data / "mwp_reft" / "svamp_test_set.json")
    layout = {"parallel": {"tensor": 2, "pipeline": 2}, "run": {"threads": 1}}
    tree["settings"] = merged(tree["settings"], {**SMALL, **layout}) | {"task": task}
    stages = tree["stages"]
    for stage in stages.values():
        blocks = stage.get("settings", {})
        stage["settings"] = {
            part: {key: SMALL.get(part, {}).get(key, value) for key, value in block.items()}
            for part, block in blocks.items()
        }
    stages["warmup"]["settings"] = merged(stages["warmup"]["settings"], BY_HEART)
    stages["sft"]["settings"]["sft"] |= {"epochs": SMALL["sft"]["epochs"]}
    # It makes a base model of the task that it generates, and of no other.
    stages["base"]["settings"]["task"] = {"name": "arithmetic", "train": "", "test": ""}
    command = replaced(stages["tokenizer"]["command"], "tools/", f"{ROOT}/tools/")
    stages["tokenizer"]["command"] = replaced(command, "--task arithmetic", f"--text {texts}")
    path = folder / "whole.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def test_every_stage_of_the_small_reproduction(
    launch: str, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_pipeline(tmp_path, shared_data)
    command = ["reproduce", "--config", str(path), "--launch", launch]
    assert main(command) == 0, "\n".join(capfd.readouterr())
    told = capfd.readouterr().out
    shipped, runs = yaml.safe_load(SHIPPED.read_text()), tmp_path / "runs"

    for name in shipped["stages"]:
        folder = runs / "seed-1" / name
        assert (folder / "summary.json").is_file()
        if name != "tokenizer":
            layout = yaml.safe_load((folder / "config.yaml").read_text())["parallel"]
            assert (layout["tensor"], layout["pipeline"]) == (2, 2)
    for name in ("online-st", "reft", "beta-0", "samples-train", "samples-reft"):
        assert Ledger(runs / "seed-1" / name / "ledger").iterations() == [1, 2]
    samples = json.loads((runs / "seed-1" / "samples-train" / "summary.json").read_text())
    assert 0 < samples["accuracy"] < 1, "there is something to learn from and to tell apart"

    results = json.loads((runs / "results.json").read_text())
    assert results["num_problems"] == 8
    methods = {method["name"]: method for method in results["methods"]}
    assert list(methods) == list(shipped["table"])
    for name, method in methods.items():
        assert 0 <= method["figures"]["top-1"]["value"] <= 1
        assert name in told
    for name in ("SFT", "ReFT"):
        ways = {f"{way}@8" for way in ("vote", "rerank", "weighted", "pass")}
        assert ways < set(methods[name]["figures"])
        assert {"vote@8 - top-1", "rerank@8 - vote@8"} < set(methods[name]["gains"])
    assert "top-1" in methods["ReFT"]["differences"]
    assert "Learning curves" in (runs / "report.html").read_text()

    assert main([*command, "--dry-run"]) == 0
    assert capfd.readouterr().out.count(": done (") == len(shipped["stages"])
