"""The tables of the benchmark of generation: what stands in a row."""

from __future__ import annotations

import functools
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Table

from tools.extractor_bench.timing import Timed
from tools.generate_bench.layouts import Stage, Told
from tools.generate_bench.sides import Cost
from tools.generate_bench.tables import Found, sides_table, stages_table, verdict


def lines(table: Table) -> list[list[str]]:
    console = Console(width=120)
    with console.capture() as said:
        console.print(table)
    edge = box.HEAVY_HEAD.mid_left
    rows = [line.split(edge)[1:-1] for line in said.get().splitlines() if line.startswith(edge)]
    return [[cell.strip() for cell in row] for row in rows]


def test_a_row_of_a_side():
    cost = Cost(useful=300, computed=400, read=1234)
    times = (Timed(cpu=3.0, wall=2.0), Timed(cpu=5.0, wall=4.0), Timed(cpu=4.0, wall=10.0))
    found = Found(at_once=64, cost=cost, times=times, peak=0)
    assert lines(sides_table({"ours": found}, 1000)) == [
        ["ours", "64", "250.0", "100.0 to 500.0", "4.0", "25.00%", "1,234"]
    ]
    on_gpu = replace(found, peak=3 << 29)
    assert lines(sides_table({"ours": on_gpu}, 1000))[0][-1] == "1.50"


def test_a_row_of_each_rank():
    stage = functools.partial(Stage, full_s=8.0, waited_full_s=0.8)
    runs = [
        [stage(wall_s=10.0, waited_s=1.0, cpu_s=6.0), stage(wall_s=10.0, waited_s=1.8, cpu_s=3.0)],
        [stage(wall_s=10.0, waited_s=1.4, cpu_s=8.0), stage(wall_s=10.0, waited_s=2.2, cpu_s=4.0)],
    ]
    assert lines(stages_table({"pp2": Told(runs=runs, completions=[])})) == [
        ["pp2", "0", "10.0", "7.0", "1.2", "8.0", "10.0%", "20.0%", "0.0%"],
        ["pp2", "1", "10.0", "3.5", "2.0", "8.0", "10.0%", "60.0%", "50.0%"],
    ]


def test_a_verdict():
    assert verdict(True, "all well") == "met: all well"
    assert verdict(False, "too slow") == "NOT MET: too slow"
