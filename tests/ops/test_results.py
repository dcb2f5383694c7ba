"""Columns in the shape of what was given, and gold answers."""

from __future__ import annotations

import numpy as np
import pytest

from reft_megatron.ops.extractor import Extractor
from reft_megatron.ops.results import Gold, Results, flatten, normal_letter


def run(values: list[object], **how: object) -> Results:
    rows = [f"def solution():\n    return {value}\n" for value in values]
    with Extractor(fallback="none") as extractor:
        return extractor.run(rows, **how)


def test_flatten():
    assert flatten(["a", "b"]) == (["a", "b"], (2,))
    assert flatten((["a", "b"], ("c", "d"))) == (["a", "b", "c", "d"], (2, 2))
    assert flatten(np.array([["a"], ["b"]])) == (["a", "b"], (2, 1))
    assert flatten([]) == ([], (0,))
    assert flatten([[], []]) == ([], (2, 0))
    with pytest.raises(ValueError, match="one shape"):
        flatten([["a"], ["b", "c"]])
    with pytest.raises(TypeError, match="saw str"):
        flatten("a")


def test_columns_have_the_shape_of_the_nest():
    rows = [[f"def solution():\n    return {3 * i + j}\n" for j in range(3)] for i in range(2)]
    with Extractor(fallback="none") as extractor:
        results = extractor.run(rows, gold=[0, 1, 5])
    assert results.value.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert results.correct is not None
    assert results.correct.tolist() == [[True, True, False], [False, False, True]]
    for name in ("status", "exc", "route", "steps", "nanos", "extracted"):
        assert getattr(results, name).shape == (2, 3)
    assert results.type_name((1, 2)) == results.type_name(-1) == "int"
    with pytest.raises(IndexError):
        results.why(6)


def test_types_of_the_columns():
    results = run([1])
    found = [
        getattr(results, n).dtype for n in ("value", "status", "exc", "route", "steps", "nanos")
    ]
    assert found == [np.float64, np.uint8, np.uint16, np.uint8, np.uint32, np.uint32]
    assert results.value is results.value
    assert repr(results) == "<Results of 1 rows, 1 with an answer>"


def test_gold_numbers():
    results = run(["1.005", "1.02", "float('inf')", "'x'", "2"], gold=[1, 1, float("inf"), 1, None])
    assert results.correct is not None
    assert results.correct.tolist() == [True, False, False, False, False]
    assert results.extracted.tolist() == [True, True, True, False, True]
    assert run([1]).correct is None


def test_gold_that_does_not_fit():
    with pytest.raises(ValueError, match="broadcast"):
        run([1, 2], gold=[1, 2, 3])


def test_gold_letters():
    results = run(['"B"', "'\"b\" '", "'c'", "1 / 0"], gold=["b", "B", "b", "b"], kind="letter")
    assert results.correct is not None
    assert results.correct.tolist() == [True, True, False, False]
    assert results.text(0) == "B"


def test_texts_are_cut_at_a_character():
    results = run(["'x' + '\\u20ac' * 40"], want_text=True)
    assert results.text(0) == "x" + "\u20ac" * 21


def test_exceptions_have_names():
    results = run(["1 / 0", "[][1]", "{}['a']", "nothing", "1"])
    names = [results.exception(i) for i in range(5)]
    assert names == ["ZeroDivisionError", "IndexError", "KeyError", "NameError", ""]


def test_normal_letter():
    assert normal_letter(" '\"B\"' ") == "b"


def test_a_gold_compares_later():
    gold = Gold([1, 2], tol=0.5)
    assert gold.compare(run([1.4, 3])).tolist() == [True, False]
