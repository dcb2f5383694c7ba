"""The README's section on Hugging Face checkpoints, followed to the letter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reft_megatron.tokenizer_training import train_tokenizer

ROOT = Path(__file__).parents[1]
SECTION = "## Start from a Hugging Face checkpoint, leave with one"


def blocks(language: str) -> list[str]:
    section = (ROOT / "README.md").read_text().split(SECTION)[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def prepare(folder: Path) -> None:
    """What the section before leaves behind: GSM8K's files, small, and a tokenizer."""
    data = folder / "data" / "gsm8k"
    data.mkdir(parents=True)
    texts, programs, questions = [], [], []
    for number in range(80):
        question = f"Tom has {number} eggs and eats {number % 7} of them. How many eggs are left?"
        program = (
            f'def solution():\n    """{question}"""\n    eggs = {number}\n'
            f"    result = eggs - {number % 7}\n    return result"
        )
        answer = str(number - number % 7)
        texts.append(f"Question:\n{question}\nAnswer reasoning:\n{program}\n")
        programs.append(
            {
                "item_id": f"gsm8k_{number}",
                "question": question,
                "answer_cot": program,
                "answer_value": answer,
            }
        )
        questions.append({"question": question + " Why?", "answer": f"They are.\n#### {answer}"})
    (data / "programs.json").write_text(json.dumps(programs))
    (data / "test.jsonl").write_text("\n".join(map(json.dumps, questions)))
    train_tokenizer(texts, data / "tiny.model", vocab_size=400, whole_numbers=10, symbols=[])
    for name in ("tools", "examples"):
        (folder / name).symlink_to(ROOT / name)


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_section_works_as_written(tmp_path: Path):
    prepare(tmp_path)
    (commands,) = blocks("bash")
    for command in commands.replace("\\\n", " ").splitlines():
        run(tmp_path, "bash", "-c", command)
    (program,) = blocks("python")
    assert run(tmp_path, sys.executable, "-c", program).startswith("Question:\nTom has 3 eggs")
