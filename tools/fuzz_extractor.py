"""Compare the C++ extractor with CPython on programs made at random.

Owns the command: what is run, the progress, the tables, and the folder of differences. A program
that the two answer differently is made as small as it can be and written down with both outcomes.

Try it: `python -m tools.fuzz_extractor --programs 20000 --seed 7`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tools.fuzzing import campaign
from tools.fuzzing.campaign import KINDS, Setting, Tally
from tools.fuzzing.comparison import Bench, Pair
from tools.fuzzing.oracle import Oracle
from tools.fuzzing.shrink import shrink

_HELP = """\
examples:
  python -m tools.fuzz_extractor --programs 20000 --seed 7
  python -m tools.fuzz_extractor --programs 1000000 --kinds grammar --jobs 8 --out differences
  python -m tools.fuzz_extractor --data ../shared/data --kinds mutate,truncate,rename

kinds: grammar (made from tools/fuzzing/*.grammar), mutate (real programs spoilt), truncate (cut
short at every character), rename (other names for the variables: the answer must stay).

Limits, DENIED and UNSUPPORTED are no differences; they are counted. The last line is JSON; the exit
status is 1 if the extractor was wrong anywhere.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status: 1 for a difference, 2 for what cannot be run."""
    options = _parser().parse_args(arguments)
    try:
        oracle = Oracle(options.python)
    except (OSError, ValueError) as error:
        print(f"{error} Name one: --python /path/to/python3.11", file=sys.stderr)
        return 2
    console = Console()
    start = time.monotonic()
    tally = _run(options, console)
    seconds = time.monotonic() - start
    console.print(_table("Outcomes", tally.statuses))
    console.print(_table("Limits, and what was not run", tally.reasons))
    with Bench(oracle) as bench:
        for path in _write(tally, bench, most=options.most, out=options.out):
            print(path)
    print(json.dumps(_summary(tally, seconds)))
    return 1 if tally.differences or tally.crashed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare the C++ extractor with CPython on programs made at random.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--programs", type=int, default=20_000, help="how many (20000)")
    parser.add_argument("--seed", type=int, default=1, help="decides the programs (1)")
    parser.add_argument("--jobs", type=int, default=_cpus(), help="processes (one for each CPU)")
    parser.add_argument("--kinds", type=_kinds, default=KINDS, help="some of " + ",".join(KINDS))
    parser.add_argument(
        "--out", type=Path, default=Path("build/differences"), help="where to write"
    )
    parser.add_argument("--data", type=Path, help="folder with programs/ and mwp_reft/")
    parser.add_argument("--most", type=int, default=50, help="differences to write down (50)")
    parser.add_argument("--python", default=sys.executable, help="the CPython 3.11 to compare with")
    return parser


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _kinds(names: str) -> tuple[str, ...]:
    kinds = tuple(names.split(","))
    if unknown := set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"no such kind: {', '.join(sorted(unknown))}")
    return kinds


def _run(options: argparse.Namespace, console: Console) -> Tally:
    setting = Setting(python=options.python, data=options.data)
    batches = list(campaign.batches(options.kinds, options.seed, options.programs))
    total = Tally()
    tallies = campaign.run(batches, setting, jobs=options.jobs)
    for tally in track(tallies, "Comparing", total=len(batches), console=console):
        total.add(tally)
    return total


def _table(title: str, counts: Counter[str]) -> Table:
    table = Table("", "programs", title=title)
    for name, count in counts.most_common():
        table.add_row(name, str(count))
    return table


def _write(tally: Tally, bench: Bench, *, most: int, out: Path) -> list[Path]:
    """A file for each program that crashed and each small difference; as many as `most`."""
    texts = [f"crashed the process\n\n{program}\n" for program in tally.crashed[:most]]
    seen = set()
    for pair in _mixed(tally.differences)[:most]:
        small = _smallest(pair, bench)
        form = re.sub(r"\w+", "x", small.program)
        if form not in seen:
            seen.add(form)
            whole = f"{'-' * 20} made from\n{pair.program}\n{pair.told()}\n"
            texts.append(f"{small.program}\n\n{small.told()}\n\n{whole}")
    if texts:
        out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"difference_{number:03}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, "utf-8", errors="backslashreplace")
    return paths


def _mixed(differences: Sequence[Pair]) -> list[Pair]:
    """The differences, those of a sort not seen yet first."""
    ranks: Counter[tuple[str, ...]] = Counter()
    ranked = []
    for pair in differences:
        ranked.append((ranks[pair.sort], pair))
        ranks[pair.sort] += 1
    return [pair for _, pair in sorted(ranked, key=itemgetter(0))]


def _smallest(pair: Pair, bench: Bench) -> Pair:
    """The smallest program with a difference of the same sort."""

    def differs(text: str) -> bool:
        other = bench.compare([text], doubt=False)[0]
        return not other.explained and other.sort == pair.sort

    return bench.compare([shrink(pair.program, differs)], doubt=False)[0]


def _summary(tally: Tally, seconds: float) -> dict[str, object]:
    explained: Counter[str] = Counter()
    for outcome, count in tally.statuses.items():
        explained[outcome.partition(" ")[2]] += count
    return {
        "programs": tally.programs,
        "differences": explained["DIFFERENT"],
        "crashed": len(tally.crashed),
        "same": explained["same"],
        "unsupported": explained["unsupported"],
        "denied": explained["denied"],
        "limit": explained["limit"],
        "seconds": round(seconds, 1),
        "programs_per_second": round(tally.programs / seconds),
    }


if __name__ == "__main__":
    sys.exit(main())
