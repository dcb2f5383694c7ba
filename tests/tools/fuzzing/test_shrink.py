"""Programs made small: what stays is what matters."""

from __future__ import annotations

from tools.fuzzing.shrink import shrink

PROGRAM = '''def solution():
    """A question."""
    total = 0
    for price in [1, 2.5, 30]:
        if price > 2:
            total += price // 7 + divmod(len("apple"), max(3, 4))[1]
        else:
            print("small", price)
    try:
        return total * 2
    except ValueError as error:
        return str(error)
'''


def test_what_matters_stays() -> None:
    small = shrink(PROGRAM, lambda text: "divmod(" in text)
    assert "divmod(" in small
    assert len(small) < 12


def test_statements_are_lifted_out_of_others() -> None:
    def test(text: str) -> bool:
        try:
            compile(text, "program", "exec")
        except SyntaxError:
            return False
        return "//" in text and "def solution" in text

    assert shrink(PROGRAM, test) == "def solution():price//7"


def test_what_is_no_program_loses_pieces() -> None:
    assert shrink("def f(:\n    x = (1, 2\n    return x", lambda text: "(1" in text) == "(1"


def test_nothing_smaller_will_do() -> None:
    assert shrink(PROGRAM, lambda text: False) == PROGRAM
