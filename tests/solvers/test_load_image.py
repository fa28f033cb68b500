"""The version of a serving stack: one that nobody fitted on leaves the numbers and widens their interval."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim import InvalidInputError, Models, ServingLoadModel
from mlsysim.catalog.stacks import NAMES, Stacks
from mlsysim.validation.serving_data import FITTED, cases, measured, table_of
from mlsysim.validation.statistics import Z90

NUMBERS = ("ttft", "tpot", "throughput")


def ask(stack="vllm", **options):
    return ServingLoadModel().solve("Llama3_8B", "H100", 1024, 1024, concurrency=16, stack=stack, **options)


def width(answer, name):
    low, high = answer.interval()[name]
    return float((high / low).to("").magnitude)


@pytest.mark.parametrize("stack", NAMES[1:])
def test_an_unknown_version_widens_the_interval_and_says_so(stack):
    plain, other = ask(stack), ask(stack, image="registry.example/server:v99.1")
    for name in NUMBERS:
        assert getattr(other.si, name) == getattr(plain.si, name)
    for name in ("ttft", "tpot"):
        assert width(other, name) > width(plain, name)
    assert not any(note.startswith("image") for note in plain.notes)
    assert any("image registry.example/server:v99.1" in note and "wider" in note for note in other.notes)


@pytest.mark.parametrize("stack", NAMES[1:])
def test_the_default_image_is_among_those_fitted_and_changes_nothing(stack):
    plain, named = ask(stack), ask(stack, image=Stacks[stack].image)
    assert Stacks[stack].fitted_on(Stacks[stack].image)
    assert [width(plain, name) for name in ("ttft", "tpot")] == [width(named, name) for name in ("ttft", "tpot")]
    assert plain.notes == named.notes


@pytest.mark.parametrize("stack", NAMES[1:])
def test_the_versions_listed_are_those_of_the_rows_that_were_fitted(stack):
    table = table_of()
    told = {str(table["version"][case.row]) for case in cases()
            if case.stack == stack and case.system in FITTED and case.mode == "agg" and not case.trouble}  # fmt: skip
    told = {version for version in told if version and not version.startswith("nightly")}
    assert all(Stacks[stack].fitted_on(version) for version in told)
    for known in Stacks[stack].versions.split():
        assert any(version.startswith(known) for version in told)


@given(st.integers(0, 9), st.integers(0, 99))
def test_a_version_matches_whole_numbers_only(patch, other):
    stack = Stacks["vllm"]
    assert stack.fitted_on(f"v0.19.{patch}")
    assert stack.fitted_on(f"0.{other}") == (f"0.{other}" in stack.versions.split())
    assert not stack.fitted_on(f"0.1{patch}{other:02d}")


def test_the_widening_holds_nine_tenths_of_the_pairs_of_versions_that_ship():
    table, cells = table_of(), {}
    for case in cases():
        version = str(table["version"][case.row])
        drafts = case.model.startswith("DeepSeek") and Models[case.model].si.mtp_layers  # drafting is not recorded
        if case.mode == "agg" and version and not case.trouble and not drafts:
            cells.setdefault((case.key, case.input, case.output, case.concurrency), []).append((case.row, version))
    pairs = [
        (one[0], two[0]) for cell in cells.values() for one, two in itertools.combinations(cell, 2) if one[1] != two[1]
    ]
    assert len(pairs) >= 25
    for name, sigma in (("tpot", "version_token_sigma"), ("ttft", "version_first_sigma")):
        values = measured(table, name)
        apart = np.array([abs(np.log(values[a] / values[b])) for a, b in pairs])
        assert np.mean(apart <= Z90 * getattr(Stacks["vllm"].si, sigma)) >= 0.9


@pytest.mark.parametrize(
    ("stack", "image"), [("vllm", ""), ("vllm", 0.19), ("vllm", ["0.19"]), ("ideal", "v0.19.0"), ("vllm", "  ")]
)
def test_an_image_that_makes_no_sense_is_one_line(stack, image):
    with pytest.raises(InvalidInputError, match=r"image: expected") as error:
        ask(stack, image=image)
    assert "\n" not in str(error.value)
