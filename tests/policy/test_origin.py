"""What a policy is made from, and the files that travel with it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from reft_megatron.config import Config, ModelConfig, RunConfig, TokenizerConfig
from reft_megatron.errors import CheckpointError, ConfigError, ReftError
from reft_megatron.policy import join
from reft_megatron.policy.families import family_of, find_architecture
from reft_megatron.policy.meta import identity
from reft_megatron.policy.origin import (
    architecture_of,
    tokenizer_path,
    travelling_files,
    weights_fingerprint,
)
from tests.policy.scene import (
    EOS,
    LAYOUTS,
    ONE,
    PAD,
    TOKENIZER,
    VOCAB,
    configure,
    open_policy,
)
from tools.random_checkpoint import word_tokenizer

WORDS = word_tokenizer(VOCAB)

TINY = find_architecture("galactica-tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tree = {**family_of(TINY).write(TINY, 86), "model_type": "opt"}
    (tmp_path / "config.json").write_text(json.dumps(tree))
    (tmp_path / "generation_config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text(WORDS)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    (tmp_path / "README.md").write_text("not for the road")
    return tmp_path


def test_without_a_word_it_is_the_tiny_one():
    assert architecture_of(ModelConfig()) == TINY
    assert architecture_of(ModelConfig(preset="codellama-7b")).name == "codellama-7b"


def test_a_folder_says_what_it_holds(folder: Path):
    found = architecture_of(ModelConfig(hf=str(folder)))
    assert replace(found, name=TINY.name, vocab=0) == TINY
    assert found.vocab == 86


def test_a_preset_beside_a_folder_must_be_the_same_model(folder: Path):
    assert architecture_of(ModelConfig(hf=str(folder), preset="galactica-tiny")).vocab == 86
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, "init_std": 0.02}))
    architecture_of(ModelConfig(hf=str(folder), preset="galactica-tiny"))
    with pytest.raises(ConfigError, match=r"are different models: layers 12 and 4; hidden 768 and"):
        architecture_of(ModelConfig(hf=str(folder), preset="galactica-125m"))


def test_weights_come_from_one_place(folder: Path):
    with pytest.raises(ConfigError, match="both set, and each brings weights"):
        architecture_of(ModelConfig(hf=str(folder), load="somewhere"))


def test_a_checkpoint_says_what_it_holds(tmp_path: Path):
    meta = {"architecture": identity(TINY, rows=86)}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    found = architecture_of(ModelConfig(load=str(tmp_path)))
    assert found.name == "galactica-tiny"
    assert asdict(replace(found, name=TINY.name, vocab=0)) == asdict(TINY)
    (tmp_path / "meta.json").write_text('{"architecture": {"name": ""}}')
    with pytest.raises(CheckpointError, match="describes no model that is known"):
        architecture_of(ModelConfig(load=str(tmp_path)))
    with pytest.raises(CheckpointError, match=r"has no readable meta\.json"):
        architecture_of(ModelConfig(load=str(tmp_path / "none")))


def test_the_tokenizer_comes_with_the_model_unless_it_is_named(folder: Path, tmp_path: Path):
    config = Config(model=ModelConfig(hf=str(folder)))
    assert tokenizer_path(config) == str(folder)
    assert tokenizer_path(replace(config, tokenizer=TokenizerConfig(path="x"))) == "x"
    assert tokenizer_path(Config()) == ""
    (tmp_path / "ckpt" / "huggingface").mkdir(parents=True)
    load = str(tmp_path / "ckpt")
    assert tokenizer_path(Config(model=ModelConfig(load=load))) == f"{load}/huggingface"
    with pytest.raises(CheckpointError, match="there is no checkpoint nowhere, which would bring"):
        tokenizer_path(Config(model=ModelConfig(load="nowhere")))


def test_settings_and_tokenizer_travel(folder: Path):
    config = Config(model=ModelConfig(hf=str(folder)))
    whole = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(travelling_files(config, TOKENIZER)) == whole
    own = folder / "own.json"
    own.write_text(WORDS)
    same = replace(config, tokenizer=TokenizerConfig(path=str(own)))
    assert set(travelling_files(same, TOKENIZER)) == whole, "the same tokenizer under another name"
    own.write_text(WORDS + "\n")
    other = replace(config, tokenizer=TokenizerConfig(path=str(own)))
    assert set(travelling_files(other, TOKENIZER)) == whole - {"tokenizer_config.json"}
    assert travelling_files(other, TOKENIZER)["tokenizer.json"].endswith(b"\n")
    assert travelling_files(Config(), TOKENIZER) == {}


def test_a_folder_may_lack_a_tokenizer_that_is_named(folder: Path, tmp_path: Path):
    own = tmp_path / "own.json"
    (folder / "tokenizer.json").rename(own)
    config = Config(model=ModelConfig(hf=str(folder)), tokenizer=TokenizerConfig(path=str(own)))
    found = travelling_files(config, TOKENIZER)
    assert set(found) == {"config.json", "generation_config.json", "tokenizer.json"}


def test_ids_of_the_old_tokenizer_stay_behind(folder: Path):
    old = {"bos_token_id": 40, "eos_token_id": [41, 42], "sep_token_id": 43}
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, **old}))
    (folder / "generation_config.json").write_text('{"eos_token_id": 41, "top_p": 0.9}')
    config = Config(model=ModelConfig(hf=str(folder)))
    as_it_is = travelling_files(config, TOKENIZER)["config.json"]
    assert as_it_is == (folder / "config.json").read_bytes()
    own = folder / "own.json"
    own.write_text(word_tokenizer(80))
    found = travelling_files(replace(config, tokenizer=TokenizerConfig(path=str(own))), TOKENIZER)
    ids = {"bos_token_id": None, "eos_token_id": EOS, "pad_token_id": PAD}
    assert json.loads(found["config.json"]) == {**tree, **ids, "sep_token_id": None}
    assert json.loads(found["generation_config.json"]) == {**ids, "top_p": 0.9}


def play_travelling(path: Path) -> tuple[list[str], str]:
    """Names of the files that this rank holds, and what it says once they are gone."""
    with_path = f"tokenizer.path={path}"
    held = sorted(open_policy(LAYOUTS["dp2"], with_path, total_steps=None)._files)
    join(configure(ONE).parallel, seed=0, timeout_s=300).world.barrier()
    path.unlink(missing_ok=True)
    try:
        open_policy(LAYOUTS["dp2"], with_path, total_steps=None)
    except ReftError as error:
        return held, str(error)
    return held, "no error"


@pytest.mark.megatron
def test_only_the_rank_that_writes_holds_them(ranks, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    path.write_text(WORDS)
    (main, said), (other, repeated) = ranks(2, play_travelling, path)
    assert (main, other) == (["tokenizer.json"], [])
    assert said == repeated
    assert str(path) in said


def test_weights_are_known_again(tmp_path: Path):
    """By both ends of their files; where they are random, by the seed."""
    folder, path = tmp_path / "model", tmp_path / "model" / "model.safetensors"
    folder.mkdir()
    path.write_bytes(bytes(300_000))
    config = Config(model=ModelConfig(hf=str(folder)))
    before = weights_fingerprint(config)
    moved = folder.rename(tmp_path / "moved")
    config = Config(model=ModelConfig(hf=str(moved)))
    assert before == weights_fingerprint(config), "wherever they are"
    seen = {before}
    for place in (0, 299_999):
        changed = bytearray(300_000)
        changed[place] = 1
        (moved / path.name).write_bytes(changed)
        seen.add(weights_fingerprint(config))
    for manifest in ("{}", " {}"):
        (moved / "manifest.json").write_text(manifest)
        seen.add(weights_fingerprint(config))
    (moved / path.name).write_bytes(b"")
    assert weights_fingerprint(config) in seen, "a manifest has the checksums of all"
    seen |= {weights_fingerprint(Config(run=RunConfig(seed=seed))) for seed in (0, 1)}
    assert len(seen) == 7


def test_weights_that_are_not_there_have_no_fingerprint(tmp_path: Path):
    """Two runs from folders that are gone must not seem to start from the same weights."""
    (tmp_path / "empty").mkdir()
    for name in ("gone", "empty"):
        for model in (ModelConfig(hf=str(tmp_path / name)), ModelConfig(load=str(tmp_path / name))):
            with pytest.raises(CheckpointError) as caught:
                weights_fingerprint(Config(model=model))
            assert str(caught.value) == (
                f"there are no weights in {tmp_path / name}, which the run starts from. Set "
                "model.load or model.hf to a folder that has some."
            )


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])
def test_weights_that_cannot_be_read_are_named(tmp_path: Path, name: str):
    # A file that is there, and that the kernel does not let anybody read from its beginning.
    (tmp_path / name).symlink_to("/proc/self/mem")
    with pytest.raises(CheckpointError) as caught:
        weights_fingerprint(Config(model=ModelConfig(load=str(tmp_path))))
    assert str(caught.value) == (
        f"cannot read {tmp_path / name}, of the weights that the run starts from: Input/output "
        "error. Mend it, or start from another folder."
    )
