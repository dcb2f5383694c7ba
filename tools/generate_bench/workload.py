"""What is generated: prompts, lengths of responses, a model of random weights.

Owns the choice of texts. Where the data folder is at hand, questions are GSM8K's and responses are
as long as programs that models wrote for them; else questions are those of the generated task and
lengths are drawn. Nothing here is measured.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reft_megatron.config import TaskConfig
from reft_megatron.errors import ConfigError
from reft_megatron.policy.families import Architecture, find_architecture
from reft_megatron.policy.huggingface import DTYPES
from reft_megatron.tasks import Task, load_task
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from reft_megatron.tokenizer_training import train_tokenizer
from reft_megatron.types import Prompt
from tools.random_checkpoint import write
from tools.train_tokenizer import task_texts

__all__ = ["MODELS", "Workload", "make_model", "make_workload"]

MODELS = ("tiny", "125m", "6.7b")
"""Sizes of Galactica."""

Lengths = dict[tuple[str, int], int]
"""Response tokens by problem and sample."""

_QUESTIONS = "gsm8k/test.jsonl"
_REAL = "programs/real.jsonl.gz"
_GOLD = "mwp_reft/svamp_python_sdp.json"
_TOKENIZER = "tokenizer.model"
_GALACTICA_VOCAB = 50_000
_PIECES = {"tiny": 2048}
_MOST_PIECES = 8192
_GENERATED_PIECES = 512
_TRAINED_ON = 4000
# Of ln(tokens) of the programs taken from _REAL, under a tokenizer of 2,048 pieces.
_MEAN_LOG, _DEVIATION_LOG = 4.70, 0.41


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Prompts and the lengths of their responses, the same for whoever generates them."""

    prompts: tuple[Prompt, ...]
    """In the order they are asked."""
    lengths: Lengths
    """Of every sample of every prompt, one token or more."""
    told: str
    """Where both come from."""

    @property
    def tokens(self) -> int:
        """Of all responses."""
        return sum(self.of(self.prompts))

    @property
    def longest(self) -> int:
        """Tokens of the longest response."""
        return max(self.lengths.values())

    def of(self, prompts: Sequence[Prompt]) -> list[int]:
        """Lengths of all responses to `prompts`."""
        return [self.lengths[p.problem_id, sample] for p in prompts for sample in p.samples]


def make_workload(
    folder: Path,
    *,
    model: str,
    data: Path,
    prompts: int,
    samples: int,
    most: int,
    mean: float,
    seed: int,
) -> Workload:
    """`prompts` questions of `samples` responses each; leaves a tokenizer in `folder`.

    Responses are cut at `most` tokens, as generate.max_new_tokens does, after they have been
    stretched to `mean` tokens (0 leaves them as they are). `data` need not exist. Raises
    ConfigError or DataError for files that are there and cannot be used.
    """
    task, asked = _questions(data, prompts)
    programs, measured = _programs(data)
    tokenizer = _tokenizer(folder, task, programs, pieces=_PIECES.get(model, _MOST_PIECES))
    rng = np.random.default_rng(seed)
    if programs:
        chosen = rng.choice(len(programs), prompts * samples)
        # The end of the sequence is a token too.
        drawn = np.array([len(tokenizer.encode_continuation(programs[i])) + 1 for i in chosen])
    else:
        drawn = np.exp(rng.normal(_MEAN_LOG, _DEVIATION_LOG, prompts * samples))
    if mean:
        drawn = drawn * (mean / drawn.mean())
    lengths = iter(drawn.round().astype(int).clip(1, most).tolist())
    numbers = tuple(range(samples))
    made = tuple(
        Prompt(
            problem_id=problem.id,
            token_ids=np.array(tokenizer.encode(task.prompt_text(problem)), np.int32),
            samples=numbers,
        )
        for problem in task.problems("test")[:prompts]
    )
    return Workload(
        prompts=made,
        lengths={
            (prompt.problem_id, number): next(lengths) for prompt in made for number in numbers
        },
        told=f"Questions: {asked}. Response lengths: {measured}.",
    )


def make_model(folder: Path, *, model: str, precision: str) -> Architecture:
    """A Galactica of random weights in `folder`/hf, with the tokenizer that is in `folder`."""
    tokenizer = load_tokenizer(folder / _TOKENIZER)
    rows = tokenizer.vocab_size if model == "tiny" else _GALACTICA_VOCAB
    architecture = replace(find_architecture(f"galactica-{model}"), vocab=rows)
    write(
        architecture,
        folder / "hf",
        dtype=DTYPES[precision],
        seed=0,
        files={_TOKENIZER: (folder / _TOKENIZER).read_bytes()},
        tokens={"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id},
    )
    return architecture


def _questions(data: Path, count: int) -> tuple[Task, str]:
    if (data / _QUESTIONS).is_file():
        task = load_task(TaskConfig(name="gsm8k", test=str(data / _QUESTIONS)))
        if len(task.test) < count:
            raise ConfigError(
                f"--prompts is {count}, and {data / _QUESTIONS} has {len(task.test)} questions; "
                "ask for fewer, or for more --samples."
            )
        return task, f"{count} of GSM8K's test set"
    task = load_task(TaskConfig(name="arithmetic", test_size=count))
    return task, f"{count} of the arithmetic task, for want of {_QUESTIONS}"


def _programs(data: Path) -> tuple[list[str], str]:
    """Bodies of programs, as they follow a prompt, and what to say of them."""
    if (data / _REAL).is_file():
        with gzip.open(data / _REAL, "rt", encoding="utf-8") as lines:
            every = [json.loads(line) for line in lines]
        solved = [line["code"] for line in every if line["set"].lower() == "gsm8k"]
        # ReFT's programs have no comments; those that have are three times as long.
        found = [code for code in solved if "#" not in code]
        told = f"those of {len(found):,} programs that models wrote for GSM8K, without comments"
    elif (data / _GOLD).is_file():
        found = [item["answer_cot"] for item in json.loads((data / _GOLD).read_text("utf-8"))]
        told = f"those of {len(found):,} gold programs of SVAMP, for want of {_REAL}"
    else:
        mean = math.exp(_MEAN_LOG + _DEVIATION_LOG**2 / 2)
        return [], (
            f"log-normal, of mean {mean:.0f} and median {math.exp(_MEAN_LOG):.0f} tokens, which "
            f"programs that models write for GSM8K have, for want of {_REAL}"
        )
    return [_body(code) for code in found], told


def _body(code: str) -> str:
    """What a response holds of a program: all but its head and docstring, which the prompt has."""
    head, _, rest = code.partition('"""')
    _, closed, body = rest.partition('"""\n')
    return body if closed and head.strip() == "def solution():" else code


def _tokenizer(folder: Path, task: Task, programs: Sequence[str], *, pieces: int) -> Tokenizer:
    """Trained on the texts that it will read."""
    path = folder / _TOKENIZER
    folder.mkdir(parents=True, exist_ok=True)
    if programs:
        texts = [task.prompt_text(problem) for problem in task.problems("test")]
        texts += programs[:: max(1, len(programs) // _TRAINED_ON)]
        train_tokenizer(texts, path, vocab_size=pieces)
    else:
        generated = task_texts(TaskConfig(), documents=_TRAINED_ON // 2)
        train_tokenizer(generated, path, vocab_size=_GENERATED_PIECES)
    return load_tokenizer(path)
