"""The command as people use it: with a stand-in for the runs, and once with real ones."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from reft_megatron.cli import main
from reft_megatron.commands.reproduce import parser
from reft_megatron.commands.reproduce.execution import held
from reft_megatron.commands.reproduce.identity import read_record, write_record
from tests.commands.reproduce.pipelines import ORDER, write_pipeline

RUN = """
import json, pathlib, sys, time
given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = pathlib.Path(given["run.dir"], given["run.name"])
print("running", *sys.argv[1:4], given["run.name"], given["run.seed"])
with (folder / "ran").open("a") as file:
    file.write("x")
for link in ("latest", "best"):
    (folder / "checkpoints" / link).mkdir(parents=True, exist_ok=True)
if "%(fails)s" == given["run.name"]:
    sys.exit(7)
time.sleep(0.1 * (given["run.name"] == "sft"))
right = [1.0, 0.0, float("reft" in given["run.name"])]
figures = {"top-1": {"value": sum(right) / 3, "low": 0.0, "high": 1.0}}
summary = {"split": "test", "num_problems": 3, "figures": figures}
(folder / "summary.json").write_text(json.dumps(summary))
outcomes = {"problems": ["p0", "p1", "p2"], "top-1": right}
(folder / "outcomes.json").write_text(json.dumps(outcomes))
"""
"""Leaves what a run leaves."""


@pytest.fixture
def ask(tmp_path: Path):
    """Run the command on the small pipeline, where `fails` names a stage that does."""
    path = write_pipeline(tmp_path, ("[1, 2]", "[1]"))

    def call(*arguments: str, fails: str = "") -> int:
        script = tmp_path / "run.py"
        script.write_text(RUN % {"fails": fails})
        launch = ("--launch", f"python {script}")
        return main(["reproduce", "--config", str(path), *launch, *arguments])

    return call


def ran(folder: Path) -> dict[str, str]:
    """How often each recipe's stage was started."""
    found = {path.parent.name: path.read_text() for path in (folder / "runs").glob("*/*/ran")}
    return {name: found[name] for name in ORDER if name in found}


def test_a_pipeline_runs_once_and_ends_with_its_table(ask, tmp_path: Path, capfd) -> None:
    assert ask() == 0
    told = capfd.readouterr().out
    started = re.findall(r"^running -m reft_megatron (\S+) (\S+) 1$", told, re.MULTILINE)
    assert started == [
        *(("sft", "warmup"), ("sft", "sft"), ("ppo", "reft")),
        *(("evaluate", "sft-test"), ("evaluate", "reft-test")),
    ]
    lines = re.findall(r"^== (\S+), seed 1: \d+ s$", told, re.MULTILINE)
    assert lines == ORDER
    assert re.search(r"ReFT.*66\.7 \(0\.0 to 100\.0\).*\+33\.3", told)
    runs = tmp_path / "runs"
    assert json.loads((runs / "summary.json").read_text())["points_over_sft"] == 33.3
    assert f"\n{runs / 'report.html'}: open it in a browser\n" in told
    assert "<title>small</title>" in (runs / "report.html").read_text()
    assert (runs / "seed-1" / "tokens" / "tokens.model").read_text() == "pieces"
    assert (runs / "seed-1" / "reft" / "output.log").read_text() == (
        "running -m reft_megatron ppo reft 1\n"
    )
    assert ask() == 0
    told = capfd.readouterr().out
    assert len(re.findall("^== .*: done before, ", told, re.MULTILINE)) == len(ORDER)
    assert "running" not in told
    assert ask("--table") == 0
    told = capfd.readouterr().out
    assert "ReFT" in told
    assert "==" not in told


def test_a_failure_names_stage_log_and_command_and_the_next_call_goes_on(
    ask, tmp_path: Path, capfd
) -> None:
    assert ask(fails="sft") == 1
    told = capfd.readouterr()
    folder = tmp_path / "runs" / "seed-1" / "sft"
    assert told.err.startswith(
        "reft-megatron: TrainingError: stage sft, seed 1 failed with exit code 7. Its output is in "
        f"{folder}/output.log; its command was\nenv CUDA_VISIBLE_DEVICES= "
    )
    record = read_record(folder)
    assert record is not None
    write_record(folder, dataclasses.replace(record, seconds=1000.0))
    assert ran(tmp_path) == {"warmup": "x", "sft": "x"}
    assert ask() == 0
    assert "== sft, seed 1: goes on\n" in capfd.readouterr().out
    assert ran(tmp_path)["sft"] == "xx"
    assert ran(tmp_path)["warmup"] == "x"
    after = read_record(folder)
    assert after is not None
    assert after.seconds > 1000, "over all starts"


def test_a_dry_run_shows_what_and_why_and_does_nothing(ask, tmp_path: Path, capfd) -> None:
    assert ask("--dry-run") == 0
    told = capfd.readouterr().out
    assert "== reft, seed 1, from tokens:tokens.model, warmup:latest: not begun\nenv " in told
    assert not (tmp_path / "runs").exists()
    assert ask(fails="reft") == 1
    capfd.readouterr()
    assert ask("--dry-run", "--redo", "warmup") == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("==")]
    assert [re.sub(r" \(\d+ s\)$", "", line.rpartition(": ")[2]) for line in lines] == [
        *("done", "to be removed and made again", "done"),
        *("to be removed and made again", "not begun", "not begun"),
    ]
    assert ran(tmp_path) == {"warmup": "x", "sft": "x", "reft": "x"}


def test_other_settings_are_refused_and_redo_makes_it_again(ask, tmp_path: Path, capfd) -> None:
    assert ask() == 0
    assert ask("ppo.lam=0.5") == 1
    told = capfd.readouterr().err
    assert re.findall(r"(\w+) was made otherwise: (.*?)\. ", told) == [
        ("reft", "ppo.lam: 0.95 -> 0.5"),
    ]
    assert told.endswith("to make them again: --redo reft\n")
    assert ask("--redo", "reft") == 0
    told = capfd.readouterr().out
    folder = tmp_path / "runs" / "seed-1"
    removed = [line for line in told.splitlines() if line.startswith("== removed")]
    assert removed == [f"== removed {folder}/reft", f"== removed {folder}/reft-test"]
    assert ran(tmp_path) == dict.fromkeys(ORDER[1:], "x")
    assert told.count("done before") == 4


def test_nothing_is_removed_before_the_rest_is_found_well(ask, tmp_path: Path, capfd) -> None:
    assert ask() == 0
    folder = tmp_path / "runs" / "seed-1"
    before = sorted(folder.glob("*/summary.json"))
    assert ask("--redo", "reft", "--launch", "nonesuch") == 1
    assert "is started by nonesuch, which is no program here" in capfd.readouterr().err
    assert ask("--redo", "reft", "sft.epochs=9") == 1
    assert "warmup was made otherwise: sft.epochs: 3 -> 9. " in capfd.readouterr().err
    with held(folder / "reft-test"):
        assert ask("--redo", "warmup") == 1
    assert "reft-test is being made by another process at this moment" in capfd.readouterr().err
    assert sorted(folder.glob("*/summary.json")) == before
    assert ran(tmp_path) == dict.fromkeys(ORDER[1:], "x")


def test_a_table_is_of_the_finished_rows_of_this_file(ask, tmp_path: Path, capfd) -> None:
    assert ask(fails="reft") == 1
    assert ask("--table") == 1
    runs = tmp_path / "runs"
    assert capfd.readouterr().err.endswith(
        f"DataError: no evaluation of the table is finished in {runs}: run the pipeline "
        "(`--dry-run` shows what there is to do).\n"
    )
    assert ask("--stage", "sft-test") == 0
    assert ask("--table") == 0
    told = capfd.readouterr().out
    assert "left out, not finished: ReFT\n" in told
    methods = json.loads((runs / "results.json").read_text())["methods"]
    assert [method["name"] for method in methods] == ["SFT"]
    assert ask("--table", "sft.epochs=9") == 1
    assert "sft was made otherwise: sft.epochs: 3 -> 9. " in capfd.readouterr().err
    path = tmp_path / "small.yaml"
    path.write_text(path.read_text().partition("table:")[0])
    assert ask("--table") == 1
    assert "ConfigError: the pipeline has no `table`, so" in capfd.readouterr().err


ASK = """
import contextlib, sys
from reft_megatron.cli import main
with contextlib.suppress(SystemExit):
    assert main(sys.argv[1:]) == 0
assert not {"torch", "matplotlib"} & {*sys.modules}
"""


def test_help_and_dry_runs_answer_without_loading_torch_or_matplotlib(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path)
    for words in (["--help"], ["--config", str(path), "--dry-run"]):
        command = [sys.executable, "-c", ASK, "reproduce", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def test_a_stage_alone_wants_its_inputs_finished(ask, tmp_path: Path, capfd) -> None:
    assert ask("--stage", "sft") == 1
    assert "tokens is not finished: run it first (--stage tokens)" in capfd.readouterr().err
    assert ask("--stage", "tokens") == ask("--stage", "sft") == 0
    assert ran(tmp_path) == {"sft": "x"}
    assert not (tmp_path / "runs" / "summary.json").exists()


def test_results_of_one_seed_of_several_lie_in_its_folder(ask, tmp_path: Path) -> None:
    assert ask("--seed", "5") == 0
    assert (tmp_path / "runs" / "seed-5" / "results.json").is_file()
    assert not (tmp_path / "runs" / "results.json").exists()
    assert ask("--seed", "1", "--seed", "5") == 0
    assert json.loads((tmp_path / "runs" / "results.json").read_text())["seeds"] == [1, 5]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--stage", "stf"], f"ConfigError: no stage stf; there are {', '.join(ORDER)}."),
        (["--redo", "stf"], f"ConfigError: no stage stf; there are {', '.join(ORDER)}."),
        (["--launch", "nonesuch -n 2"], "ConfigError: stage warmup is started by nonesuch, which "
         "is no program here: install it, or name another with --launch."),
        (["sft.epoch=3"], "ConfigError: stage warmup: unknown setting sft.epoch; "),
        (["--table"], "DataError: "),
    ],
)  # fmt: skip
def test_mistakes(ask, capsys, arguments: list[str], told: str) -> None:
    assert ask(*arguments) == 1
    assert capsys.readouterr().err.startswith(f"reft-megatron: {told}")


def test_what_ends_without_a_summary_has_stopped_early(ask, tmp_path: Path, capfd) -> None:
    script = tmp_path / "stops.py"
    script.write_text("")
    assert ask("--launch", f"python {script}") == 1
    assert capfd.readouterr().err.endswith(
        "TrainingError: stage warmup, seed 1 stopped early, on SIGTERM: run the same command to go "
        "on.\n"
    )


def test_the_examples_of_the_help_are_commands(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    commands = re.findall(r"^  reft-megatron (reproduce .*)$", parser().epilog, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        assert main([*shlex.split(command), "--dry-run"]) == 0, command
    assert "== warmup, seed 1, from tokenizer:tokenizer.model" in capsys.readouterr().out
    small = ("reproduce", "--config", "examples/configs/reproduce_small.yaml", "--dry-run")
    assert main([*small]) == 0
    assert ", samples-train:ledger: not begun\n" in capsys.readouterr().out  # and no emoji


REAL = """
name: real
folder: {folder}
seeds: [3]
launch: python
cpu: true
settings:
  task: {{name: svamp, train: {items}, test: {test}, dev_size: 4}}
  generate: {{max_new_tokens: 8}}
  run: {{threads: 1}}
  log: {{tensorboard: false}}
inputs:
  tokenizer.path: tokenizer:tokenizer.model
stages:
  tokenizer:
    command: python {tool} --text {items} --vocab-size 320 --output {{folder}}/tokenizer.model
  sft: {{recipe: sft, settings: {{sft: {{epochs: 1, batch_size: 8, evaluate_every: 0}}}}}}
  test: {{recipe: evaluate, inputs: {{model.load: sft:latest}}}}
table:
  SFT: {{stage: test, role: baseline}}
"""


@pytest.mark.megatron
def test_real_runs_start_from_one_another(tmp_path: Path, capfd) -> None:
    items = [
        {
            "item_id": f"svamp_{number}",
            "question": f"How many is {number}?",
            "answer_value": f"{number}",
            "answer_cot": f"def solution():\n    return {number}",
        }
        for number in range(12)
    ]
    (tmp_path / "items.json").write_text(json.dumps(items[:9], indent=1))
    (tmp_path / "test.json").write_text(json.dumps(items[9:]))
    path = tmp_path / "real.yaml"
    places = {"items": tmp_path / "items.json", "test": tmp_path / "test.json"}
    tool = Path(__file__).parents[3] / "tools" / "train_tokenizer.py"
    path.write_text(REAL.format(folder=tmp_path / "runs", tool=tool, **places))
    assert main(["reproduce", "--config", str(path)]) == 0, capfd.readouterr().err
    told = capfd.readouterr().out
    assert f"{tmp_path}/runs/seed-3/sft/checkpoints/step_" in told
    tree = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert tree["num_problems"] == 3
    assert 0 <= tree["methods"][0]["figures"]["top-1"]["value"] <= 1
    assert main(["reproduce", "--config", str(path)]) == 0
    assert capfd.readouterr().out.count("done before") == 3
