"""Pareto fronts against the definition, and the sweep and search around them."""

import numpy as np
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.errors import InvalidInputError, UnknownEntryError
from mlsysim.search import pareto
from mlsysim.search.fronts import front


def by_definition(costs):
    """Nowhere worse and somewhere better than another: beaten. Every pair is looked at."""
    return np.array(
        [not any((other <= row).all() and (other < row).any() for other in costs) for row in costs], dtype=bool
    )


@given(
    st.integers(1, 4).flatmap(
        lambda k: st.lists(st.lists(st.integers(0, 6), min_size=k, max_size=k), min_size=1, max_size=40)
    )
)
def test_the_front_is_what_the_definition_says(rows):
    costs = np.array(rows, dtype=float)
    assert front(costs).tolist() == by_definition(costs).tolist()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_blocks_join_without_loss(count):
    costs = np.random.default_rng(7).integers(0, 60, (2500, count)).astype(float)
    found = front(costs)
    # Every point left out is beaten by one that is on the front, and none on the front beats another.
    best = np.unique(costs[found], axis=0)
    assert by_definition(best).all()
    beaten = [((best <= row).all(axis=1) & (best < row).any(axis=1)).any() for row in costs[~found]]
    assert all(beaten)


def test_unknown_points_are_never_on_the_front():
    assert front(np.array([[np.nan, 0.0], [1.0, 1.0]])).tolist() == [False, True]
    assert front(np.full((2, 2), np.nan)).tolist() == [False, False]


def test_the_skyline_example_of_hotels():
    """Hotels by price and distance to the beach: Borzsonyi, Kossmann and Stocker, ICDE 2001, give the skyline its definition."""
    hotels = np.array([[50.0, 8.0], [60.0, 4.0], [70.0, 5.0], [90.0, 1.0], [95.0, 3.0]])
    assert front(hotels).tolist() == [True, True, False, True, False]


def test_rows_that_do_not_fit_never_win():
    frame = polars.DataFrame(
        {"itl [second]": [1.0, 2.0, 3.0], "throughput": [1.0, 5.0, 9.0], "feasible": [True, True, False]}
    )
    best = pareto(frame, ["minimize: itl", "maximize: throughput"])
    assert best["itl [second]"].to_list() == [1.0, 2.0]
    with pytest.raises(UnknownEntryError, match="did you mean throughput"):
        pareto(frame, ["maximize: thruput"])
    with pytest.raises(InvalidInputError):
        pareto(frame, [])
