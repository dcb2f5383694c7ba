"""Tests that the project keeps the rules of its house and that no rule is blind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house_rules import RULES, Rule, Source, without_mirror

ROOT = Path(__file__).parents[1]


def refuse(complaints: list[str]) -> None:
    """Fail with every complaint, one to a line."""
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    paths = [ROOT / "setup.py"]
    for folder in ("reft_megatron", "tools", "tests", "examples", "csrc"):
        paths += sorted((ROOT / folder).rglob("*.py"))
    return [Source.of(p.relative_to(ROOT).as_posix(), p.read_text("utf-8")) for p in paths]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(sources: list[Source], rule: Rule) -> None:
    refuse([complaint for source in sources for complaint in rule(source)])


def test_every_source_has_its_mirrored_test(sources: list[Source]) -> None:
    refuse(without_mirror([source.path for source in sources]))


def test_the_rules_see_the_whole_house(sources: list[Source]) -> None:
    paths = {source.path for source in sources}
    assert {"setup.py", "reft_megatron/types.py", "tests/test_house_rules.py"} <= paths


GOOD = '''"""A module that breaks no rule."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from reft_megatron.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """A noun."""

    limit: ClassVar[int] = 3
    size: int
    """How big."""

    def verb(self, a: int, b: int, c: int, *, d: int) -> None:
        """Choose."""
        if a:
            pass
        elif b:
            pass
        elif c:
            os.stat("x")  # noqa: PTH116  # a reason
'''


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", ["reft_megatron/tasks/good.py", "tests/tasks/test_good.py"])
def test_the_rule_lets_good_code_pass(path: str, rule: Rule) -> None:
    assert list(rule(Source.of(path, GOOD))) == []


PACKAGE = "reft_megatron/tasks/bad.py"
FIELDS = "\n".join(f'    f{i}: int\n    """Field."""' for i in range(16))
DEEP = "def f():\n" + "".join("    " * i + "if x:\n" for i in range(1, 6)) + "    " * 6 + "pass\n"
BAD = [
    # (rule, path, text, line: complaint of each violation)
    (
        "imports_go_down",
        PACKAGE,
        "import reft_megatron.policy.model\n",
        "1: tasks (floor 2) imports policy (floor 3)",
    ),
    (
        "imports_go_down",
        PACKAGE,
        "from reft_megatron import learner\n",
        "1: tasks (floor 2) imports learner (floor 2)",
    ),
    (
        "imports_go_down",
        PACKAGE,
        "from ..rewards import x\n",
        "1: tasks (floor 2) imports rewards (floor 2)",
    ),
    ("imports_go_down", "reft_megatron/attic.py", "", "1: room attic stands on no floor"),
    (
        "imports_go_down",
        "reft_megatron/types.py",
        "def f():\n    import reft_megatron.ops\n",
        "2: types (floor 0) imports ops (floor 1)",
    ),
    (
        "megatron_stays_inside_the_wall",
        "tests/recipes/test_ppo.py",
        "from megatron import core\n",
        "1: imports megatron outside policy/",
    ),
    (
        "megatron_stays_inside_the_wall",
        PACKAGE,
        "import transformer_engine.pytorch\n",
        "1: imports transformer_engine outside policy/",
    ),
    ("files_are_short", PACKAGE, "\n" * 401, "1: 401 lines, over 400"),
    (
        "functions_are_short",
        PACKAGE,
        "def f():\n" + "    pass\n" * 60,
        "1: f has 61 lines, over 60",
    ),
    ("nesting_is_shallow", PACKAGE, DEEP, "1: f is nested 5 deep, over 4"),
    (
        "many_arguments_have_names",
        PACKAGE,
        "def f(a, b, c, d): ...\n",
        "1: f takes 4 arguments by position, over 3",
    ),
    (
        "dataclasses_are_frozen_and_told",
        PACKAGE,
        "@dataclass\nclass A: ...\n",
        "2: A lacks frozen, kw_only, slots",
    ),
    (
        "dataclasses_are_frozen_and_told",
        PACKAGE,
        "@dataclasses.dataclass(frozen=True, slots=False, kw_only=True)\nclass A: ...\n",
        "2: A lacks slots",
    ),
    (
        "dataclasses_are_frozen_and_told",
        PACKAGE,
        "@dataclass(frozen=True, slots=True, kw_only=True)\nclass A:\n    b: int\n",
        "3: A.b has no docstring",
    ),
    (
        "dataclasses_are_frozen_and_told",
        PACKAGE,
        f"@dataclass(frozen=True, slots=True, kw_only=True)\nclass A:\n{FIELDS}\n",
        "2: A has 16 fields, over 15",
    ),
    (
        "modules_open_with_a_docstring",
        PACKAGE,
        "x = 1\n",
        "1: no docstring whose first line ends with a full stop",
    ),
    (
        "modules_open_with_a_docstring",
        PACKAGE,
        '"""No stop\n\nhere."""\n',
        "1: no docstring whose first line ends with a full stop",
    ),
    (
        "modules_open_with_a_docstring",
        PACKAGE,
        f'"""{"x" * 79}."""\n',
        "1: first line of 80 columns, over 79",
    ),
    (
        "modules_defer_annotations",
        PACKAGE,
        '"""A module."""\n\ndef f(): ...\n',
        "1: no `from __future__ import annotations`",
    ),
    (
        "the_environment_is_read_in_few_files",
        PACKAGE,
        "import os\nx = os.environ['A']\n",
        "2: reads os.environ",
    ),
    (
        "the_environment_is_read_in_few_files",
        "tools/bad.py",
        "from os import getenv\n",
        "1: reads os.getenv",
    ),
    (
        "imports_stand_at_the_top",
        PACKAGE,
        "def f():\n    import wandb\n",
        "2: imports wandb inside a function",
    ),
    (
        "imports_stand_at_the_top",
        "reft_megatron/cli.py",
        "def f():\n    from reft_megatron import policy\n",
        "2: imports reft_megatron.policy inside a function",
    ),
    (
        "names_say_something",
        "tests/tasks/test_helpers.py",
        "",
        "1: helpers says nothing; name the noun it owns",
    ),
    (
        "names_say_something",
        "reft_megatron/utils/noun.py",
        "",
        "1: utils says nothing; name the noun it owns",
    ),
    ("sources_are_ascii", PACKAGE, "x = 1\n# caf\u00e9\n", "2: not ASCII"),
    ("the_package_does_not_print", PACKAGE, "print(1)\n", "1: prints"),
    ("exceptions_are_named", "tests/test_x.py", "try:\n    x\nexcept:\n    y\n", "3: bare except"),
    (
        "silenced_checks_give_a_reason",
        PACKAGE,
        "x = 1  # type: " + "ignore[name]\n",
        "1: silences a check without a reason",
    ),
    (
        "silenced_checks_give_a_reason",
        PACKAGE,
        "x = 1  # no" + "qa: E501\n",
        "1: silences a check without a reason",
    ),
]


@pytest.mark.parametrize(("name", "path", "text", "complaint"), BAD)
def test_the_rule_catches(name: str, path: str, text: str, complaint: str) -> None:
    rules = {rule.__name__: rule for rule in RULES}
    assert list(rules[name](Source.of(path, text))) == [f"{path}:{complaint}"]


def test_every_rule_has_a_bad_example() -> None:
    assert [rule.__name__ for rule in RULES] == list(dict.fromkeys(name for name, *_ in BAD))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("reft_megatron/policy/mesh.py", "import os\nx = os.environ\n"),
        ("reft_megatron/policy/device.py", "def f():\n    import megatron.core\n"),
        ("reft_megatron/policy/model.py", "@dataclass\nclass A(TransformerConfig): ...\n"),
        ("reft_megatron/ops/x.py", "class A:\n    def forward(ctx, a, b, c): ...\n"),
        ("reft_megatron/tasks/x.py", "from .prompts import y\n"),
        ("reft_megatron/log/wandb_run.py", "def f():\n    import wandb\n\n    print(1)\n"),
        ("reft_megatron/cli.py", "def f():\n    from reft_megatron.recipes import ppo\n"),
    ],
)
def test_the_named_exceptions_stand(path: str, text: str) -> None:
    source = Source.of(path, text)
    layout = ("modules_open_with_a_docstring", "modules_defer_annotations")
    rules = [rule for rule in RULES if rule.__name__ not in layout]
    assert [complaint for rule in rules for complaint in rule(source)] == []


def test_a_missing_mirror_is_seen() -> None:
    sources = ["reft_megatron/__init__.py", "reft_megatron/a/b.py", "tools/c.py", "setup.py"]
    assert without_mirror(sources) == [
        "reft_megatron/a/b.py: no tests/a/test_b.py",
        "tools/c.py: no tests/tools/test_c.py",
    ]
    assert without_mirror([*sources, "tests/a/test_b.py", "tests/tools/test_c.py"]) == []
