"""The rules of the house that no linter holds.

Each rule is a function from a source to its violations. `test_house_rules` runs them over every
file, and over small bad examples, so that no rule can go blind.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

FLOORS = {
    "types": 0,
    "errors": 0,
    "files": 0,
    "closing": 0,
    "durations": 0,
    "packages": 0,
    "config": 0,
    "mesh": 0,
    "log": 0,
    "pulse": 0,
    "_extractor": 0,
    "ops": 1,
    "tokenizer": 1,
    "tokenizer_training": 1,
    "tasks": 2,
    "rewards": 2,
    "rollouts": 2,
    "learner": 2,
    "policy": 3,
    "commands": 4,
    "recipes": 4,
    "cli": 5,
    "__main__": 6,
}
WALLED = ("megatron", "transformer_engine")
READ_THE_ENVIRONMENT = ("reft_megatron/policy/mesh.py", "setup.py", "tools/cpu_only.py")
IMPORT_LATE = {
    "reft_megatron/cli.py": "reft_megatron.recipes",
    "reft_megatron/commands/reproduce/command.py": "reft_megatron.commands.reproduce.report",
    "reft_megatron/log/": "wandb",
    "reft_megatron/policy/device.py": "megatron",
    "reft_megatron/policy/fp8/": "reft_megatron.policy.fp8.transformer_engine",
    "reft_megatron/policy/verify.py": "transformers",
}
PRINT = ("reft_megatron/cli.py", "reft_megatron/log/")
BANNED_NAMES = {"util", "utils", "helper", "helpers", "common", "misc"}
FILE_LINES, FUNCTION_LINES, DEPTH, POSITIONAL, FIELDS, DOC_COLUMNS = 400, 60, 4, 3, 15, 79

BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match, ast.AsyncFor, ast.AsyncWith)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One Python file of the project."""

    path: str
    """Path from the root of the project, with forward slashes."""
    text: str
    """Its text."""
    tree: ast.Module
    """Its syntax."""

    @classmethod
    def of(cls, path: str, text: str) -> Source:
        return cls(path=path, text=text, tree=ast.parse(text))

    @property
    def shipped(self) -> bool:
        """True outside the tests."""
        return not self.path.startswith("tests/")

    @property
    def packaged(self) -> bool:
        """True inside the package."""
        return self.path.startswith("reft_megatron/")

    def all(self, *kinds: type) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def at(self, node: ast.AST, complaint: str) -> str:
        return f"{self.path}:{node.lineno}: {complaint}"


def imports(source: Source, inside: ast.AST | None = None) -> Iterator[tuple[ast.AST, str]]:
    """Every imported module with its statement, in the file or inside one node of it.

    `from a import b` counts as `a.b`, and a relative import as the module it leads to.
    """
    for node in ast.walk(inside or source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = PurePosixPath(source.path).parts[: -node.level] if node.level else ()
            module = ".".join([*here, *filter(None, [node.module])])
            yield from ((node, f"{module}.{alias.name}") for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imports_go_down(source: Source) -> Iterator[str]:
    if not source.packaged or source.path == "reft_megatron/__init__.py":
        return
    own = PurePosixPath(source.path).parts[1].removesuffix(".py")
    if own not in FLOORS:
        yield f"{source.path}:1: room {own} stands on no floor"
        return
    for node, module in imports(source):
        room = f"{module}.".split(".")[1] if within(module, "reft_megatron") else own
        ground_floor = FLOORS[own] == 0 and FLOORS.get(room) == 0
        if room not in (own, "__version__") and not ground_floor:
            floor = FLOORS.get(room, max(FLOORS.values()))
            if floor >= FLOORS[own]:
                yield source.at(node, f"{own} (floor {FLOORS[own]}) imports {room} (floor {floor})")


def megatron_stays_inside_the_wall(source: Source) -> Iterator[str]:
    if source.path.startswith(("reft_megatron/policy/", "tests/policy/")):
        return
    for node, module in imports(source):
        for walled in WALLED:
            if within(module, walled):
                yield source.at(node, f"imports {walled} outside policy/")


def files_are_short(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > FILE_LINES:
        yield f"{source.path}:1: {lines} lines, over {FILE_LINES}"


def functions_are_short(source: Source) -> Iterator[str]:
    for node in source.all(*FUNCTIONS):
        lines = node.end_lineno - node.lineno + 1
        if lines > FUNCTION_LINES:
            yield source.at(node, f"{node.name} has {lines} lines, over {FUNCTION_LINES}")


def nesting_is_shallow(source: Source) -> Iterator[str]:
    for node in source.all(*FUNCTIONS):
        depth = nesting(node)
        if depth > DEPTH:
            yield source.at(node, f"{node.name} is nested {depth} deep, over {DEPTH}")


def nesting(node: ast.AST) -> int:
    """How many blocks stand inside one another in `node`; an `elif` is no deeper than its `if`."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, nesting(child) + (isinstance(child, BLOCKS) and not chained))
    return deepest


def many_arguments_have_names(source: Source) -> Iterator[str]:
    if not source.shipped:
        return
    for node in source.all(*FUNCTIONS):
        if node.name in ("forward", "backward"):
            continue  # torch calls these by position
        given = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        count = len([name for name in given if name not in ("self", "cls")])
        if count > POSITIONAL:
            yield source.at(
                node, f"{node.name} takes {count} arguments by position, over {POSITIONAL}"
            )


def dataclasses_are_frozen_and_told(source: Source) -> Iterator[str]:
    if not source.shipped:
        return
    classes = list(source.all(ast.ClassDef))
    documented = {node.name for node in classes}
    if source.path.startswith("reft_megatron/config/"):
        # Sections are spread over the files of that room.
        documented |= {module.rpartition(".")[2] for _, module in imports(source)}
    for node in classes:
        options = dataclass_options(node)
        if options is None:
            continue
        missing = {"frozen", "slots", "kw_only"} - options
        # Megatron's configs are not frozen, so what extends them cannot be.
        extends = source.path.startswith("reft_megatron/policy/") and node.bases
        if missing and not extends:
            yield source.at(node, f"{node.name} lacks {', '.join(sorted(missing))}")
        fields = [item for item in node.body if is_field(item)]
        count = len([item for item in fields if not is_section(item, documented)])
        if count > FIELDS:
            yield source.at(node, f"{node.name} has {count} fields, over {FIELDS}")
        if node.name.startswith("_"):
            continue
        for item, after in zip(node.body, [*node.body[1:], None], strict=True):
            if item in fields and not (is_text(after) or is_section(item, documented)):
                yield source.at(item, f"{node.name}.{item.target.id} has no docstring")


def dataclass_options(node: ast.ClassDef) -> set[str] | None:
    """Names of the options set to True in `@dataclass(...)`; None for another class."""
    for decorator in node.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(call).rpartition(".")[2] == "dataclass":
            given = decorator.keywords if isinstance(decorator, ast.Call) else []
            return {option.arg for option in given if ast.unparse(option.value) == "True"}
    return None


def is_field(node: ast.AST) -> bool:
    return isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)


def is_section(field: ast.AnnAssign, classes: set[str]) -> bool:
    """True for a section of the config: its own class, in the same room, tells what it is."""
    return ast.unparse(field.annotation) in classes


def is_text(node: ast.AST | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def modules_open_with_a_docstring(source: Source) -> Iterator[str]:
    if not source.shipped:
        return
    first = (ast.get_docstring(source.tree) or "").partition("\n")[0]
    if not first.endswith("."):
        yield f"{source.path}:1: no docstring whose first line ends with a full stop"
    elif len(first) > DOC_COLUMNS:
        yield f"{source.path}:1: first line of {len(first)} columns, over {DOC_COLUMNS}"


def modules_defer_annotations(source: Source) -> Iterator[str]:
    if not source.shipped:
        return
    defines = any(source.all(*FUNCTIONS, ast.ClassDef))
    if defines and "\nfrom __future__ import annotations\n" not in source.text:
        yield f"{source.path}:1: no `from __future__ import annotations`"


def the_environment_is_read_in_few_files(source: Source) -> Iterator[str]:
    if not source.shipped or source.path in READ_THE_ENVIRONMENT:
        return
    reads = ("os.environ", "os.environb", "os.getenv", "os.getenvb")
    named = [node for node in source.all(ast.Attribute) if isinstance(node.value, ast.Name)]
    used = [(node, f"{node.value.id}.{node.attr}") for node in named]
    for node, name in [*used, *imports(source)]:
        if name in reads:
            yield source.at(node, f"reads {name}")


def imports_stand_at_the_top(source: Source) -> Iterator[str]:
    if not source.shipped:
        return
    for function in source.all(*FUNCTIONS):
        for node, module in imports(source, function):
            allowed = [m for path, m in IMPORT_LATE.items() if source.path.startswith(path)]
            if not any(within(module, package) for package in allowed):
                yield source.at(node, f"imports {module} inside a function")


def names_say_something(source: Source) -> Iterator[str]:
    path = PurePosixPath(source.path)
    for part in (*path.parts[:-1], path.stem.removeprefix("test_")):
        if part in BANNED_NAMES:
            yield f"{source.path}:1: {part} says nothing; name the noun it owns"


def sources_are_ascii(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if not line.isascii():
            yield f"{source.path}:{number}: not ASCII"


def the_package_does_not_print(source: Source) -> Iterator[str]:
    if not source.packaged or source.path.startswith(PRINT):
        return
    for node in source.all(ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "print":
            yield source.at(node, "prints")


def exceptions_are_named(source: Source) -> Iterator[str]:
    for node in source.all(ast.ExceptHandler):
        if node.type is None:
            yield source.at(node, "bare except")


def silenced_checks_give_a_reason(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search(r"#\s*(type:\s*ignore|noqa\b)[^#]*$", line):
            yield f"{source.path}:{number}: silences a check without a reason"


Rule = Callable[[Source], Iterator[str]]

RULES: list[Rule] = [
    imports_go_down,
    megatron_stays_inside_the_wall,
    files_are_short,
    functions_are_short,
    nesting_is_shallow,
    many_arguments_have_names,
    dataclasses_are_frozen_and_told,
    modules_open_with_a_docstring,
    modules_defer_annotations,
    the_environment_is_read_in_few_files,
    imports_stand_at_the_top,
    names_say_something,
    sources_are_ascii,
    the_package_does_not_print,
    exceptions_are_named,
    silenced_checks_give_a_reason,
]


def without_mirror(paths: list[str]) -> list[str]:
    """Source files that have no test at the place that mirrors theirs."""
    missing = []
    for path in map(PurePosixPath, paths):
        if path.parts[0] not in ("reft_megatron", "tools") or path.name == "__init__.py":
            continue
        folders = path.parts[1:-1] if path.parts[0] == "reft_megatron" else path.parts[:-1]
        test = str(PurePosixPath("tests", *folders, f"test_{path.name}"))
        if test not in paths:
            missing.append(f"{path}: no {test}")
    return missing
