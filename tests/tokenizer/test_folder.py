"""Tests of the folder of a Hugging Face checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

from reft_megatron.errors import ConfigError
from reft_megatron.tokenizer import load_tokenizer
from reft_megatron.tokenizer.coder import Ends, read_coder
from reft_megatron.tokenizer.folder import tokenizer_file, tokenizer_files, told_ends
from tests.tokenizer.specimens import WANTED, galactica_folder, llama_folder, write_settings

START_REF = 4


@pytest.fixture(scope="module")
def galactica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return galactica_folder(tmp_path_factory.mktemp("galactica"))


@pytest.fixture
def folder(galactica: Path, tmp_path: Path) -> Path:
    """Galactica's tokenizer, and nothing beside it."""
    (tmp_path / "tokenizer.json").write_bytes((galactica / "tokenizer.json").read_bytes())
    return tmp_path


def told(folder: Path) -> Ends:
    file = tokenizer_file(folder)
    return told_ends(file, read_coder(file))


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as error:
        told(folder)
    return str(error.value).replace(f"{folder}/", "")


def test_galactica_tells_of_its_tokens_in_config_alone(galactica: Path) -> None:
    assert told(galactica) == Ends(eos=2, pad=1, bos=0)


def test_codellama_has_no_padding(tmp_path: Path) -> None:
    assert told(llama_folder(tmp_path)) == Ends(eos=2, bos=1)


def test_silent_files(folder: Path) -> None:
    assert told(folder) == Ends()
    write_settings(
        folder,
        tokenizer_config={"eos_token": None},
        special_tokens_map={},
        generation_config={"pad_token_id": None},
        config={"pad_token_id": -1, "eos_token_id": []},
    )
    assert told(folder) == Ends()


SPEAKERS = {
    "tokenizer_config": {"pad_token": "[START_REF]"},
    "special_tokens_map": {"pad_token": {"content": "<unk>"}},
    "generation_config": {"pad_token_id": 2},
    "config": {"pad_token_id": 1},
}


@pytest.mark.parametrize(("silent", "pad"), [(0, START_REF), (1, 3), (2, 2), (3, 1)])
def test_the_first_that_speaks_of_padding_counts(folder: Path, silent: int, pad: int) -> None:
    write_settings(folder, **dict(list(SPEAKERS.items())[silent:]))
    assert told(folder) == Ends(pad=pad)


@pytest.mark.parametrize(
    ("files", "eos"),
    [
        ({"config": {"eos_token_id": [3, 2]}}, 3),
        ({"config": {"eos_token_id": [3, 2]}, "tokenizer_config": {"eos_token": "</s>"}}, 2),
        ({"config": {"eos_token_id": 2}, "generation_config": {"eos_token_id": [3, 2]}}, 2),
        ({"special_tokens_map": {"eos_token": "</s>"}, "config": {"eos_token_id": 2}}, 2),
    ],
)
def test_the_first_end_of_sequence_that_all_name(
    folder: Path, files: dict[str, object], eos: int
) -> None:
    assert told(write_settings(folder, **files)) == Ends(eos=eos)


def test_files_that_do_not_agree(folder: Path) -> None:
    write_settings(
        folder,
        tokenizer_config={"eos_token": "</s>"},
        generation_config={"eos_token_id": [2, 3]},
        config={"eos_token_id": 3},
    )
    assert refusal(folder) == (
        f"the files of {folder} do not agree on the id of the end-of-sequence token: "
        "tokenizer_config.json says 2, generation_config.json says 2, 3, config.json says 3. "
        "Correct those that are wrong."
    )


@pytest.mark.parametrize(
    ("name", "settings", "what"),
    [
        ("tokenizer_config", {"pad_token": "[PAD]"}, "pad_token '[PAD]'"),
        ("tokenizer_config", {"eos_token": 2}, "eos_token 2"),
        ("special_tokens_map", {"bos_token": {"content": "<bos>"}}, "bos_token '<bos>'"),
        ("generation_config", {"eos_token_id": [2, 1000]}, "eos_token_id 1000"),
        ("config", {"pad_token_id": -2}, "pad_token_id -2"),
        ("config", {"eos_token_id": "</s>"}, "eos_token_id '</s>'"),
    ],
)
def test_tokens_that_are_not_there(
    folder: Path, name: str, settings: dict[str, object], what: str
) -> None:
    write_settings(folder, **{name: settings})
    assert refusal(folder) == (
        f"{name}.json tells of {what}, which tokenizer.json does not have: "
        "correct the one that is wrong"
    )


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens": {"<work>": 1000}},
        {"tokenizer_config": {"added_tokens_decoder": {"1000": {"content": "<work>"}}}},
    ],
)
def test_tokens_that_only_the_library_would_add(folder: Path, files: dict[str, object]) -> None:
    assert refusal(write_settings(folder, **files)) == (
        "tokenizer.json has no token '<work>' with id 1000, which a file beside it adds: save the "
        "tokenizer anew, as a tokenizer.json that holds every token"
    )


def test_added_tokens_that_the_file_has(folder: Path) -> None:
    write_settings(
        folder,
        added_tokens={"[START_REF]": START_REF},
        tokenizer_config={"added_tokens_decoder": {"2": {"content": "</s>", "special": True}}},
    )
    assert told(folder) == Ends()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"added_tokens_decoder": {"x": {}}}'])
def test_damaged_files(folder: Path, content: str) -> None:
    (folder / "tokenizer_config.json").write_text(content)
    assert refusal(folder) == (
        "tokenizer_config.json is damaged: it is not as Hugging Face writes it; fetch it anew"
    )


@pytest.mark.parametrize(("make", "does"), [(galactica_folder, False), (llama_folder, True)])
def test_a_dummy_prefix_that_the_file_denies(
    tmp_path: Path, make: Callable[[Path], Path], does: bool
) -> None:
    folder = make(tmp_path)
    for said in (None, does):
        write_settings(folder, tokenizer_config={"add_prefix_space": said})
        assert told(folder).eos == 2
    write_settings(folder, tokenizer_config={"add_prefix_space": not does})
    assert refusal(folder) == (
        f"tokenizer_config.json has add_prefix_space {json.dumps(not does)}, but "
        f"{tokenizer_file(folder).name} adds {'a' if does else 'no'} space where a text begins: "
        "correct the one that is wrong"
    )


def test_tokenizer_json_goes_first(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").touch()
    assert tokenizer_file(tmp_path) == tmp_path / "tokenizer.model"
    (tmp_path / "tokenizer.json").touch()
    assert tokenizer_file(str(tmp_path)) == tmp_path / "tokenizer.json"


def test_a_file_is_itself(tmp_path: Path) -> None:
    assert tokenizer_file("any/name.model") == Path("any/name.model")


@pytest.mark.parametrize("ask", [tokenizer_file, tokenizer_files])
def test_no_tokenizer(tmp_path: Path, ask: Callable[[object], object]) -> None:
    with pytest.raises(ConfigError) as error:
        ask("")
    assert str(error.value) == f"no tokenizer: {WANTED}"
    with pytest.raises(ConfigError) as error:
        ask(tmp_path)
    assert str(error.value) == (
        f"the folder {tmp_path} holds neither tokenizer.json nor tokenizer.model: {WANTED}"
    )


def test_the_parts_of_a_tokenizer_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    """As facebook/opt-* has them: GPT-2's files, with OPT's special tokens at the front."""
    ends = {"eos_token": "</s>", "bos_token": "</s>", "pad_token": "<pad>", "unk_token": "</s>"}
    letters = sorted(ByteLevel.alphabet())
    names = ["<s>", "<pad>", "</s>", *letters, "th", "the"]
    (tmp_path / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nt h\nth e\n")
    write_settings(
        tmp_path,
        config={"model_type": "opt"},
        tokenizer_config={"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, **ends},
    )
    with pytest.raises(ConfigError) as error:
        load_tokenizer(tmp_path)
    assert str(error.value) == (
        f"the folder {tmp_path} holds its tokenizer as vocab.json and merges.txt alone, and "
        "tokenizer.json is wanted. Save one with transformers: "
        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )
    AutoTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    ours = load_tokenizer(tmp_path)
    assert (ours.eos_id, ours.pad_id) == (2, 1)
    assert ours.encode("the")[-1] == names.index("the")


def test_the_files_that_travel(folder: Path) -> None:
    names = ["tokenizer_config", "special_tokens_map", "added_tokens", "vocab", "chat_template"]
    write_settings(folder, config={}, generation_config={}, **{name: {} for name in names})
    for name in ("merges.txt", "chat_template.jinja", "tokenizer.model", "model.safetensors"):
        (folder / name).touch()
    expected = {"tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja"}
    expected |= {f"{name}.json" for name in names}
    assert tokenizer_files(folder) == {name: folder / name for name in expected}


def test_a_file_travels_under_its_usual_name(files: dict[str, Path]) -> None:
    assert tokenizer_files(files["ours"]) == {"tokenizer.model": files["ours"]}
    assert tokenizer_files(str(files["galactica"])) == {"tokenizer.json": files["galactica"]}
