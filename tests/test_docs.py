"""Tests that what the documents say can be done: commands, links, paths, dependencies."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples import launch
from reft_megatron import cli

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STARTERS = ("make", "torchrun", "bash", "python", "reft-megatron", "sbatch", "srun")
ELSEWHERE = ("mkdir", "curl", "source")
"""Programs of the system, which a test need not try."""


def commands(text: str) -> Iterator[str]:
    """Every command: lines of `bash` blocks, and code in a line that starts like one."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from block.replace("\\\n", " ").splitlines()
    for code in re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M)
    ):
        if any(word in STARTERS for word in code.split()[:2]) and "..." not in code:
            yield code


COMMANDS = sorted({command for path in DOCS for command in commands(path.read_text())})


def bare(command: str) -> list[str]:
    """The words of a command without leading `NAME=value` words, launchers and placeholders."""
    words = shlex.split(command)
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words.pop(0)
    if words[:1] == ["srun"]:
        words = [word for word in words[1:] if word != "--kill-on-bad-exit=1"]
    if words[:2] == ["torchrun", "--nproc-per-node"]:
        words = words[3:]
        words = (
            ["reft-megatron", *words[2:]]
            if words[:2] == ["-m", "reft_megatron"]
            else ["bash", *words]
        )
    return words


def answers(words: list[str]) -> bool:
    """True if the command line is one that the program it names would take."""
    program, rest = words[0], words[1:]
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return set(rest) <= set(targets)
    if program == "reft-megatron" and rest[0] in cli.COMMANDS:
        command = importlib.import_module(f"reft_megatron.commands.{rest[0].replace('-', '_')}")
        return accepted(lambda: command.parser().parse_args(rest[1:]) is None)
    if program == "reft-megatron":
        return accepted(lambda: cli.main([*rest, "--print-config"]))
    if program == "python" and rest[0].startswith("tools/"):
        return tool_answers(Path(rest[0]).stem, rest[1:])
    if program in ("bash", "sbatch"):
        return (ROOT / rest[0]).is_file() and script_answers(rest[0], rest[1:])
    return program in ELSEWHERE


def script_answers(script: str, arguments: list[str]) -> bool:
    """True if the example takes these settings."""
    if script in ("examples/quickstart.sh", "examples/reproduce_small.sh"):
        options = ["reproduce", "--config", f"examples/configs/{Path(script).stem}.yaml"]
        with tempfile.TemporaryDirectory() as folder:
            folders = ["--folder", folder, "--dry-run"]
            return accepted(lambda: cli.main([*options, *arguments, *folders]))
    return accepted(lambda: launch.run(script, [*arguments, "--print-config"]))


def tool_answers(tool: str, arguments: list[str]) -> bool:
    """True if the tool's help knows every option."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        importlib.import_module(f"tools.{tool}").main(["--help"])
    options = {word for word in arguments if word.startswith("--")}
    return options <= set(re.findall(r"--[a-z-]+", shown.getvalue()))


def accepted(call: Callable[[], int]) -> bool:
    try:
        return call() == 0
    except SystemExit as end:
        return end.code == 0


def test_there_are_commands_of_every_kind() -> None:
    assert {"make quickstart", "make test"} <= set(COMMANDS)
    assert {bare(command)[0] for command in COMMANDS if bare(command)} >= {
        *("make", "bash", "python", "reft-megatron", "sbatch")
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_its_program_takes(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = bare(command)
    assert not words or answers(words), capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "make tea",
        "rm -r runs",
        "bash examples/none.sh",
        "bash examples/quickstart.sh sft.epoch=1",
        "sbatch none.sbatch",
        "python tools/prepare_gsm8k.py --inputs x",
        "reft-megatron ppo ppo.kl=1",
        "reft-megatron run-programs completions.jsonl --golden answer",
        "torchrun --nproc-per-node 2 examples/none.sh",
    ],
)
def test_a_command_that_does_not_work_is_seen(command: str) -> None:
    assert not answers(bare(command))


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.strip("# ").lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("http"):
            continue
        file, _, part = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        headings = re.findall(r"^#+ .*$", linked.read_text(), re.MULTILINE) if part else []
        assert not part or part in map(anchor, headings), target


NAMED = re.compile(
    r"(?<![\w./-])(?:examples|docs|tools|reft_megatron)/[\w./*-]*\w\.(?:md|sh|py|yaml|sbatch)\b"
)
"""A file of the project, named in a text."""


def test_every_file_that_is_named_exists() -> None:
    sources = [
        p
        for folder in ("reft_megatron", "tools", "examples")
        for p in (ROOT / folder).rglob("*.py")
    ]
    texts = [*DOCS, ROOT / "Makefile", ROOT / "CHANGELOG.md", *sources]
    named = {
        (text.relative_to(ROOT), name) for text in texts for name in NAMED.findall(text.read_text())
    }
    assert len(named) > 20
    assert [(str(text), name) for text, name in sorted(named) if not any(ROOT.glob(name))] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.match(r"[\w-]+", line)[0] for group in groups for line in group}
    section = (ROOT / "docs" / "decisions.md").read_text().partition("## Dependencies")[2]
    told = set(
        re.findall(r"[\w-]+", " ".join(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)))
    )
    assert names - told == set()
