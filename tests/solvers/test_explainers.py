"""Why one answer is slower than another: shares that add up, and no credit for what did not change."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim import DifferentialExplainer, Engine, Hardware
from mlsysim.errors import InvalidInputError
from mlsysim.solvers import DistributedModel, ServingModel, TrainingStep
from mlsysim.solvers.explainers import attribute
from mlsysim.solvers.whatif import changed

explain = DifferentialExplainer.compare_performance
positive = st.floats(1e-3, 1e3)


def roofline(v):
    return max(v["work"] / v["rate"], v["bytes"] / v["bandwidth"]) + v["wait"]


values = st.fixed_dictionaries({name: positive for name in ("work", "rate", "bytes", "bandwidth", "wait")})


@given(first=values, second=values, kept=st.sets(st.sampled_from(["work", "rate", "bytes", "bandwidth", "wait"])))
def test_shares_add_up_and_what_is_the_same_gets_none(first, second, kept):
    second = {**second, **{name: first[name] for name in kept}}
    shares, same = attribute(roofline, first, second, {})
    assert kept <= set(same)
    assert not kept & {share.name for share in shares}
    before, after = roofline(first), roofline(second)
    assert math.prod(s.speedup for s in shares) == pytest.approx(before / after, rel=1e-9)
    assert sum(s.seconds for s in shares) == pytest.approx(after - before, rel=1e-9, abs=1e-9 * before)


@given(first=values, second=values)
def test_the_way_back_is_the_inverse(first, second):
    there = {s.name: s.speedup for s in attribute(roofline, first, second, {})[0]}
    back = {s.name: s.speedup for s in attribute(roofline, second, first, {})[0]}
    assert all(there[name] * back[name] == pytest.approx(1.0) for name in there)


def test_equal_causes_share_equally_shapley_1953():
    # the axiom of symmetry: what enters alike and changes alike has the same value
    shares, _ = attribute(lambda v: v["a"] * v["b"], {"a": 2.0, "b": 2.0}, {"a": 3.0, "b": 3.0}, {})
    assert shares[0].speedup == pytest.approx(shares[1].speedup) == pytest.approx(2 / 3)


def test_a_faster_memory_gets_the_credit_of_a_memory_bound_pass():
    told = explain(Engine.solve("Llama3_8B", "A100"), Engine.solve("Llama3_8B", "H100"))
    ratio = Hardware.H100.si.memory_bandwidth / Hardware.A100.si.memory_bandwidth
    best = told.factors[0]
    assert best.name == "memory bandwidth"
    assert 1.5 < told.speedup <= ratio
    assert best.speedup == pytest.approx(told.speedup, rel=0.01)
    assert next(f for f in told.factors if f.name == "arithmetic rate").speedup == pytest.approx(1.0)


def test_a_smaller_model_on_the_same_chip_owes_nothing_to_its_bandwidth():
    told = explain(Engine.solve("Llama3_70B", "H100"), Engine.solve("Llama3_8B", "H100"))
    assert told.feasible == (False, True)
    assert "memory bandwidth" in told.unchanged
    assert {told.factors[0].name, told.factors[1].name} == {"spill to the host", "bytes moved"}
    assert "does not fit" in str(told)


@pytest.mark.parametrize("metric", ["itl", "ttft"])
@pytest.mark.parametrize("efficiency", [0.5, "measured"])
def test_times_of_serving_are_those_of_the_answers(metric, efficiency):
    a = ServingModel().solve("Llama3_8B", "H100", 2048, 8, "fp16", efficiency)
    b = ServingModel().solve("Llama3_8B", "H200", 1024, 8, "fp16", efficiency)
    told = explain(a, b, metric)
    assert told.before == pytest.approx(getattr(a.si, metric))
    assert told.after == pytest.approx(getattr(b.si, metric))
    assert told.changed["hardware"] == ("H100", "H200")


def test_times_of_training_are_those_of_the_answers():
    common = dict(batch_size=256, microbatch_count=32, activation_recomputation="full")
    a = DistributedModel().solve("Llama3_70B", "Research_256", tp_size=8, pp_size=4, **common)
    b = DistributedModel().solve("Llama3_70B", "Research_256", tp_size=4, pp_size=8, **common)
    told = explain(a, b)
    assert told.before == pytest.approx(a.si.step_latency_total)
    assert "compute" in told.unchanged
    assert told.to_dict()["changed"]["tp_size"] == ["8", "4"]
    step = TrainingStep().solve("ResNet50", "A100", 8)
    again = TrainingStep().solve("ResNet50", "A100", 8, efficiency=1.0)
    assert explain(step, again).after == pytest.approx(again.si.latency)


def test_nothing_changed_says_so():
    one = Engine.solve("ResNet50", "A100")
    told = explain(one, Engine.solve("ResNet50", "A100"))
    assert told.speedup == 1
    assert told.factors == ()
    assert "as fast as before" in str(told)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (lambda: 3, lambda: 4, "a: expected an answer"),
        (lambda: Engine.solve("ResNet50", "A100"), lambda: ServingModel().solve("GPT2", "A100", 100), "b: expected a"),
        (lambda: Engine.solve("ResNet50", "A100", [1, 2]), lambda: Engine.solve("ResNet50", "A100"), "a sweep"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, said):
    with pytest.raises(InvalidInputError, match=said):
        explain(a(), b())


def test_whatif_changes_facts_and_options():
    one = Engine.solve("Llama3_8B", "H100")
    twice = changed(one, ["memory_bandwidth=2x", "batch_size=4x"])
    assert twice.question.arguments["batch_size"] == 4
    assert twice.si.peak_bw_actual == 2 * one.si.peak_bw_actual
    same = changed(one, ["memory_bandwidth=3.35 TB/s", "precision=fp16"])
    assert same.si.latency == one.si.latency


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("batch_size", "NAME=VALUE"),
        ("batchsize=3", "did you mean batch_size"),
        ("memory_bandwidth=3 GB", "memory_bandwidth"),
        ("memory_bandwidth=-3 TB/s", "memory_bandwidth"),
        ("batch_size=nan", "batch_size"),
        ("precision=2x", "factor"),
        ("price=x", "price"),
        ("efficiency=7", "efficiency"),
    ],
)
def test_a_change_that_makes_no_sense_is_one_line(change, said):
    with pytest.raises(InvalidInputError) as error:
        changed(Engine.solve("Llama3_8B", "H100"), [change])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
