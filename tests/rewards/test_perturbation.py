"""Changed programs differ from gold in one place; rewritten ones return the same."""

from __future__ import annotations

import ast

import pytest

from reft_megatron.rewards.perturbation import perturbed, rewritten

GOLD = '''def solution():
    """How many?"""
    apples = 29
    each = 7
    left = apples // each
    result = left - 1
    return result'''


def value(program: str) -> object:
    names: dict[str, object] = {}
    exec(program, names)
    return names["solution"]()


def test_every_sort_of_change_is_made_in_one_place() -> None:
    seen = set()
    for seed in range(30):
        changes = dict(perturbed(GOLD, str(seed)))
        assert set(changes) == {"constant", "operator", "operands", "returned variable"}
        for name, program in changes.items():
            seen.add(program)
            before, after = ast.unparse(ast.parse(GOLD)).split("\n"), program.split("\n")
            assert len(before) == len(after)
            assert sum(a != b for a, b in zip(before, after, strict=True)) == 1, name
    assert len(seen) > 15
    assert len({value(p) for p in seen if "/ 0" not in p}) > 8


def test_rewritten_programs_return_the_same() -> None:
    names = set()
    for seed in range(80):
        for name, program in rewritten(GOLD, str(seed)):
            names.add(name)
            assert float(value(program)) == 3.0, (name, program)
    assert len(names) == 10


def test_the_same_seed_makes_the_same() -> None:
    assert list(perturbed(GOLD, "a")) == list(perturbed(GOLD, "a"))
    assert list(rewritten(GOLD, "a")) == list(rewritten(GOLD, "a"))


def test_what_is_no_program_or_several_statements() -> None:
    with pytest.raises(SyntaxError):
        list(perturbed("def solution(", "a"))
    assert list(rewritten("import math\n" + GOLD, "a")) == []
    assert list(perturbed("def solution():\n    return None", "a")) == []
