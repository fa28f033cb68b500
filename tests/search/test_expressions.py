"""Conditions and objectives: units, words, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.errors import InvalidInputError, MLSysimError, UnitError, UnknownEntryError
from mlsysim.search import Constraints, Expression, Objective

UNITS = {
    "itl": "second",
    "ttft": "second",
    "batch": "1",
    "kv": "byte",
    "throughput": "token/second",
    "bottleneck": None,
    "feasible": None,
}


@given(itl=st.floats(0, 10), utilisation=st.floats(0, 2))
def test_a_condition_is_what_python_says_it_is(itl, utilisation):
    found = Expression("itl <= 50 ms and batch < 0.9").of({"itl": itl, "batch": utilisation})
    assert bool(found) == (itl <= 0.05 and utilisation < 0.9)


@given(itl=st.floats(0, 10), ttft=st.floats(0, 10))
def test_the_excess_is_zero_exactly_where_the_condition_holds(itl, ttft):
    condition = Expression("itl <= 50 ms and (ttft < 1 s or itl < 1 ms)")
    columns = {"itl": itl, "ttft": ttft}
    assert (float(condition.excess(columns)) == 0) == bool(condition.of(columns))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50 ms", 0.05), ("2 GB", 2e9), ("2 GiB", 2 * 2**30), ("1e3 us", 1e-3), ("90 GB/s", 9e10), ("1_000", 1000.0),
        ("10 ms + 5 ms", 0.015), ("-3", -3.0), ("4 GB / 2 s", 2e9), ("3 * 2 ms", 0.006),
    ],
)  # fmt: skip
def test_numbers_with_units(text, value):
    assert float(Expression(text).of({})) == pytest.approx(value, rel=1e-12)


def test_fields_divide_and_words_compare():
    columns = {
        "throughput": np.array([10.0, 40.0]),
        "batch": np.array([2.0, 4.0]),
        "bottleneck": np.array(["Memory", "Compute"]),
    }
    assert Expression("throughput / batch > 6 token/s").of(columns).tolist() == [False, True]
    assert Expression("bottleneck == 'Memory'").of(columns).tolist() == [True, False]
    assert str(Expression("throughput / batch").check(UNITS)) == "tok/s"
    assert Expression("not (itl < 1 ms) and 0.1 s < ttft <= 200 ms").of({"itl": 1.0, "ttft": 0.15})


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("itl < 50", UnitError, "itl needs a unit like ms"),
        ("itl < 5 GB", UnitError, "itl is in s and 5 GB in B"),
        ("itl + kv < 5 s", UnitError, "in"),
        ("itl < 5 lightyears", UnitError, "is not a unit"),
        ("itll < 5 ms", UnknownEntryError, "did you mean itl"),
        ("bottleneck < 5", InvalidInputError, "is not"),
        ("itl and batch < 3", InvalidInputError, "not a condition"),
        ("bottleneck + 1 < 3", InvalidInputError, "words"),
    ],
)
def test_faults_are_told_in_one_line(text, kind, told):
    with pytest.raises(kind, match=told) as caught:
        Expression(text).check(UNITS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('true')", "itl.__class__()", "[1][0] < 2", "lambda: 1", "itl if batch else ttft", "itl <", "",
     "(" * 500, "not " * 300 + "feasible", "f'{itl}' == 'a'", "itl ** 2 < 1", "x := 3", "a" * 3000, "itl < b'a'"],
)  # fmt: skip
def test_only_expressions_over_fields_are_read(text):
    with pytest.raises(MLSysimError) as caught:
        Expression(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        Constraints([text]).check(UNITS, "answer")
    except MLSysimError:
        pass
    else:
        assert text.strip()


@pytest.mark.parametrize(
    "texts",
    [["itl < 10 ms", "itl > 20 ms"], ["itl < 10 ms and 0.02 s < itl"], ["batch == 3", "batch == 4"], ["batch < 3", "batch >= 3"],
     ["3 < batch", "batch <= 3"]],
)  # fmt: skip
def test_contradictions_are_told(texts):
    with pytest.raises(InvalidInputError, match="no value of"):
        Constraints(texts)


def test_what_can_be_met_is_accepted():
    assert Constraints(["batch <= 3", "batch >= 3", "batch == 3", "itl < 10 ms or itl > 20 ms", "feasible"])
    with pytest.raises(InvalidInputError, match="not a condition"):
        Constraints("itl * 2")
    with pytest.raises(InvalidInputError, match="not a condition"):
        Constraints("itl").check(UNITS, "answer")


@pytest.mark.parametrize("text", ["ttft", "smallest: ttft", "minimze ttft", "minimize:", "minimize: itl < 3 ms", 3, ""])
def test_objectives_that_are_none(text):
    with pytest.raises(InvalidInputError):
        Objective.parse(text)


def test_objectives_know_their_direction():
    assert [
        Objective.parse(t).sign for t in ("minimize: itl", "Minimise itl", "maximize throughput", "max: a / b")
    ] == [1, 1, -1, -1]
    assert math.isclose(Objective.parse("min: itl / batch").expression.of({"itl": 3.0, "batch": 2.0}), 1.5)
