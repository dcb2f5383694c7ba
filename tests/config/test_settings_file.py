"""Settings from files and overrides, and back to text."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from reft_megatron.config import (
    Config,
    ModelConfig,
    PpoConfig,
    RunConfig,
    describe,
    load_config,
    to_yaml,
)
from reft_megatron.config.settings_file import recipe_in, write_settings
from reft_megatron.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def complaint(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    return str(error.value)


def test_no_file_gives_the_defaults() -> None:
    assert load_config(None) == Config()


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing\n")) == Config()


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    path = write(tmp_path, "run: {name: warm}\nppo:\n  kl_coef: 0.05\nmodel: {}\n")
    expected = dataclasses.replace(
        Config(), run=RunConfig(name="warm"), ppo=PpoConfig(kl_coef=0.05)
    )
    assert load_config(path) == expected


def test_overrides_win_over_the_file_and_the_last_wins(tmp_path: Path) -> None:
    path = write(tmp_path, "ppo: {iterations: 5, gamma: 0.5}\n")
    config = load_config(path, ["ppo.iterations=6", "ppo.iterations=7", "model.precision=bf16"])
    assert (config.ppo.iterations, config.ppo.gamma) == (7, 0.5)
    assert config.model == ModelConfig(precision="bf16")


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("model.load=", "model", "load", ""),
        ("run.name=a=b", "run", "name", "a=b"),
        ("run.name={", "run", "name", "{"),
        ("run.resume=false", "run", "resume", False),
        ("optimizer.lr=3e-7", "optimizer", "lr", 3e-7),
        ("optimizer.lr=1", "optimizer", "lr", 1.0),
        ("parallel.tensor=2", "parallel", "tensor", 2),
        ("parallel.pipeline_layers=[7, 5]", "parallel", "pipeline_layers", (7, 5)),
        ("parallel.pipeline_layers=even", "parallel", "pipeline_layers", "even"),
    ],
)
def test_the_value_of_an_override(
    override: str, section: str, name: str, value: str | float
) -> None:
    seen = getattr(getattr(load_config(None, [override]), section), name)
    assert (type(seen), seen) == (type(value), value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "ppo.iteration=3",
            "unknown setting ppo.iteration; the nearest known one is ppo.iterations. "
            "`--help` lists them all.",
        ),
        (
            "pppo.iterations=3",
            "unknown setting pppo; the nearest known one is ppo. `--help` lists them all.",
        ),
        (
            "parallel.tp=2",
            "unknown setting parallel.tp; the nearest known one is parallel.tensor. "
            "`--help` lists them all.",
        ),
        ("ppo.iterations", "an override reads section.key=value, saw 'ppo.iterations'."),
        ("iterations=3", "an override reads section.key=value, saw 'iterations=3'."),
        (".iterations=3", "an override reads section.key=value, saw '.iterations=3'."),
        ("ppo.=3", "an override reads section.key=value, saw 'ppo.=3'."),
        (
            "ppo.iterations=0",
            "bad setting: ppo.iterations: Input should be greater than or equal to 1 (seen: 0)",
        ),
        (
            "ppo.clip_range=0",
            "bad setting: ppo.clip_range: Input should be greater than 0 (seen: 0)",
        ),
        (
            "ppo.gamma=1.5",
            "bad setting: ppo.gamma: Input should be less than or equal to 1 (seen: 1.5)",
        ),
        (
            "optimizer.lr=.nan",
            "bad setting: optimizer.lr: Input should be greater than 0 (seen: nan)",
        ),
        (
            "optimizer.lr=.inf",
            "bad setting: optimizer.lr: wanted a finite number (seen: inf)",
        ),
        (
            "optimizer.lr=true",
            "bad setting: optimizer.lr: wanted a finite number (seen: True)",
        ),
        (
            "sft.epochs=true",
            "bad setting: sft.epochs: wanted a finite number (seen: True)",
        ),
        (
            "model.precision=fp16",
            "bad setting: model.precision: Input should be 'fp32', 'bf16', 'fp8_rollout' or 'fp8' "
            "(seen: 'fp16')",
        ),
        (
            "run.resume=perhaps",
            "bad setting: run.resume: Input should be a valid boolean, unable to interpret input "
            "(seen: 'perhaps')",
        ),
        (
            "sft.epochs=2.5",
            "bad setting: sft.epochs: Input should be a valid integer, got a number with a "
            "fractional part (seen: 2.5)",
        ),
    ],
)
def test_a_bad_override(override: str, expected: str) -> None:
    assert complaint(None, override) == expected


def test_every_bad_value_is_told_at_once() -> None:
    assert complaint(None, "sft.epochs=0", "ppo.lam=2") == (
        "bad setting: sft.epochs: Input should be greater than or equal to 1 (seen: 0); "
        "ppo.lam: Input should be less than or equal to 1 (seen: 2)"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ppo: {kl: 1}\n",
            "unknown setting ppo.kl; the nearest known one is ppo.kl_coef. "
            "`--help` lists them all.",
        ),
        (
            "- a\n",
            "the config file {path} must hold `section:` blocks, saw ['a'].",
        ),
    ],
)
def test_a_bad_file(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    assert complaint(path) == expected.replace("{path}", str(path))


def test_a_section_that_is_no_block(tmp_path: Path) -> None:
    path = write(tmp_path, "ppo: 3\n")
    assert complaint(path, "ppo.iterations=1") == "`ppo` must be a block of settings, saw 3."
    assert complaint(path).startswith("bad setting: ppo: ")


def test_a_file_that_is_not_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "ppo: [1\n")
    with pytest.raises(yaml.YAMLError) as cause:
        yaml.safe_load(path.read_text())
    assert complaint(path) == f"the config file {path} is not valid YAML: {cause.value}"


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("run: {name: \u00fc}\n".encode("latin-1"))
    assert complaint(path).startswith(f"the config file {path} is not UTF-8 text: 'utf-8' codec")
    path.write_bytes("run: {name: \u00fc}\n".encode())
    assert load_config(path).run.name == "\u00fc"


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    assert complaint(path) == f"cannot read the config file {path}: No such file or directory."


def test_yaml_reads_back_to_an_equal_value(tmp_path: Path) -> None:
    config = load_config(None, ["optimizer.lr=3e-7", "run.name='no'", "task.form=nl"])
    again = load_config(write(tmp_path, to_yaml(config)))
    assert again == config
    assert to_yaml(again) == to_yaml(config)


def test_yaml_names_every_setting() -> None:
    tree = yaml.safe_load(to_yaml(Config()))
    keys = [f"{section}.{name}" for section, block in tree.items() for name in block]
    assert keys == [key for key, _, _ in describe()]


def test_describe_has_a_default_and_a_meaning_for_every_setting() -> None:
    rows = describe()
    sections = dataclasses.fields(Config)
    assert len(rows) == sum(
        len(dataclasses.fields(getattr(Config(), section.name))) for section in sections
    )
    assert [key for key, _, meaning in rows if not meaning.endswith((".", ")"))] == []
    assert ("ppo.kl_coef", "0.01") in [(key, default) for key, default, _ in rows]
    assert ("ppo.iterations", "1000", "Rollout batches.") in rows


def test_the_text_changes_with_any_setting() -> None:
    chosen = {
        "model.head": "rerank",
        "model.precision": "bf16",
        "model.recompute": "full",
        "ppo.truncated_reward": "zero",
        "sample.split": "test",
        "rerank.select": "loss",
        "evaluate.split": "train",
        "task.name": "gsm8k",
        "task.form": "nl",
        "task.answers": "letter",
        "task.parity": "reference",
        "optimizer.schedule": "cosine",
        "rewards.isolation": "process",
        "model.reference_waits": "host",
        "fp8.provider": "te",
        "fp8.te_recipe": "blockwise",
        "rollouts.importance_cap": "1.5",
        "parallel.pipeline_layers": "[7, 5]",
        "rollouts.mismatch_warn": "1.5",
        "rollouts.mismatch_stop": "1.5",
    }
    other = {str: "other", int: "777", float: "0.77"}
    texts = {to_yaml(Config())}
    for key, _, _ in describe():
        section, _, name = key.partition(".")
        value = getattr(getattr(Config(), section), name)
        text = str(not value) if isinstance(value, bool) else chosen.get(key, other[type(value)])
        texts.add(to_yaml(load_config(None, [f"{key}={text}"])))
    assert len(texts) == len(describe()) + 1


def test_a_setting_that_is_a_text_is_taken_as_it_stands() -> None:
    config = load_config(None, ["run.name=2024-01-02", "run.dir=on", "model.load=1e3"])
    assert (config.run.name, config.run.dir, config.model.load) == ("2024-01-02", "on", "1e3")
    with pytest.raises(ConfigError, match=r"run\.name: String should have at least 1 character"):
        load_config(None, ["run.name="])


def test_the_recipe_is_written_beside_the_settings(tmp_path: Path) -> None:
    assert recipe_in(tmp_path) == ""
    config = load_config(None, ["run.seed=3"])
    write_settings(tmp_path, config, "online_sl")
    assert recipe_in(tmp_path) == "online_sl"
    path = tmp_path / "config.yaml"
    assert path.read_text().startswith(f"# reft-megatron online_sl --config {path}\n")
    assert load_config(path) == config
    path.write_text(to_yaml(config))
    assert recipe_in(tmp_path) == "", "nobody wrote it down"
