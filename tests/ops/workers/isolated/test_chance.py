"""Chance and time are the same in every worker."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

DRAW = """
import random
from ops.workers.isolated import chance
chance.replace_entropy()
def draw(seed, source):
    chance.seed_chance(seed, source)
    random.seed()
    system = random.SystemRandom()
    return [random.random(), random.Random().random(), system.random(), system.randrange(10**9)]
"""


def test_chance_depends_on_seed_and_program_alone(in_fresh_process: Callable[[str], Any]) -> None:
    code = f"{DRAW}\nprint(json.dumps([draw(1, 'a'), draw(1, 'a'), draw(2, 'a'), draw(1, 'b')]))"
    first = in_fresh_process(code)
    assert first == in_fresh_process(code)
    assert first[0] == first[1]
    drawn = {number for draws in first[1:] for number in draws}
    assert len(drawn) == 12


def test_seeds_of_the_program_count_as_everywhere(in_fresh_process: Callable[[str], Any]) -> None:
    code = (
        f"{DRAW}\nrandom.seed(5)\nprint(json.dumps([random.random(), random.Random('x').random()]))"
    )
    assert in_fresh_process(code) == [random.Random(5).random(), random.Random("x").random()]


def test_the_clock_stands_still(in_fresh_process: Callable[[str], Any]) -> None:
    found = in_fresh_process("""
os.environ["TZ"] = "UTC0"
import datetime, time
from datetime import date, datetime as kind
from ops.workers.isolated import chance
chance.freeze_clock()
class Mine(kind):
    pass
now = kind.now()
print(json.dumps([
    str(now), str(kind.today()), str(date.today()), str(kind.utcnow()), time.time(),
    str(kind.now(datetime.timezone(datetime.timedelta(hours=2)))), type(Mine.now()).__name__,
    type(now) is kind and isinstance(now, date), now.strftime("%d.%m.%Y"),
    (kind.now() - kind(2023, 1, 1)).days,
]))
""")
    midnight = "2024-01-01 00:00:00"
    assert found == [
        midnight,
        midnight,
        "2024-01-01",
        midnight,
        1704067200.0,
        "2024-01-01 02:00:00+02:00",
        "Mine",
        True,
        "01.01.2024",
        365,
    ]
