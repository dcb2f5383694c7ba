"""Tests that every example is whole: its config loads, its layout fits, its script starts."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples import launch
from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.config import Config, load_config, to_yaml
from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.policy import architecture_of, tokenizer_path
from reft_megatron.policy.families import Architecture, family_of, find_architecture
from reft_megatron.policy.mesh import check_world
from reft_megatron.policy.model import check_layout
from reft_megatron.tokenizer import load_tokenizer
from tests.policy.huggingface.test_round_trip import WORDS

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PIPELINES = [
    path for path in sorted(EXAMPLES.rglob("*.yaml")) if "\nstages:\n" in path.read_text("utf-8")
]
CONFIGS = sorted({*EXAMPLES.rglob("*.yaml")} - {*PIPELINES})
SHELL = sorted([*EXAMPLES.rglob("*.sh"), *EXAMPLES.rglob("*.sbatch")])
POLYGLOTS = ("sft_gsm8k.sh", "ppo_gsm8k.sh", "paper.sh")
TINY = EXAMPLES / "configs" / "ppo_gsm8k_tiny.yaml"
LAYOUT = ["parallel.tensor=2", "parallel.pipeline=2"]


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def start(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command from the root of the project, as a user does, with this Python in front."""
    path = f"{Path(sys.executable).parent}:{variables.pop('PATH', os.environ['PATH'])}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT), "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def architecture(config: Config) -> Architecture:
    """The config's preset; the folder that it starts from is on nobody's machine."""
    return architecture_of(dataclasses.replace(config.model, hf=""))


def stub(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)
    return path


def test_there_are_examples() -> None:
    assert {"ppo_gsm8k_6.7b.yaml", TINY.name} <= set(names(CONFIGS))
    assert "quickstart.yaml" in names(PIPELINES)
    assert {
        "quickstart.sh",
        "reproduce_small.sh",
        "launch.sh",
        "ppo_gsm8k.sbatch",
        *POLYGLOTS,
    } == set(names(SHELL))


@pytest.mark.parametrize("path", CONFIGS, ids=names(CONFIGS))
def test_a_config_loads_and_its_layout_fits_its_world(path: Path) -> None:
    config = load_config(path)
    stated = re.search(r"^# World: (\d+) process", path.read_text(), re.MULTILINE)
    assert stated, f"{path.name} does not say `# World: N processes`"
    check_world(config.parallel, int(stated[1]))
    check_layout(architecture(config), config.parallel)


@pytest.mark.parametrize("path", CONFIGS, ids=names(CONFIGS))
def test_prompts_and_responses_fit_the_positions(path: Path) -> None:
    config = load_config(path)
    room = architecture(config).positions
    assert config.generate.max_prompt_tokens + config.generate.max_new_tokens <= room


@pytest.mark.parametrize("size", ["6.7b", "125m", "tiny"])
def test_ppo_starts_from_what_the_warm_up_of_its_size_leaves(size: str) -> None:
    warm_up = load_config(EXAMPLES / "configs" / f"sft_gsm8k_{size}.yaml")
    ppo = load_config(EXAMPLES / "configs" / f"ppo_gsm8k_{size}.yaml")
    assert ppo.model.load == f"{warm_up.run.dir}/{warm_up.run.name}/checkpoints/latest"
    assert (ppo.model.preset, ppo.tokenizer, ppo.task) == (
        warm_up.model.preset,
        warm_up.tokenizer,
        warm_up.task,
    )


@pytest.mark.parametrize("size", ["6.7b", "125m"])
def test_the_model_brings_its_tokenizer_wherever_it_lies(size: str, tmp_path: Path) -> None:
    architecture = find_architecture(f"galactica-{size}")
    tree = {**family_of(architecture).write(architecture, 50_000), "model_type": "opt"}
    for folder in (tmp_path / "mine", tmp_path / "warm-up" / "huggingface"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(tree))
        (folder / "tokenizer.json").write_text(WORDS)
    configs = EXAMPLES / "configs"
    sft = load_config(configs / f"sft_gsm8k_{size}.yaml", [f"model.hf={tmp_path}/mine"])
    assert architecture_of(sft.model).layers == architecture.layers
    assert load_tokenizer(tokenizer_path(sft)).eos_id == 2
    ppo = load_config(configs / f"ppo_gsm8k_{size}.yaml", [f"model.load={tmp_path}/warm-up"])
    assert load_tokenizer(tokenizer_path(ppo)).eos_id == 2


@pytest.mark.parametrize("size", ["6.7b", "125m"])
def test_without_its_model_a_config_says_what_is_missing(size: str) -> None:
    ppo = load_config(EXAMPLES / "configs" / f"ppo_gsm8k_{size}.yaml")
    with pytest.raises(CheckpointError, match=f"no checkpoint runs/gsm8k-{size}-warmup/checkpoin"):
        tokenizer_path(ppo)
    bare = load_config(EXAMPLES / "configs" / f"sft_gsm8k_{size}.yaml", ["model.hf="])
    with pytest.raises(ConfigError, match=r"^no tokenizer: set tokenizer.path to a sentencepiece"):
        load_tokenizer(tokenizer_path(bare))


def test_the_papers_settings_of_galactica_6_7b() -> None:
    sft = load_config(EXAMPLES / "configs" / "sft_gsm8k_6.7b.yaml")
    assert (sft.sft.batch_size, sft.sft.epochs, sft.sft.stop_after_epoch) == (48, 40, 2)
    assert (sft.optimizer.lr, sft.optimizer.warmup_fraction) == (1e-5, 0.1)
    assert sft.model.dropout == 0.1
    config = load_config(EXAMPLES / "configs" / "ppo_gsm8k_6.7b.yaml")
    assert (config.optimizer.lr, config.optimizer.schedule) == (3e-7, "constant")
    assert (config.optimizer.weight_decay, config.optimizer.clip_grad) == (0.0, 1.0)
    ppo = config.ppo
    assert (ppo.batch_size, ppo.samples_per_problem, ppo.updates_per_batch) == (32, 1, 2)
    assert (ppo.kl_coef, ppo.value_coef, ppo.clip_range) == (0.01, 5.0, 0.2)
    assert (ppo.gamma, ppo.lam, config.rewards.partial) == (1.0, 0.95, 0.1)


@pytest.mark.parametrize("path", PIPELINES, ids=names(PIPELINES))
def test_a_pipelines_stages_fit_their_world_and_share_problems_and_limits(path: Path) -> None:
    pipeline = read_pipeline(path)
    stated = re.search(r"^# World: (\d+) process", path.read_text(), re.MULTILINE)
    assert stated, f"{path.name} does not say `# World: N processes`"
    assert pipeline.processes == int(stated[1])
    configs = {
        stage.name: pipeline.config(stage, pipeline.seeds[0])
        for stage in pipeline.stages.values()
        if stage.recipe
    }
    for config in configs.values():
        check_world(config.parallel, pipeline.processes)
        check_layout(architecture(config), config.parallel)
        room = architecture(config).positions
        assert config.generate.max_prompt_tokens + config.generate.max_new_tokens <= room
    tests = [configs[row.stage] for row in pipeline.rows]
    assert len({(config.task, config.model.preset, config.generate) for config in tests}) == 1
    assert {config.task for config in configs.values()} == {tests[0].task}


@pytest.mark.parametrize("path", PIPELINES, ids=names(PIPELINES))
def test_a_pipelines_stages_all_lead_to_its_table(path: Path) -> None:
    """What no row starts from would be trained for nothing."""
    pipeline = read_pipeline(path)
    used = {name for row in pipeline.rows for name in pipeline.sources(row.stage)}
    assert used == set(pipeline.stages)


@pytest.mark.parametrize("path", PIPELINES, ids=names(PIPELINES))
def test_a_table_compares_with_one_version_of_the_paper(path: Path) -> None:
    rows = read_pipeline(path).rows
    assert len({row.paper.partition("/")[0] for row in rows if row.paper}) <= 1


@pytest.mark.parametrize("path", SHELL, ids=names(SHELL))
def test_a_script_is_valid_shell(path: Path) -> None:
    done = start("bash", "-n", str(path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", POLYGLOTS)
def test_a_script_for_torchrun_is_valid_python_too(name: str) -> None:
    compile((EXAMPLES / name).read_text(), name, "exec")


def test_bash_resolves_the_config() -> None:
    done = start("bash", "examples/ppo_gsm8k.sh", "model=tiny", *LAYOUT, "--print-config")
    assert (done.returncode, done.stdout) == (0, to_yaml(load_config(TINY, LAYOUT)))


def test_the_default_model_is_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.run("examples/sft_gsm8k.sh", ["run.seed=2", "--print-config"]) == 0
    expected = load_config(EXAMPLES / "configs" / "sft_gsm8k_6.7b.yaml", ["run.seed=2"])
    assert capsys.readouterr().out == to_yaml(expected)


def test_torchrun_runs_the_script_on_every_rank() -> None:
    done = start(
        *("torchrun", "--standalone", "--nproc-per-node", "2"),
        *("examples/ppo_gsm8k.sh", "model=tiny", "--print-config"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n  name: gsm8k-tiny-reft\n") == 2


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SystemExit) as end:
        launch.run("examples/ppo_gsm8k.sh", ["model=7b"])
    assert str(end.value) == "ppo has no model=7b; take one of 125m, 6.7b, tiny."


def test_a_bad_setting_is_refused_before_processes_are_counted() -> None:
    with pytest.raises(SystemExit) as end:
        launch.run("examples/ppo_gsm8k.sh", ["parallel.tenser=2", "--processes"])
    assert str(end.value) == (
        "unknown setting parallel.tenser; the nearest known one is parallel.tensor. "
        "`--help` lists them all."
    )


def test_bash_starts_as_many_processes_as_one_replica_takes(tmp_path: Path) -> None:
    stub(tmp_path, "torchrun", 'echo "$@"')
    done = start(
        *("bash", "-c", 'PATH="$0:$PATH" exec bash examples/ppo_gsm8k.sh "$@"', str(tmp_path)),
        *("model=tiny", *LAYOUT),
        CUDA_VISIBLE_DEVICES="",
    )
    assert done.stdout == (
        "--standalone --nproc-per-node 4 examples/ppo_gsm8k.sh model=tiny "
        "parallel.tensor=2 parallel.pipeline=2\n"
    )


def test_a_task_of_a_slurm_step_becomes_one_rank(tmp_path: Path) -> None:
    stub(
        tmp_path,
        "scontrol",
        '[[ "$*" == "show hostnames node[3-4]" ]] && printf "node3\\nnode4\\n"',
    )
    stub(
        tmp_path,
        "python",
        'env | grep -E "^(RANK|.*WORLD_SIZE|LOCAL_RANK|MASTER)" | sort; echo "$@"',
    )
    done = start(
        *("bash", "-c", 'PATH="$0:$PATH" exec bash examples/ppo_gsm8k.sh "$@"', str(tmp_path)),
        "model=tiny",
        SLURM_STEP_ID="0",
        SLURM_JOB_ID="123456",
        SLURM_NTASKS="16",
        SLURM_PROCID="11",
        SLURM_LOCALID="3",
        SLURM_STEP_NODELIST="node[3-4]",
        SLURM_STEP_TASKS_PER_NODE="8(x2)",
    )
    assert done.stdout.splitlines() == [
        "LOCAL_RANK=3",
        "LOCAL_WORLD_SIZE=8",
        "MASTER_ADDR=node3",
        "MASTER_PORT=23456",
        "RANK=11",
        "WORLD_SIZE=16",
        "-u examples/ppo_gsm8k.sh model=tiny",
    ]


@pytest.mark.parametrize(
    ("status", "summary", "calls"),
    [
        (0, True, ["srun"]),
        (0, False, ["srun", "scontrol requeue 7"]),
        (1, False, ["srun"]),
    ],
    ids=["finished", "stopped by the time limit", "failed"],
)
def test_the_slurm_job_queues_itself_again_until_the_run_is_done(
    tmp_path: Path, status: int, summary: bool, calls: list[str]
) -> None:
    stub(tmp_path, "srun", f"echo srun >> calls; exit {status}")
    stub(tmp_path, "scontrol", '[[ $1 == show ]] && echo node1 || echo "scontrol $*" >> calls')
    if summary:
        (tmp_path / "runs" / "gsm8k-6.7b-reft").mkdir(parents=True)
        (tmp_path / "runs" / "gsm8k-6.7b-reft" / "summary.json").write_text("{}")
    done = start(
        *("bash", "-c", 'cd "$0"; PATH="$0:$PATH" exec bash "$1"', str(tmp_path)),
        str(EXAMPLES / "slurm" / "ppo_gsm8k.sbatch"),
        SLURM_JOB_ID="7",
        SLURM_JOB_NODELIST="node1",
    )
    assert done.returncode == status
    assert (tmp_path / "calls").read_text().splitlines() == calls


def test_the_quickstart_is_a_pipeline_with_its_seed_folder_and_settings(tmp_path: Path) -> None:
    done = start(
        *("bash", "examples/quickstart.sh", "--dry-run", "task.test_size=9"),
        SEED="3",
        RUNS=str(tmp_path),
        PROCESSES="4",
    )
    assert done.returncode == 0, done.stderr
    stages = re.findall(r"^== (\S+), seed 3", done.stdout, re.MULTILINE)
    assert stages == [
        *("tokenizer", "base", "warmup", "sft", "reft"),
        *("base-test", "warmup-test", "sft-test", "reft-test"),
    ]
    started = [line for line in done.stdout.splitlines() if " -m reft_megatron " in line]
    assert len(started) == len(stages) - 1
    assert all("--nproc-per-node 4 " in line for line in started)
    assert all(f" run.dir={tmp_path}/seed-3 " in line for line in started)
    assert all(" run.seed=3 " in line and " task.data_seed=3 " in line for line in started)
    assert all(" task.test_size=9 " in line for line in started)
    assert all(line.startswith("env CUDA_VISIBLE_DEVICES= ") for line in started)
