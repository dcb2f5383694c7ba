"""The runs of the paper: each loads, fits its GPUs, finds those before it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import pytest

from examples import launch
from examples.paper_runs import PROBLEMS, SIZES, STAGES, Run
from reft_megatron.commands.reproduce.paper import PAPER as PUBLISHED
from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.config import Config, load_config, to_yaml
from reft_megatron.policy import architecture_of
from reft_megatron.policy.plan import GPUS, KEPT_BACK, Case
from reft_megatron.policy.plan.search import plan_for
from tests.test_examples import start

ROOT = Path(__file__).parents[1]
README = (ROOT / "examples" / "README.md").read_text()
STARTED = re.compile(
    r"^\| [^|]+ \| (\d+) GPUs? of (\d+) GB \| "
    r"`torchrun --nproc-per-node (\d+) examples/paper\.sh ([^`]+)` \|",
    re.MULTILINE,
)
ROWS = [(int(gpus), int(gb), int(n), words) for gpus, gb, n, words in STARTED.findall(README)]
COMPARED = re.compile(r"^\| (v\d) (\S+) (\S+) \|(.*)\|$", re.MULTILINE)
EACH = [[f"task={task}", f"form={form}"] for task, form in PROBLEMS]
VOCABULARY = 50_000
"""Galactica's."""


def config_of(words: list[str]) -> tuple[str, Config]:
    """The recipe and the settings that a command of paper.sh comes to."""
    picked, rest = launch.pick("paper", words)
    assert rest == []
    recipe = STAGES[picked.stage].recipe
    path = ROOT / "examples" / "configs" / f"{recipe}_gsm8k_{picked.model}.yaml"
    return recipe, load_config(path, [f"{k}={v}" for k, v in picked.settings().items()])


def test_every_stage_of_every_size_has_its_row() -> None:
    told = {(words.split()[0], "model=125m" in words) for _, _, _, words in ROWS}
    assert told == set(itertools.product(STAGES, (False, True)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[3])
def test_a_row_fits_the_gpus_it_names_whatever_the_task(row: tuple[int, int, int, str]) -> None:
    gpus, gigabytes, processes, words = row
    assert gpus == processes
    for picks in EACH:
        recipe, config = config_of([*words.split(), *picks])
        # The folders that a run starts from are on nobody's machine.
        architecture = architecture_of(dataclasses.replace(config.model, hf="", load=""))
        case = Case(
            architecture=architecture,
            config=config,
            recipe=recipe,
            world=processes,
            vocab=VOCABULARY,
        )
        plan = plan_for(case, GPUS["a100"])
        assert plan.memory.total <= (1 - KEPT_BACK) * gigabytes * 1e9, picks
        room = config.generate.max_prompt_tokens + config.generate.max_new_tokens
        assert room <= architecture.positions
        assert room <= config.optimizer.micro_batch_tokens


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_config_as_it_stands_is_the_run_that_is_picked_by_default(stage: str, size: str) -> None:
    recipe, config = config_of([stage, f"model={size}"])
    path = ROOT / "examples" / "configs" / f"{recipe}_gsm8k_{size}.yaml"
    name, changed = STAGES[stage].name, []
    if stage == "sft":
        changed = [f"run.name=gsm8k-{size}-{name}", "sft.stop_after_epoch=0"]
    assert to_yaml(config) == to_yaml(load_config(path, changed))


def test_the_figures_to_compare_with_are_the_papers() -> None:
    """All cells of the table in examples/README.md, and none left out that is known."""
    header = re.search(r"^\| arXiv 2401.08967 \| (.*) \|$", README, re.MULTILINE)
    assert header
    columns = [column.replace(" ", "-") for column in header[1].split(" | ")]
    rows = COMPARED.findall(README)
    assert len(rows) == 10
    for version, model, method, row in rows:
        cells = [cell.strip() for cell in row.split("|")]
        for column, cell in zip(columns, cells, strict=True):
            figures = PUBLISHED.get(f"{version}/{column}/{model}/{method}", {})
            wanted = f"{100 * figures['top-1'].share:g}" if figures else ""
            assert (f"{float(cell):g}" if cell else "") == wanted, (method, column)


@pytest.mark.parametrize("method", ["SFT", "ReFT"])
@pytest.mark.parametrize("figure", ["vote@100", "rerank@100"])
def test_the_figures_of_the_rows_are_the_papers(method: str, figure: str) -> None:
    """Of GSM8K as programs with 100 samples: first of v1, then of v3."""
    kind = {"vote@100": "test", "rerank@100": "reranker"}[figure]
    shares = [
        PUBLISHED[f"{version}/gsm8k-program/galactica-6.7b/{method}"][figure].share
        for version in ("v1", "v3")
    ]
    row = next(
        line
        for line in README.splitlines()
        if line.startswith(f"| Galactica-6.7B: the {kind} of {method} |")
    )
    first, second = (f"{100 * share:.1f}" for share in shares)
    assert row.endswith(f"{first} for {figure} (table 4), later {second} |")


def test_the_pipeline_of_galactica_6_7b_runs_the_runs_of_the_paper() -> None:
    """Stage by stage the settings are those of the examples, names and places left out."""
    pipeline = read_pipeline(ROOT / "examples" / "configs" / "reproduce_gsm8k_6.7b.yaml")
    stages = {
        "warmup": ["warmup"],
        "sft": ["sft"],
        "samples-train": ["sample"],
        "offline-st": ["offline_sl"],
        "online-st": ["online_sl"],
        "reft": ["ppo"],
        "rerank-sft": ["rerank", "of=sft"],
        "rerank-reft": ["rerank"],
        "samples-sft": ["sample", "of=sft", "split=test"],
        "samples-reft": ["sample", "of=ppo", "split=test"],
    }
    for name, words in stages.items():
        recipe, wanted = config_of(words)
        assert pipeline.stages[name].recipe == recipe
        made = pipeline.config(pipeline.stages[name], pipeline.seeds[0])
        assert to_yaml(anywhere(made)) == to_yaml(anywhere(wanted)), name


def anywhere(config: Config) -> Config:
    """The config without what says where a run lies, without its seed and its workers."""
    return dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, name="run", dir="runs", seed=0),
        model=dataclasses.replace(config.model, load=""),
        task=dataclasses.replace(config.task, data_seed=0),
        rewards=dataclasses.replace(config.rewards, workers=1),
        offline_sl=dataclasses.replace(config.offline_sl, ledger=""),
        rerank=dataclasses.replace(config.rerank, ledger=""),
    )


# Task and form; problems of the paper; of its scripts: epochs of the warm-up, rollout batches of an
# epoch, KL coefficient. The steps of an epoch name the checkpoints there (`global_step_*`).
PAPER = [
    ("gsm8k", "program", 2, 230, 0.01),
    ("gsm8k", "nl", 2, 234, 0.05),
    ("svamp", "program", 2, 96, 0.01),
    ("svamp", "nl", 2, 97, 0.05),
    ("mathqa", "program", 2, 477, 0.01),
    ("mathqa", "nl", 5, 465, 0.05),
    ("mathqa-numeric", "nl", 10, 280, 0.01),
    ("mathqa-numeric", "program", 10, 240, 0.01),
]


@pytest.mark.parametrize(("task", "form", "epochs", "batches", "beta"), PAPER)
def test_the_numbers_of_the_paper(
    *, task: str, form: str, epochs: int, batches: int, beta: float
) -> None:
    picks = [f"task={task}", f"form={form}"]
    _, warmup = config_of(["warmup", *picks])
    assert (warmup.sft.epochs, warmup.sft.stop_after_epoch) == (40, epochs)
    assert (warmup.sft.batch_size, warmup.optimizer.lr) == (48, 1e-5)
    _, sft = config_of(["sft", *picks])
    assert (sft.sft.epochs, sft.sft.stop_after_epoch) == (40, 0)
    _, ppo = config_of(["ppo", *picks])
    assert (ppo.ppo.iterations, ppo.ppo.evaluate_every) == (300 * batches, batches)
    assert (ppo.ppo.kl_coef, ppo.ppo.batch_size, ppo.optimizer.lr) == (beta, 32, 3e-7)
    _, online = config_of(["online_sl", *picks])
    assert (online.online_sl.iterations, online.online_sl.batch_size) == (300 * batches, 32)
    assert (online.optimizer.lr, online.optimizer.schedule) == (3e-7, "constant")
    assert online.model.dropout == 0.1


@pytest.mark.parametrize(("task", "early", "epochs"), [("svamp", 10, 40), ("mathqa", 40, 100)])
def test_the_numbers_of_the_small_models(task: str, early: int, epochs: int) -> None:
    _, warmup = config_of(["warmup", f"task={task}", "model=125m"])
    assert (warmup.sft.epochs, warmup.sft.stop_after_epoch) == (epochs, early)
    assert (warmup.sft.batch_size, warmup.optimizer.lr) == (48, 2e-5)
    _, ppo = config_of(["ppo", f"task={task}", "model=125m"])
    batches = {"svamp": 12, "mathqa": 60}[task]
    assert (ppo.ppo.batch_size, ppo.ppo.iterations) == (256, 700 * batches)
    assert (ppo.optimizer.lr, ppo.ppo.updates_per_batch) == (3e-6, 2)


def test_the_numbers_of_sampling_and_what_learns_from_it() -> None:
    _, sample = config_of(["sample"])
    assert (sample.sample.samples_per_problem, sample.generate.temperature) == (100, 1.0)
    _, offline = config_of(["offline_sl"])
    assert (offline.offline_sl.samples_per_problem, offline.offline_sl.epochs) == (10, 20)
    assert (offline.offline_sl.batch_size, offline.optimizer.lr) == (48, 1e-5)
    _, rerank = config_of(["rerank"])
    assert (rerank.rerank.epochs, rerank.rerank.batch_size) == (3, 24)
    assert (rerank.optimizer.lr, rerank.optimizer.warmup_fraction) == (1e-6, 0.1)
    _, evaluate = config_of(["evaluate"])
    assert (evaluate.evaluate.split, evaluate.evaluate.samples) == ("test", 100)


@pytest.mark.parametrize("size", [*SIZES, "tiny"])
@pytest.mark.parametrize("picks", EACH, ids=" ".join)
def test_a_run_finds_those_before_it(picks: list[str], size: str) -> None:
    stages = STAGES if size in SIZES else ("warmup", "sft", "ppo")
    configs = {stage: config_of([stage, *picks, f"model={size}"])[1] for stage in stages}
    names = {stage: config.run.name for stage, config in configs.items()}
    assert len(set(names.values())) == len(names)
    assert configs["ppo"].model.load == f"runs/{names['warmup']}/checkpoints/latest"
    assert {dataclasses.astuple(config.task) for config in configs.values()} == {
        dataclasses.astuple(configs["ppo"].task)
    }
    if size not in SIZES:
        return
    assert configs["online_sl"].model.load == configs["ppo"].model.load
    assert configs["sample"].model.load == configs["ppo"].model.load
    ledger = f"runs/{names['sample']}/ledger"
    assert configs["offline_sl"].offline_sl.ledger == configs["rerank"].rerank.ledger == ledger
    for stage in ("rerank", "evaluate"):
        assert configs[stage].model.load == f"runs/{names['ppo']}/checkpoints/best"
        _, of_sft = config_of([stage, *picks, f"model={size}", "of=sft"])
        assert of_sft.model.load == f"runs/{names['sft']}/checkpoints/best"


def test_names_tell_what_was_picked() -> None:
    sampled = Run(stage="sample", task="mathqa", form="nl", model="125m", of="ppo", split="test")
    assert sampled.name == "mathqa-nl-125m-reft-test-samples"
    assert sampled.settings()["sample.split"] == "test"
    assert Run(stage="rerank", of="offline_sl").name == "gsm8k-6.7b-offline-sl-reranker"
    assert Run(stage="ppo").name == Run(stage="ppo", of="warmup").name == "gsm8k-6.7b-reft"
    assert Run(stage="ppo", of="sft").name == "gsm8k-6.7b-reft-of-sft"
    assert Run(stage="online_sl", of="ppo").name == "gsm8k-6.7b-online-sl-of-reft"


def test_help_without_a_stage_tells_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.run("examples/paper.sh", ["--help"]) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in [*STAGES, *itertools.chain(*PROBLEMS), *SIZES, "of="])
    with pytest.raises(SystemExit) as end:
        launch.run("examples/paper.sh", ["ppo", "--help"])
    assert end.value.code in (0, None)
    assert "ppo.kl_coef" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("paper", [], "there is no stage ; take one of evaluate, offline_sl, online_sl, ppo, "),
        ("paper", ["task=svamp"], "there is no stage ; take one of evaluate, "),
        ("paper", ["pro"], "there is no stage pro; take one of evaluate, "),
        ("paper", ["ppo", "task=aqua"], "there is no task=aqua; take one of gsm8k, mathqa, "),
        ("paper", ["ppo", "form=words"], "there is no form=words; take one of nl, program."),
        ("paper", ["sft", "of=ppo"], "sft has no of=ppo; it takes none."),
        ("paper", ["rerank", "of=reft"], "rerank has no of=reft; take one of offline_sl, "),
        ("paper", ["ppo", "split=dev"], "ppo has no split=dev; it takes none."),
        ("paper", ["rerank", "model=tiny"], "rerank has no model=tiny; take one of 125m, 6.7b."),
        (
            "ppo_gsm8k",
            ["model=125m", "task=svamp", "run.seed=1"],
            "ppo_gsm8k.sh is GSM8K as programs; for another run: examples/paper.sh ppo "
            "model=125m task=svamp",
        ),
    ],
)
def test_a_word_that_picks_nothing_is_refused(script: str, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as end:
        launch.run(f"examples/{script}.sh", words)
    assert str(end.value).startswith(message)


def test_settings_come_behind_the_picks(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["warmup", "task=svamp", "model=tiny", "--print-config", "run.name=mine"]
    assert launch.run("examples/paper.sh", [*words, "task.form=nl"]) == 0
    shown = capsys.readouterr().out
    assert "  name: mine\n" in shown
    assert "  form: nl\n" in shown
    assert "  train: data/mwp_reft/svamp_python_sdp.json\n" in shown


def test_bash_and_torchrun_start_a_run_of_the_paper() -> None:
    for starter in (["bash"], ["torchrun", "--standalone", "--nproc-per-node", "1"]):
        done = start(
            *(*starter, "examples/paper.sh", "ppo", "task=svamp", "form=nl", "model=tiny"),
            "--print-config",
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n  name: svamp-nl-tiny-reft\n") == 1
