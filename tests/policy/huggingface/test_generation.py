"""256 ragged prompts, continued greedily: token for token what transformers' `generate` gives.

At every layout, replicas included, with several numbers of slots and with long prompts read in
pieces. The parity test has all architectures on fewer prompts; here it is one of each family.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy, join
from reft_megatron.types import Prompt
from tests.policy.huggingface import zoo
from tests.policy.scene import LAYOUTS, Layout, configure
from tests.thorough import choose

MODELS = ("galactica", "llama 3")
SLOTS = {"galactica": 50, "llama 3": 23}
NEW = 24
GAP = {"galactica": 4e-5, "llama 3": 2e-4}
"""Twice the parity test's bounds on logits: nearer than this, rounding could choose."""


def prompts(name: str) -> list[Prompt]:
    rng = np.random.default_rng(23)  # whose completions come near no tie
    vocab = zoo.tokenizer_of(name).vocab_size
    lengths = rng.integers(1, 40, 256)
    return [
        Prompt(problem_id=f"p_{i}", token_ids=rng.integers(3, vocab, n, dtype=np.int32))
        for i, n in enumerate(lengths)
    ]


def play(layout: Layout, root: Path) -> tuple[int, dict[str, dict[str, list[int]]]]:
    """The replica of this rank, and what fell to it: tokens by problem, model by model."""
    mesh = join(configure(layout).parallel, seed=0, timeout_s=300, threads=1)
    found = {}
    for name in MODELS:
        config = configure(
            layout,
            f"model.hf={root / name}",
            f"generate.max_new_tokens={NEW}",
            f"generate.slots={SLOTS[name]}",
            "generate.prefill_tokens=50",
        )
        policy = Policy(config, mesh, zoo.tokenizer_of(name), total_steps=None)
        done = policy.generate(prompts(name), sampling=Sampling(greedy=True))
        assert policy.usage.decoded == policy.usage.useful
        found[name] = {c.problem_id: c.token_ids.tolist() for c in done}
    return mesh.data.rank, found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    zoo.build(folder, MODELS)
    return folder


@pytest.fixture(scope="module")
def wanted(root: Path) -> dict[str, dict[str, list[int]]]:
    """What transformers gives, in batches of 64, each at its own best length of padding."""
    found = {}
    for name in MODELS:
        model = transformers.AutoModelForCausalLM.from_pretrained(root / name)
        asked, rows = prompts(name), []
        for start in range(0, len(asked), 64):
            batch = [torch.from_numpy(p.token_ids).long() for p in asked[start : start + 64]]
            with torch.no_grad():
                tokens, gap = zoo.generate(model, batch, NEW)
            assert gap > GAP[name], f"rounding would choose in {name}: {gap:.1e}"
            rows += tokens
        found[name] = {p.problem_id: row for p, row in zip(asked, rows, strict=True)}
    return found


@pytest.mark.megatron
@pytest.mark.parametrize("name", choose(("1", "tp2-pp2", "pp2-vpp2", "tp2-dp2"), LAYOUTS))
def test_greedy_completions_are_those_of_transformers(ranks, root, wanted, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play, layout, root)
    for model in MODELS:
        replicas: dict[int, dict[str, list[int]]] = {}
        for replica, found in seen:
            assert replicas.setdefault(replica, found[model]) == found[model], "ranks disagree"
        shares = [len(part) for part in replicas.values()]
        assert sum(shares) == 256, "each prompt fell to one replica"
        assert min(shares) > 0
        together = {problem: row for part in replicas.values() for problem, row in part.items()}
        assert together == wanted[model]
