"""Programs made at random: the same for the same seed, and nearly always programs."""

from __future__ import annotations

import random
import re
import warnings
from pathlib import Path

import pytest

from tools.fuzzing import grammar
from tools.fuzzing.grammar import FILES, Grammar, program

CONSTRUCTS = """if elif else for while break continue return yield from lambda def nonlocal global
    try except finally raise assert del import and or not in is None True pass print sorted zip
    enumerate map filter reversed math."""


def test_notation() -> None:
    made = Grammar("# a comment\na:\n  1 x<b>\\n\\\\n\nb:\n  1 y ; 0 z\n")
    assert made.rules == {"a", "b"}
    assert made.expand("a", random.Random(1), depth=3) == "xy\n\\n"


def test_blocks_are_indented() -> None:
    made = Grammar("a:\n  1 if x:<b_block>\nb_block:\n  1 p\\nif y:<c_block>\nc_block:\n  1 q\n")
    text = made.expand("a", random.Random(1), depth=9)
    assert text == "if x:\n    p\n    if y:\n        q"


def test_what_grows_ends() -> None:
    made = Grammar("a:\n  9 (<a><a>) ; 1 x\n")
    texts = [made.expand("a", random.Random(seed), depth=5) for seed in range(50)]
    assert max(len(text) for text in texts) < 200
    assert made.expand("a", random.Random(1), depth=0) == "x"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a:\n  1 <a>\n", "rules that never end: ['a']"),
        ("a:\n  1 <b>\n", "rules that never end: ['a']"),
        ("a:\n  x\n", "an alternative is a weight and a template: 'x'"),
        ("a\n", "neither a rule nor an alternative: 'a'"),
    ],
)
def test_bad_grammars_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Grammar(text)


def test_a_seed_decides() -> None:
    assert program(3, 5) == program(3, 5)
    assert len({program(seed, number) for seed in (1, 2) for number in range(20)}) == 40


def test_programs_compile_and_reach_every_construct() -> None:
    programs = [program(1, number) for number in range(1500)]
    whole = "\n".join(programs)
    assert [word for word in CONSTRUCTS.split() if word not in whole] == []
    assert sum(not compiles(text) for text in programs) < 30
    assert all("def solution():" in text for text in programs)


def test_every_rule_is_used() -> None:
    folder = Path(grammar.__file__).parent
    text = "".join((folder / name).read_text("utf-8") for name in FILES)
    used = set(re.findall(r"<([a-z_0-9]+)>", text)) | {"program"}
    assert Grammar(text).rules == used


def compiles(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "program", "exec")
    except SyntaxError:
        return False
    return True
