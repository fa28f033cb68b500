"""Pipeline schedules played through: as long as the formulas say, in an order that can happen, with the memory they claim."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.physics import pipeline
from mlsysim.solvers.pipeline_schedules import dualpipe, zero_bubble

seconds = st.floats(0.1, 4.0)
SLACK = 1e-9


def passes(events):
    """Start and end of every pass, by rank, what it is and its micro-batch."""
    found = {}
    for event in events:
        for what, batch in re.findall(r"(forward|backward|input gradients|weight gradients) (\d+)", event.name):
            kind = "backward" if what == "input gradients" else what
            found[event.rank, kind, int(batch)] = (event.start, event.end, what)
    return found


def length(events):
    return max(event.end for event in events)


def one_at_a_time(events, stages):
    for stage in range(stages):
        mine = sorted((event for event in events if event.rank == stage), key=lambda event: event.start)
        assert all(first.end <= second.start + SLACK for first, second in itertools.pairwise(mine))


@settings(max_examples=60, deadline=None)
@given(stages=st.integers(1, 8), steps=st.integers(1, 20), forward=seconds, inputs=seconds, weights=seconds)
def test_zero_bubble_is_as_long_as_the_formula_and_its_passes_wait_for_each_other(
    stages, steps, forward, inputs, weights
):
    events = zero_bubble(stages, steps, forward, inputs, weights)
    bubble = pipeline.split_backward_bubble_time(forward, inputs, weights, stages, steps)
    assert length(events) == pytest.approx(steps * (forward + inputs + weights) + bubble)
    one_at_a_time(events, stages)
    found = passes(events)
    assert len(found) == 3 * stages * steps
    for stage, batch in itertools.product(range(stages), range(steps)):
        start, end, _ = found[stage, "forward", batch]
        back, returned, _ = found[stage, "backward", batch]
        assert end <= back + SLACK
        assert returned <= found[stage, "weight gradients", batch][0] + SLACK
        if stage:
            assert found[stage - 1, "forward", batch][1] <= start + SLACK
            assert returned <= found[stage - 1, "backward", batch][0] + SLACK


@settings(max_examples=30, deadline=None)
@given(stages=st.integers(1, 8), steps=st.integers(1, 20), forward=seconds, inputs=seconds, weights=seconds)
def test_zero_bubble_keeps_no_more_micro_batches_than_1f1b(stages, steps, forward, inputs, weights):
    found = passes(zero_bubble(stages, steps, forward, inputs, weights))
    for stage in range(stages):
        for batch in range(steps):  # while a forward pass runs, so many are not yet done with
            begun = found[stage, "forward", batch][0]
            kept = sum(
                found[stage, "forward", n][0] <= begun + SLACK
                and found[stage, "weight gradients", n][1] > begun + SLACK
                for n in range(steps)
            )
            assert kept <= min(stages, steps)


@settings(max_examples=60, deadline=None)
@given(half=st.integers(1, 5), more=st.integers(0, 6), forward=seconds, inputs=seconds, weights=seconds)
def test_dualpipe_is_as_long_as_the_formula_and_its_passes_wait_for_each_other(half, more, forward, inputs, weights):
    stages, steps = 2 * half, 2 * (2 * half + more)
    events = dualpipe(stages, steps, forward, inputs, weights)
    bubble = pipeline.bidirectional_bubble_time(forward, inputs, weights, float(stages))
    assert length(events) == pytest.approx(steps * (forward + inputs + weights) + bubble)
    one_at_a_time(events, stages)
    found = passes(events)
    for rank, batch in itertools.product(range(stages), range(steps)):
        there = batch < steps // 2  # the first half enters at the first rank
        before = rank - 1 if there else rank + 1
        start, end, _ = found[rank, "forward", batch]
        back, returned, how = found[rank, "backward", batch]
        assert end <= back + SLACK
        assert ((rank, "weight gradients", batch) in found) == (how == "input gradients")
        if how == "input gradients":
            assert returned <= found[rank, "weight gradients", batch][0] + SLACK
        if 0 <= before < stages:
            assert found[before, "forward", batch][1] <= start + SLACK
            assert returned <= found[before, "backward", batch][0] + SLACK


@given(stages=st.integers(1, 16).map(lambda n: 2.0 * n), each=seconds, share=st.floats(0.1, 1.0))
def test_published_bubbles_are_those_of_even_passes(stages, each, share):
    weights = share * each
    steps = 4 * stages
    zero = pipeline.split_backward_bubble_time(each, each, weights, stages, steps)
    assert zero == pytest.approx(pipeline.zero_bubble_time(each, each, weights, stages))
    dual = pipeline.bidirectional_bubble_time(each, each, weights, stages)
    assert dual == pytest.approx(pipeline.dualpipe_bubble_time(2 * each + weights, each + weights, weights, stages))


@given(stages=st.integers(2, 16), steps=st.integers(1, 64), forward=seconds, inputs=seconds, weights=seconds)
def test_putting_gradients_off_never_waits_longer_than_1f1b(stages, steps, forward, inputs, weights):
    plain = pipeline.bubble_time(forward + inputs + weights, stages)
    zero = pipeline.split_backward_bubble_time(forward, inputs, weights, stages, steps)
    assert (stages - 1) * max(forward, inputs) - SLACK <= zero <= plain
