"""One rollout on the screen: its text, what was found of it, and its tokens.

Owns what a reader sees of a single rollout.
"""

from __future__ import annotations

from typing import Any

import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reft_megatron.commands.rollouts.screen import plain, style, table
from reft_megatron.commands.rollouts.selection import Reading, records
from reft_megatron.rollouts.schema import SCORES
from reft_megatron.tokenizer import Tokenizer

__all__ = ["answer", "heading", "show_rollouts", "verdict"]

_TOLD = (
    *("problem_id", "sample", "policy_version", "seed", "text", "reason", "detail", "value"),
    *("letter", "reward", "finished", "prompt_ids", "token_ids", "logprobs"),
)
_HEADINGS = {
    "logprobs": "sampler\nlog-prob",
    "policy_logprobs": "policy\nlog-prob",
    "ref_logprobs": "ref\nlog-prob",
    "values": "value",
    "advantages": "advantage",
    "returns": "return",
}


def show_rollouts(
    console: Console, reading: Reading, *, tokens: bool, tokenizer: Tokenizer | None
) -> int:
    """Print each rollout, with a table of its `tokens` if wanted; returns how many there were.

    With a `tokenizer` prompts are shown too, and tokens as text.
    """
    names = (*_TOLD, *SCORES) if tokens else _TOLD
    count = 0
    for iteration, row in records(reading.batches({name: ds.field(name) for name in names})):
        console.rule(heading(iteration, row), align="left", style="dim")
        console.print(_findings(row))
        if tokenizer is not None:
            prompt = plain(tokenizer.decode(row["prompt_ids"]), "dim")
            console.print(prompt, soft_wrap=True, end="")
        console.print(plain(row["text"]), soft_wrap=True)
        if tokens:
            console.print(_tokens(row, tokenizer))
        count += 1
    return count


def heading(iteration: int, row: dict[str, Any]) -> str:
    """Which rollout it is."""
    return (
        f"{row['problem_id']}  sample {row['sample']}  iteration {iteration}  "
        f"version {row['policy_version']}"
    )


def answer(row: dict[str, Any]) -> str:
    """The extracted answer, a letter or a number; empty if there is none."""
    if row["letter"] is not None:
        return str(row["letter"])
    return "" if row["value"] is None else f"{row['value']:.12g}"


def verdict(row: dict[str, Any]) -> Text:
    """The reason, with its detail."""
    detail = f" ({row['detail']})" if row["detail"] else ""
    return plain(f"{row['reason']}{detail}", style(row["reason"]))


def _findings(row: dict[str, Any]) -> Text:
    """Verdict, answer, reward and length in one line."""
    extracted = answer(row)
    parts = [
        *([f"answer {extracted}"] if extracted else []),
        f"reward {row['reward']:g}",
        f"{len(row['token_ids'])} tokens{'' if row['finished'] else ', truncated'}",
        f"sampler log-prob {sum(row['logprobs']):.3f}",
    ]
    return Text("  ").join([verdict(row), *map(plain, parts)])


def _tokens(row: dict[str, Any], tokenizer: Tokenizer | None) -> Table:
    """One row a token; scores that the ledger does not have are left empty."""
    made = table()
    made.add_column("#", justify="right")
    made.add_column("token", overflow="fold", max_width=30)
    for told in _HEADINGS.values():
        made.add_column(told, justify="right")
    columns = [row[name] for name in _HEADINGS]
    for position, token in enumerate(row["token_ids"]):
        cells = ("" if column is None else f"{column[position]:.4f}" for column in columns)
        made.add_row(str(position), _token(token, tokenizer), *cells)
    return made


def _token(token: int, tokenizer: Tokenizer | None) -> Text:
    """A token as a Python string, so that spaces and line breaks are seen; without text its id."""
    text = "" if tokenizer is None else tokenizer.decode([token])
    return Text(repr(text) if text else f"{token}")
