"""Numbers of all sizes at random: arithmetic, text, rounding; as CPython, to the last bit."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator

import pytest

from tests.ops.extractor.tables import (
    Answer,
    Table,
    cpython_answers,
    extractor_answers,
    first_difference,
)

SEED = 1


def integers(count: int, bits: int, seed: int = SEED) -> list[str]:
    """Integers of 1 to `bits` bits, some with long runs of equal bits, of both signs."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        size = int(2 ** chance.uniform(0, bits.bit_length() - 1))
        number = chance.getrandbits(size)
        if chance.random() < 0.3:
            number = (number >> size // 2 << size // 2) + chance.choice((-1, 0, 1))
        if chance.random() < 0.2:
            number = (1 << size) + chance.choice((-1, 0, 1))
        made.append(hex(number if chance.random() < 0.7 else -number))  # has no limit of digits
    return made


def floats(count: int, seed: int = SEED) -> list[str]:
    """Doubles: of any bits, decimal ones of few digits, and halves between two of those."""
    chance = random.Random(seed)
    made = []
    while len(made) < count:
        kind = chance.randrange(4)
        if kind == 0:
            (number,) = struct.unpack("<d", chance.randbytes(8))
        elif kind == 1:
            number = chance.randrange(10 ** chance.randint(1, 17)) / 10 ** chance.randint(0, 22)
        elif kind == 2:
            number = chance.randrange(10**5) * 10.0 ** chance.randint(-30, 30)
        else:
            number = (2 * chance.randrange(10**4) + 1) / 2 / 10 ** chance.randint(0, 6)
        if math.isfinite(number):
            made.append(repr(number if chance.random() < 0.8 else -number))
    return made


def literals(count: int, seed: int = SEED) -> list[str]:
    """Decimal texts of up to 40 digits, many of them close to the middle of two doubles."""
    chance = random.Random(seed)
    made = []
    while len(made) < count:
        (number,) = struct.unpack("<d", chance.randbytes(8))
        if not 0 < abs(number) < 1e300:
            continue
        digits = chance.choice((5, 16, 17, 18, 20, 40, 60))
        numerator, denominator = number.as_integer_ratio()
        exact = 10**60 * (2 * numerator + (numerator > 0)) // (2 * denominator)
        text = str(exact)[: digits + 1] if chance.random() < 0.5 else f"{number:.{digits}e}"
        made.append(repr(text))
    return made


FEW = ["0"]
TABLES = [
    *(
        Table(expression, integers(70, 4000), integers(70, 2000, 2), "True")
        for expression in (
            "a + b, a - b, a * b, a < b, a == b",
            "divmod(a, b), a // b, a % b",
            "a / b",
            "a & b, a | b, a ^ b, ~a, a >> abs(b) % 300, a << abs(b) % 300",
            "math.gcd(a, b)",
            "hash(a * b), hash(a), (a * b).bit_length()",
        )
    ),
    Table("hash((a * b, a // b, a % b))", integers(40, 1 << 17), integers(40, 1 << 16, 2), "b"),
    Table("str(a), hex(a), int(str(a)), a", integers(300, 12000), FEW),
    Table("float(a), int(float(a)), a == float(a)", integers(1500, 1023), FEW),
    Table("math.isqrt(abs(a)), abs(a) ** 0.5", integers(300, 1023), FEW),
    Table("a ** b % 10 ** 50", integers(40, 512), [*map(str, range(40))]),
    Table("pow(a, abs(b), abs(b) + 2)", integers(30, 256), integers(30, 256, 2)),
    Table("round(a, -b), f'{a:,}', f'{a:_x}'", integers(100, 200), [*map(str, range(20))]),
    Table("a, str(a), float(str(a)), int(a), f'{a}'", floats(6000), FEW),
    Table("float(a)", literals(6000), FEW),
    Table(
        "round(a, b), f'{a:.{abs(b)}f}', f'{a:.{abs(b)}e}'", floats(400), [*map(str, range(-6, 19))]
    ),
    Table("f'{a:.{b}g}', '%.*g' % (b, a), f'{a:,.{b}f}'", floats(400), [*map(str, range(18))]),
    Table("a + b, a - b, a * b, a < b, a == b", floats(250), floats(250, 2)),
    Table("a / b, a // b, a % b, divmod(a, b)", floats(250), floats(250, 2)),
    Table("a ** b, math.fmod(a, b), math.hypot(a, b)", floats(250), floats(250, 2), "a > 0"),
    Table("a < b, a == b, a + b, a // b", floats(150), integers(150, 1000)),
    Table("a.as_integer_ratio(), a.is_integer(), hash(a)", floats(3000), FEW),
    Table("sum([a, b, 0.1, a])", floats(200), floats(200, 2)),
    Table("math.fsum([a, b, 0.1, -a])", floats(200), floats(200, 2)),
]


@pytest.fixture(scope="module")
def answers() -> Iterator[tuple[Answer, Answer]]:
    with extractor_answers() as extractor, cpython_answers() as cpython:
        yield extractor, cpython


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.expression)
def test_table(answers: tuple[Answer, Answer], table: Table) -> None:
    wrong = first_difference(table, answers)
    assert wrong is None, wrong
