"""Programs like a gold one: some return the same, some something else.

Owns the changes and their names. What a changed program returns is not known here: running it tells
(`labelling`).
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator

__all__ = ["perturbed", "rewritten"]

_SWAPS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Div),
    ast.Mult: (ast.Add, ast.Div),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv, ast.Add),
}
_NEW_CONSTANTS: tuple[Callable[[float], float], ...] = (
    lambda number: number + 1,
    lambda number: number - 1,
    lambda number: number * 10,
    lambda number: -number,
    lambda number: number + 0.01,
    lambda number: number / 3,
)
_REWRITINGS: dict[str, str] = {
    "helper function": "def answer():\n{body}\n\ndef solution():\n    return answer()",
    "module constant": "ANSWERS = []\n\ndef answer():\n{body}\n\ndef solution():\n"
    "    ANSWERS.append(answer())\n    return ANSWERS[-1]",
    "closure": "def solution():\n    def answer():\n{deeper}\n    return answer()",
    "exception": "def solution():\n    def answer():\n{deeper}\n    try:\n        return answer()\n"
    "    finally:\n        pass",
    "text": "def solution():\n    def answer():\n{deeper}\n    return str(answer())",
    "float": "def solution():\n    def answer():\n{deeper}\n    return float(answer())",
    "fraction": "from fractions import Fraction\n\ndef solution():\n    def answer():\n{deeper}\n"
    "    return Fraction(answer())",
    "generator": "def solution():\n    def answer():\n{deeper}\n"
    "    return sum(number for number in [answer()])",
    "printing": "def solution():\n    print('thinking')\n{body}",
}


def perturbed(program: str, seed: str) -> Iterator[tuple[str, str]]:
    """(name of the change, program) for each sort of change that `program` has a place for.

    The same `seed` gives the same changes. Raises SyntaxError for what is no program.
    """
    tree = ast.parse(program)
    chance = random.Random(seed)
    for name, changes in (("constant", _constants), ("operator", _operators), ("operands", _turns)):
        places = list(changes(tree, chance))
        if places:
            yield name, ast.unparse(chance.choice(places))
    others = _other_variables(tree)
    if others:
        yield "returned variable", _returning(tree, chance.choice(others))


def rewritten(program: str, seed: str) -> Iterator[tuple[str, str]]:
    """(name of the rewriting, program): one of several that return what `program` does.

    Raises SyntaxError for what is no program; there are none of a program of several statements.
    """
    tree = ast.parse(program)
    if len(tree.body) != 1:
        return
    body = ast.unparse(tree.body[0]).partition("\n")[2]
    deeper = "\n".join("    " + line for line in body.splitlines())
    name = random.Random(seed).choice(list(_REWRITINGS))
    yield name, _REWRITINGS[name].replace("{body}", body).replace("{deeper}", deeper)
    yield "new names", ast.unparse(_Renaming().visit(copy.deepcopy(tree)))


def _constants(tree: ast.Module, chance: random.Random) -> Iterator[ast.Module]:
    for index, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            number = chance.choice(_NEW_CONSTANTS)(node.value)
            yield _with(tree, index, value=number)


def _operators(tree: ast.Module, chance: random.Random) -> Iterator[ast.Module]:
    for index, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.BinOp) and type(node.op) in _SWAPS:
            yield _with(tree, index, op=chance.choice(_SWAPS[type(node.op)])())


def _turns(tree: ast.Module, chance: random.Random) -> Iterator[ast.Module]:
    for index, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add | ast.Mult):
            yield _with(tree, index, left=node.right, right=node.left)


def _with(tree: ast.Module, index: int, **fields: object) -> ast.Module:
    """A copy in which the node at `index`, in the order of ast.walk, has other `fields`."""
    changed = copy.deepcopy(tree)
    node = list(ast.walk(changed))[index]
    for name, value in fields.items():
        setattr(node, name, copy.deepcopy(value))
    return changed


def _other_variables(tree: ast.Module) -> list[str]:
    returned = {
        ast.unparse(n.value) for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value
    }
    stored = [
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    return [name for name in dict.fromkeys(stored) if name not in returned]


def _returning(tree: ast.Module, name: str) -> str:
    changed = copy.deepcopy(tree)
    for node in ast.walk(changed):
        if isinstance(node, ast.Return):
            node.value = ast.Name(name, ast.Load())
    return ast.unparse(changed)


class _Renaming(ast.NodeTransformer):
    """Gives every variable that is stored somewhere a new name."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def visit_Module(self, node: ast.Module) -> ast.AST:
        stored = (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and _is_stored(n))
        self._names = {name: f"v{i}" for i, name in enumerate(dict.fromkeys(stored))}
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._names.get(node.id, node.id), node.ctx)


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)
