"""Plans and metrics as data."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim import Plan
from mlsysim.catalog.metrics import METRICS
from mlsysim.catalog.plans import is_plan
from mlsysim.errors import CatalogError
from mlsysim.units import si

PLANS = Path(__file__).parents[2] / "examples" / "plans"
SMALL = {"version": 1, "name": "x", "workload": {"name": "GPT2"}, "hardware": {"name": "H100"}}


@pytest.mark.parametrize("path", METRICS)
def test_metrics_have_a_unit_that_exists_and_a_meaning(path):
    unit, text = METRICS[path]
    assert si(f"1 {unit}", unit or "1", path) == 1.0
    assert text
    assert path.split(".")[0] in ("feasibility", "performance", "macro")


def asserted(**values):
    plan = Plan.of({**SMALL, "constraints": {"assert": [{"metric": "performance.latency", **values}]}})
    return plan.constraints.asserted[0].limits()


@given(st.floats(1e-6, 1e6))
def test_bounds_in_another_unit_are_the_same_bound(seconds):
    milliseconds = asserted(max=1e3 * seconds)[1]
    assert asserted(max=seconds, unit="s")[1] == pytest.approx(milliseconds)
    assert asserted(max=f"{seconds!r} s")[1] == pytest.approx(milliseconds)
    assert asserted(min=seconds, max=2 * seconds, unit="s")[0] == pytest.approx(milliseconds)


def test_a_plan_survives_being_written_and_read():
    plan = Plan.read(PLANS / "llama3_70b_training.yaml")
    assert Plan.of(plan.model_dump(by_alias=True, exclude_none=True)) == plan
    assert is_plan(SMALL)
    assert not is_plan({"id": "x", "name": "y", "values": {}})


def test_every_fault_is_told_at_once():
    with pytest.raises(CatalogError) as error:
        Plan.of(
            {"version": 1, "workload": {"name": "GPT22", "batch_size": 0}, "hardware": {"name": "H100", "zeroo": 2}}
        )
    for part in (
        "name: is missing",
        "workload.name",
        "workload.batch_size",
        "hardware.zeroo: unknown key; did you mean zero",
    ):
        assert part in str(error.value)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.integers()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["name", "workload", "hardware", "ops", "assert", "version", "zz"]), inner, max_size=4
            ),
        ),
        max_leaves=8,
    )
)
def test_no_document_breaks_the_reader(document):
    if isinstance(document, dict):
        with pytest.raises(CatalogError) as error:  # random text names no model of the zoo
            Plan.of(document)
        assert "\n" not in str(error.value)
