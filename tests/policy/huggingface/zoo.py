"""Tiny checkpoints of every supported architecture, made by transformers, and what it says of them.

Weights are random, biases and norms included, and large enough that attention, positions and
windows decide the next token. Beside each language model stands a value head under TRL's names.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, MistralConfig, OPTConfig, Qwen2Config, Qwen3Config

from reft_megatron.tokenizer import Tokenizer
from reft_megatron.types import Prompt
from tests.policy.scene import EOS, PAD, TOKENIZER, VOCAB
from tools.random_checkpoint import word_tokenizer

NEW = 64
"""Tokens that are generated."""
_TINY: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "bos_token_id": 0,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
}
_OPT = {**_TINY, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0}
_MHA = {**_TINY, "intermediate_size": 48}
_GQA = {**_MHA, "num_key_value_heads": 2}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}

LANGUAGE = {
    "opt": OPTConfig(**_OPT, activation_function="relu"),
    "galactica": OPTConfig(**_OPT, activation_function="gelu"),
    "opt without biases": OPTConfig(**_OPT, enable_bias=False, tie_word_embeddings=False),
    "opt without norms": OPTConfig(
        **_OPT,
        enable_bias=False,
        layer_norm_elementwise_affine=False,
        activation_function="gelu",
    ),
    "llama": LlamaConfig(**_MHA),
    "llama gqa, tied": LlamaConfig(**_GQA, tie_word_embeddings=True),
    "llama biases": LlamaConfig(**_GQA, attention_bias=True, mlp_bias=True),
    "llama linear": LlamaConfig(
        **_GQA,
        rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
    ),
    "llama 3": LlamaConfig(**_GQA, tie_word_embeddings=True, rope_parameters=_LLAMA3),
    "codellama": LlamaConfig(
        **{**_MHA, "vocab_size": 32_016},
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    ),
    "qwen2": Qwen2Config(**_GQA),
    "qwen2 window": Qwen2Config(
        **_GQA, use_sliding_window=True, sliding_window=7, max_window_layers=2
    ),
    "qwen3": Qwen3Config(**_GQA, head_dim=16, tie_word_embeddings=True),
    "mistral": MistralConfig(**_GQA, head_dim=8, sliding_window=5),
    "mistral whole": MistralConfig(**_GQA, head_dim=16, sliding_window=None),
}
"""Language models by name."""
RERANK = {
    "opt rerank": OPTConfig(**_OPT, num_labels=2),
    "llama rerank": LlamaConfig(**_GQA, num_labels=2),
}
"""Classifiers of two classes."""
NAMES = (*LANGUAGE, *RERANK)
SEEDS = {
    "opt": 6,
    "galactica": 2,
    "opt without norms": 5,
    "llama": 2,
    "llama gqa, tied": 4,
    "llama biases": 1,
    "llama linear": 1,
    "codellama": 2,
    "qwen2": 1,
    "mistral": 1,
}
"""Seeds of the weights, others than 0 where that one's generations come near a tie or circle."""
HALF = ("mistral whole",)
"""What is stored in bf16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What transformers says of one model, in fp32."""

    left: np.ndarray[Any, Any]
    """Logits [tokens of all sequences, V] from a batch padded on the left; scores [n, 2]."""
    right: np.ndarray[Any, Any]
    """The same from a batch padded on the right."""
    values: np.ndarray[Any, Any]
    """Values [tokens of all sequences]."""
    greedy: list[list[int]]
    """Greedy completion of each prompt, with its end where it has one."""
    gap: float
    """The smallest distance between the two best logits of any generated token."""


def tokenizer_of(name: str) -> Tokenizer:
    """The scene's tokenizer with as many ids as the model `name` has."""
    return dataclasses.replace(TOKENIZER, vocab_size={**LANGUAGE, **RERANK}[name].vocab_size)


def sequences(name: str) -> list[np.ndarray[Any, Any]]:
    """Ragged sequences to compare logits on, one token to forty."""
    rng = np.random.default_rng(11)
    vocab = tokenizer_of(name).vocab_size
    return [rng.integers(3, vocab, n, dtype=np.int32) for n in (17, 1, 40, 3, 26, 8, 2, 33)]


def prompts(name: str) -> list[Prompt]:
    """Thirty-two ragged prompts."""
    rng = np.random.default_rng(12)
    vocab = tokenizer_of(name).vocab_size
    return [
        Prompt(
            problem_id=f"zoo_{number:02d}",
            token_ids=rng.integers(3, vocab, rng.integers(1, 21), dtype=np.int32),
        )
        for number in range(32)
    ]


def build(root: Path, names: tuple[str, ...] = NAMES) -> dict[str, Said]:
    """Write the models to `root/<name>`, what is said of them beside, and return it."""
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()  # of the value heads, which it does not know
    said = {name: _build(root / name, name) for name in names}
    for name, words in said.items():
        (root / f"{name}.said").write_bytes(pickle.dumps(words))
    return said


def read_said(root: Path, name: str) -> Said:
    said: Said = pickle.loads((root / f"{name}.said").read_bytes())
    return said


def spoil(source: Path, target: Path, tensor: str) -> None:
    """Copy a folder, with the last number of the tensor's every row moved a little."""
    shutil.copytree(source, target)
    tensors = load_file(source / "model.safetensors")
    tensors[tensor][..., -1] += 0.01
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def _build(folder: Path, name: str) -> Said:
    random = torch.Generator().manual_seed(SEEDS.get(name, 0))
    kind = "SequenceClassification" if name in RERANK else "CausalLM"
    auto = getattr(transformers, f"AutoModelFor{kind}")
    model = auto.from_config({**LANGUAGE, **RERANK}[name]).eval()
    for key, weight in model.named_parameters():
        _draw(key, weight, model.config, random)
    if name in HALF:
        # The numbers only: `model.bfloat16()` would round the wavelengths of rotation too.
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
        copy.deepcopy(model).bfloat16().save_pretrained(folder)
    else:
        model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(word_tokenizer(model.config.vocab_size))
    head = {
        "weight": 0.1 * torch.randn(1, 32, generator=random),
        "bias": torch.randn(1, generator=random),
    }
    if name in LANGUAGE:
        file = folder / "model.safetensors"
        trl = {f"v_head.summary.{part}": tensor for part, tensor in head.items()}
        save_file({**load_file(file), **trl}, file, metadata={"format": "pt"})
    return _ask(model, name, head)


def _draw(key: str, weight: torch.Tensor, config: Any, random: torch.Generator) -> None:
    """Fill one weight: attention counts, and what is generated neither ends nor circles at once."""
    opt = config.model_type == "opt"
    mean, std = 0.0, 0.2
    if "norm" in key and key.endswith("weight"):
        mean = 1.0
    elif "embed" in key:
        # A tied embedding that is large next to what the layers add repeats its own token.
        std = (0.25 if opt else 0.4) if config.tie_word_embeddings else 1.0
    elif "lm_head" in key:
        std = 0.25 if opt else 0.5
    elif weight.dim() == 2 and "score" not in key:
        std = (2.0 if opt else 1.4) * weight.shape[1] ** -0.5
    weight.normal_(mean, std, generator=random)


def _ask(model: Any, name: str, head: dict[str, torch.Tensor]) -> Said:
    torch.set_num_threads(1)
    texts = [torch.from_numpy(x).long() for x in sequences(name)]
    padded = {}
    for side in ("left", "right"):
        ids, mask = _pad(texts, side)
        out = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        # A classifier has one row a sequence, at its last real token.
        rows = out.logits if name in RERANK else out.logits[mask.bool()]
        padded[side] = rows.numpy()
    if name in RERANK:
        return Said(**padded, values=np.zeros(0), greedy=[], gap=0.0)
    values = out.hidden_states[-1][mask.bool()] @ head["weight"][0] + head["bias"]
    texts = [torch.from_numpy(p.token_ids).long() for p in prompts(name)]
    greedy, gap = generate(model, texts, NEW)
    return Said(**padded, values=values.numpy(), greedy=greedy, gap=gap)


def generate(model: Any, texts: list[torch.Tensor], new: int) -> tuple[list[list[int]], float]:
    """Greedy completions of up to `new` tokens, and the smallest gap between two best logits."""
    ids, mask = _pad(texts, "left")
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=PAD,
        output_logits=True,
        return_dict_in_generate=True,
    )
    rows = out.sequences[:, ids.shape[1] :].tolist()
    greedy = [row[: row.index(EOS) + 1] if EOS in row else row for row in rows]
    best = torch.stack(out.logits, dim=1).topk(2).values
    gaps = [best[i, : len(row), 0] - best[i, : len(row), 1] for i, row in enumerate(greedy)]
    return greedy, float(torch.cat(gaps).min())


def _pad(texts: list[torch.Tensor], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), each int64 [n, longest]."""
    ids = torch.nn.utils.rnn.pad_sequence(
        texts, batch_first=True, padding_value=-1, padding_side=side
    )
    mask = (ids >= 0).long()
    return torch.where(ids >= 0, ids, PAD), mask
