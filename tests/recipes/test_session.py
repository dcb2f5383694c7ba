"""What every run meets before and after its work: bad input, bad steps, a full disk."""

from __future__ import annotations

import math
import re
import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from reft_megatron.config import load_config
from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.ops import kernels
from reft_megatron.policy import StepStats, join
from reft_megatron.policy.huggingface import to_huggingface
from reft_megatron.recipes.order import epoch_order
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import document
from reft_megatron.tasks import load_task
from reft_megatron.tasks.arithmetic import documents
from reft_megatron.tokenizer_training import train_tokenizer
from tests.launch import CONSTANT_LR, Launcher, Run
from tests.ranks import Ranks

pytestmark = pytest.mark.megatron
SMALL = ("sft.epochs=2", "sft.stop_after_epoch=1", "sft.batch_size=16", "checkpoint.every=1")


@pytest.fixture(scope="module")
def small(launch: Launcher) -> Run:
    """One epoch of two steps on two data ranks."""
    return launch(2, "sft", "small", *SMALL)


def test_a_run_begins_with_who_serves_it(small: Run) -> None:
    starts, precision, operators, problems = small.out[0].splitlines()[:4]
    assert starts.startswith("sft small: galactica-tiny, svamp (program), 2 ranks = tensor 1 x ")
    assert precision == "precision: fp32"
    assert operators == f"operators: {kernels.summary()}"
    assert re.fullmatch(r"problems: \d+ train, \d+ dev, \d+ test", problems)


# What is wrong, the settings, and the message; # is any number.
BAD = {
    "no data file": (
        ("task.train=/nowhere/train.json",),
        "DataError: /nowhere/train.json: No such file or directory. The data files are in the "
        "folder data of github.com/lqtrung1998/mwp_ReFT.",
    ),
    "tensor does not divide the world": (
        ("parallel.tensor=4",),
        "ConfigError: parallel.tensor=4 x parallel.pipeline=1 = 4 must divide the number of "
        "processes, which is 2. Start a multiple of 4 processes (torchrun --nproc-per-node) or "
        "change the layout.",
    ),
    "pipeline does not divide the layers": (
        ("parallel.pipeline=2", "parallel.virtual_pipeline=3"),
        "ConfigError: galactica-tiny has 4 layers, which parallel.pipeline x "
        "parallel.virtual_pipeline = 6 does not divide. Choose a layout whose parallel.pipeline x "
        "parallel.virtual_pipeline divides 4, or parallel.virtual_pipeline=1 with "
        "parallel.pipeline_layers=auto.",
    ),
    "no room for a response": (
        ("generate.max_new_tokens=2000",),
        "ConfigError: the prompt of svamp_# has # tokens; with generate.max_new_tokens=2000 "
        "that is more than the positions of galactica-tiny (1024). Lower "
        "generate.max_new_tokens or generate.max_prompt_tokens.",
    ),
    "no tokenizer": (
        ("tokenizer.path=/nowhere/x.model",),
        "ConfigError: cannot read the tokenizer file /nowhere/x.model: No such file or directory; "
        "set tokenizer.path to a sentencepiece .model, a Hugging Face tokenizer.json, or a folder "
        "that holds one",
    ),
    "no such model": (
        ("model.preset=galactica-125",),
        "ConfigError: unknown model.preset 'galactica-125'; the nearest is 'galactica-125m', all "
        "are galactica-tiny, galactica-125m, galactica-1.3b, galactica-6.7b, galactica-30b, "
        "galactica-120b, codellama-7b, codellama-13b, codellama-34b, codellama-70b.",
    ),
    "no such checkpoint": (
        ("model.load=/nowhere",),
        "CheckpointError: /nowhere says nothing of its model: it has no readable meta.json. Point "
        "at a folder written by a finished save. Or name its architecture with model.preset.",
    ),
    "a head that the recipe cannot use": (
        ("model.head=rerank",),
        "ConfigError: sft has no use for model.head=rerank. Set model.head=value. (What each "
        "recipe wants: pretrain value, sft value, ppo value, sample value, offline_sl value, "
        "online_sl value, rerank rerank, evaluate value.)",
    ),
    "no folder to write": (
        ("run.dir=/dev/null",),
        "ConfigError: cannot make the run's folder /dev/null/bad: Not a directory. Choose another "
        "run.dir.",
    ),
}


def number(found: re.Match[str]) -> str:
    """A number that no test cares about."""
    return re.sub(r"\d+", "#", found[0])


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_on_all_ranks(launch: Launcher, case: str) -> None:
    overrides, wanted = BAD[case]
    message = launch.refused(2, "sft", "bad", *overrides)
    assert re.sub(r"\b\d+ tokens|(?<=svamp_)\d+", number, message) == f"reft-megatron: {wanted}\n"


def test_a_run_without_a_model_leaves_no_folder(launch: Launcher) -> None:
    absent = ("model.load=/nowhere", "tokenizer.path=/nowhere/x.model")
    message = launch.refused(1, "evaluate", "unmade", *absent)
    assert message.startswith("reft-megatron: CheckpointError: /nowhere says nothing of its model:")
    assert not (launch.folder / "unmade").exists()


def test_a_malformed_data_file(launch: Launcher, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"item_id": "svamp_1", "question": "?"}\n')
    message = launch.refused(2, "sft", "bad", f"task.train={path}", "task.dev_size=0")
    assert message.startswith(
        f"reft-megatron: DataError: {path}: line 1: field 'answer_value' is missing; the fields "
        "are ['item_id', 'question']. "
    )


def test_heads_that_do_not_divide(launch: Launcher) -> None:
    message = launch.refused(3, "sft", "bad", "parallel.tensor=3")
    assert message == (
        "reft-megatron: ConfigError: galactica-tiny has 4 attention heads, which parallel.tensor "
        "= 3 does not divide. Choose a layout whose parallel.tensor divides 4.\n"
    )


def test_a_model_that_no_memory_holds(launch: Launcher) -> None:
    message = launch.refused(2, "ppo", "bad", "model.preset=galactica-120b")
    lines = message.splitlines()
    assert lines[0].startswith(
        "reft-megatron: ConfigError: galactica-120b as TP x PP x VPP x DP = 1 x 1 x 1 x 2 needs "
    )
    assert "; the largest item is the weights with 483 GB. " in lines[0]
    assert lines[3].split()[:4] == ["1", "1", "1", "2"]
    assert "No layout of 2 ranks fits. What may help:" in lines


def test_a_checkpoint_of_another_tokenizer(launch: Launcher, small: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.model"
    texts = (question for question, _ in documents(count=200, seed=2))
    train_tokenizer(texts, other, vocab_size=400)
    overrides = (f"tokenizer.path={other}", f"model.load={small.checkpoint(2)}")
    message = launch.refused(2, "sft", "bad", *overrides)
    assert message == (
        f"reft-megatron: CheckpointError: {small.checkpoint(2)} was written for vocab_size 560, "
        "but this run has 400. Use the settings of the run that wrote it, or another checkpoint.\n"
    )


def test_a_half_written_checkpoint(launch: Launcher, small: Run, tmp_path: Path) -> None:
    half = shutil.copytree(small.checkpoint(2), tmp_path / "half")
    (half / "manifest.json").unlink()
    message = launch.refused(2, "ppo", "bad", f"model.load={half}")
    assert message == (
        f"reft-megatron: CheckpointError: {half} is not a complete checkpoint: it has no readable "
        "manifest.json. Point at a folder written by a finished save.\n"
    )


def test_other_settings_cannot_resume(launch: Launcher, small: Run) -> None:
    before = small.content("**/*")
    message = launch.refused(2, "sft", small.folder.name, *SMALL, "optimizer.lr=0.5")
    assert message == (
        f"reft-megatron: CheckpointError: {small.folder} holds a run with other settings: "
        "optimizer.lr: 0.003 -> 0.5. Resume it with its own, or choose another run.name.\n"
    )
    assert small.content("**/*") == before


def test_a_link_is_followed_once(launch: Launcher, small: Run) -> None:
    """`latest` moves on; what a run started from, and is measured against, does not."""
    latest = small.folder / "checkpoints" / "latest"
    run = launch(1, "sft", "linked", *SMALL, f"model.load={latest}")
    assert f"load: {small.checkpoint(2)}\n" in (run.folder / "config.yaml").read_text()


def export(run: Run, step: int, folder: Path) -> Path:
    """The checkpoint of a step as a Hugging Face folder."""
    to_huggingface(run.checkpoint(step), folder, world=Axis())
    return folder


def test_a_run_that_goes_on_needs_its_first_weights_no_more(
    launch: Launcher, small: Run, tmp_path: Path
) -> None:
    """Its checkpoint replaces them; what says which model they are of is still read."""
    folder = export(small, 2, tmp_path / "hf")
    start = (f"model.hf={folder}", "sft.epochs=2", "sft.batch_size=16", "checkpoint.every=1")
    whole = launch(1, "sft", "whole", *start)
    launch(1, "sft", "halved", *start, "sft.stop_after_epoch=1")
    (weights,) = folder.glob("*.safetensors")
    weights.unlink()
    halved = launch(1, "sft", "halved", *start)
    assert halved.series("train/loss") == whole.series("train/loss")


def play_roomy(overrides: tuple[str, ...], folder: Path) -> tuple[str, int, int]:
    """The model's name and the room for a response, before and after its description is gone."""
    config = load_config(None, overrides)
    with Session(config, "sft") as session:
        policy = session.build(total_steps=None)
        (folder / "config.json").unlink()
        return (
            policy.architecture.name,
            len(document(session, "a", "b", name="a document").tokens),
            len(session.answerer.fitting(session.task.problems("train"))),
        )


def test_the_model_is_asked_once_what_it_is(
    launch: Launcher, small: Run, ranks: Ranks, tmp_path: Path
) -> None:
    folder = export(small, 2, tmp_path / "hf")
    overrides = (*launch.base, "task.train_size=4", f"model.hf={folder}")
    ((name, tokens, problems),) = ranks(1, play_roomy, overrides, folder)
    assert name == "opt-4x96"
    assert tokens > 1
    assert problems == 4


def play_weights(folder: Path) -> list[str]:
    """What each rank takes the weights for: the main rank sees `folder`, or it alone does not."""
    told = []
    mesh = join(load_config(None).parallel, seed=0, timeout_s=300, threads=1)
    for there in (mesh.main, not mesh.main):
        load = folder if there else folder / "gone"
        session = SimpleNamespace(mesh=mesh, config=load_config(None, [f"model.load={load}"]))
        try:
            told.append(Session.weights.func(session))
        except CheckpointError as error:
            told.append(str(error))
    return told


def test_the_main_rank_says_for_all_what_the_weights_are(ranks: Ranks, tmp_path: Path) -> None:
    """Ranks may see a shared folder at different moments, and one must not raise alone."""
    (tmp_path / "manifest.json").write_text("{}")
    first, second = ranks(2, play_weights, tmp_path)
    assert first == second
    assert re.fullmatch("[0-9a-f]{32}", first[0])
    assert first[1].startswith(f"there are no weights in {tmp_path}/gone")


def test_a_skipped_step_accuses_only_bad_batches() -> None:
    said: list[str] = []
    for loss, told in ((math.nan, "; )"), (1.0, "; rank 0: problems a, b)")):
        session = SimpleNamespace(
            skipped=0,
            mesh=Mesh.single(),
            log=SimpleNamespace(say=said.append),
            config=load_config(None),
        )
        stats = StepStats(
            applied=False, loss=loss, grad_norm=math.inf, lr=0.1, sums={}, bad_batches=()
        )
        Session.count_skip(session, stats, 3, ["a", "b"])
        assert said[-1].endswith(told)


def test_a_used_folder(launch: Launcher, small: Run) -> None:
    before = small.content("**/*")
    message = launch.refused(2, "sft", "small", *SMALL, "run.resume=false")
    assert message == (
        f"reft-megatron: CheckpointError: {small.folder}/checkpoints already holds checkpoints "
        "and run.resume is false. Set run.resume=true to continue, or choose another run.name.\n"
    )
    message = launch.refused(2, "ppo", "small")
    assert message == (
        f"reft-megatron: ConfigError: {small.folder} holds a run of the recipe sft, and this is "
        "ppo, which would mix its results with those. Choose another run.name.\n"
    )
    first = (small.folder / "config.yaml").read_text().splitlines()[0]
    assert first == f"# reft-megatron sft --config {small.folder / 'config.yaml'}"
    assert small.content("**/*") == before


def test_a_used_folder_of_before_the_recipe_was_written_down(launch: Launcher, small: Run) -> None:
    """Its checkpoints say it."""
    old = shutil.copytree(small.folder, launch.folder / "small-old", symlinks=True)
    settings = (old / "config.yaml").read_text().partition("\n")[2]
    (old / "config.yaml").write_text(settings)
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    for recipe in ("ppo", "evaluate", "sample"):
        message = launch.refused(1, recipe, "small-old")
        assert message == (
            f"reft-megatron: ConfigError: {old} holds a run of the recipe sft, and this is "
            f"{recipe}, which would mix its results with those. Choose another run.name.\n"
        )
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_what_one_rank_meets_ends_all(launch: Launcher, small: Run) -> None:
    """Only the main rank reads the metrics file; the other must not wait for ever."""
    metrics = small.folder / "metrics.jsonl"
    good = metrics.read_text()
    metrics.write_text("oops\n" + good)
    run = launch.start(2, "sft", "small", *SMALL, "sft.stop_after_epoch=2")
    run.wait()
    metrics.write_text(good)
    assert run.codes == [1, 1]
    assert run.err[0] == (
        f"reft-megatron: DataError: {metrics}, line 1: wanted one JSON object per line, saw "
        "'oops'. Repair or remove the file.\n"
    )


def test_a_full_disk(launch: Launcher, small: Run) -> None:
    """No file may grow past 100 kB: what a checkpoint needs, and metrics do not."""
    before = small.content("checkpoints/**/*")
    run = launch.start(2, "sft", "small", *SMALL, "sft.stop_after_epoch=2")
    for pid in run.pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    run.wait()
    assert run.codes == [1, 1]
    assert run.err[0] == run.err[1]
    assert re.fullmatch(
        r"reft-megatron: CheckpointError: the checkpoint could not be (begun|written): .*File too "
        r"large.*\. Earlier checkpoints are untouched; free disk space or choose another "
        r"folder\.\n",
        run.err[0],
        re.DOTALL,
    ), run.err[0]
    assert small.content("checkpoints/**/*") == before


def test_steps_that_are_not_finite_are_skipped_and_named(launch: Launcher) -> None:
    """The first step ruins the weights; the second is skipped, and the third is one too many."""
    wild = (*CONSTANT_LR, "optimizer.lr=1e30", "optimizer.clip_grad=0", "run.max_skipped_steps=1")
    run = launch.start(2, "sft", "wild-sft", *wild, "sft.batch_size=4", "sft.epochs=1")
    run.wait()
    assert run.codes == [1, 1]
    assert run.err[0] == run.err[1]
    assert run.series("train/skipped_steps") == [0, 1]
    assert run.series("train/loss")[1] is None
    told = re.fullmatch(
        r"reft-megatron: TrainingError: 2 optimizer steps were skipped for a loss or gradient "
        r"that is not finite, more than run.max_skipped_steps=1; the last was step 3 \(loss nan, "
        r"gradient norm nan; rank 0: problems ([^;]*); rank 1: problems ([^;]*)\). Lower "
        r"optimizer.lr or look at those problems.\n",
        run.err[0],
    )
    assert told, run.err[0]
    config = launch.config()
    train = load_task(config.task).train
    third = [train[i].id for i in epoch_order(len(train), seed=0, epoch=1)[8:12]]
    assert sorted([*told[1].split(", "), *told[2].split(", ")]) == sorted(third)
    assert not run.has(1)
