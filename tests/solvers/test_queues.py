"""Tail latency, shared clusters, data supply: known answers, laws, arrays, hostile input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Hardware, Systems
from mlsysim.errors import InvalidInputError, MLSysimError
from mlsysim.solvers.ingestion import DataModel, TransformationModel
from mlsysim.solvers.orchestration import OrchestrationModel
from mlsysim.solvers.tail import TailLatencyModel

TAIL, QUEUE, DATA, TRANSFORM = (
    TailLatencyModel().solve,
    OrchestrationModel().solve,
    DataModel().solve,
    TransformationModel().solve,
)


def test_mm1_at_eighty_per_cent_is_kleinrocks():
    # Kleinrock, Queueing Systems I, section 3.2: the sojourn time of M/M/1 is exponential with rate mu - lambda = 20 / s
    r = TAIL(arrival_rate_qps=80, service_latency_ms=10)
    for field, q in (("p50_latency", 0.5), ("p90_latency", 0.9), ("p99_latency", 0.99), ("p99_9_latency", 0.999)):
        assert getattr(r.si, field) == pytest.approx(-math.log(1 - q) / 20)
    assert r.queue_utilization == pytest.approx(0.8)
    assert r.mean_latency.to("ms").magnitude == pytest.approx(50)
    assert r.slo_violation_probability == pytest.approx(math.exp(-20 * 0.05))
    assert r.is_stable is True


def test_unstable_is_an_answer():
    r = TAIL(500, 10, 4)
    assert not r.is_stable
    assert math.isinf(r.si.p99_latency)
    assert r.slo_violation_probability == 1
    assert str(r)
    assert r.to_json()


@given(st.floats(0.1, 300), st.floats(0.1, 50), st.integers(1, 30), st.floats(0, 3), st.floats(1, 1000))
@settings(max_examples=60, deadline=None)
def test_a_probability_stays_one_and_percentiles_rise(rate, service, replicas, cv, objective):
    r = TAIL(rate, service, replicas, cv, slo_latency_ms=objective).si
    assert 0 <= r.slo_violation_probability <= 1
    assert r.p50_latency <= r.p90_latency <= r.p99_latency <= r.p99_9_latency
    if r.is_stable:
        assert r.p99_latency >= TAIL(rate, service, replicas + 1, cv).si.p99_latency * (1 - 1e-9)


def test_arrays_equal_the_scalar_answers():
    rates, replicas = np.linspace(1, 399, 500)[:, None], np.array([1, 2, 4])
    many = TAIL(arrival_rate_qps=rates, service_latency_ms=10, num_replicas=replicas)
    assert many.p99_latency.shape == many.is_stable.shape == (500, 3)
    for i in (0, 100, 250, 499):
        for j, count in enumerate(replicas):
            one = TAIL(rates[i, 0], 10, int(count)).si
            assert many.si.p99_latency[i, j] == pytest.approx(one.p99_latency, rel=1e-12)
            assert many.si.mean_wait[i, j] == pytest.approx(one.mean_wait, rel=1e-12)


def test_a_million_replicas_take_no_loop():
    r = TAIL(9e7, 10, 1_000_000)
    assert r.is_stable
    assert r.si.p99_latency == pytest.approx(0.01 * math.log(100), rel=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"arrival_rate_qps": -5},
        {"service_latency_ms": 0},
        {"service_latency_ms": -10},
        {"arrival_rate_qps": math.nan},
        {"num_replicas": 0},
        {"num_replicas": 1.5},
        {"service_time_cv": -1},
        {"service_latency_ms": "10 GB"},
        {"slo_latency_ms": math.inf},
    ],
)
def test_hostile_queues_are_refused_in_one_line(bad):
    with pytest.raises(MLSysimError) as error:
        TAIL(**{"arrival_rate_qps": 80, "service_latency_ms": 10, **bad})
    assert "\n" not in str(error.value)
    assert next(iter(bad)) in str(error.value)


def test_all_faults_come_at_once():
    with pytest.raises(InvalidInputError) as error:
        TAIL(-1, 0, 0)
    assert len(error.value.problems) == 3


def test_one_slot_is_the_md1_of_the_specification():
    r = QUEUE("Research_256", 0.5, 1.6, accelerators_per_job=256, job_duration_cv=0)
    assert (r.cluster_utilization, r.avg_wait_time_days, r.avg_queue_length) == pytest.approx((0.8, 3.2, 1.6))
    over = QUEUE("Research_256", 1, 2, accelerators_per_job=256)
    assert over.cluster_utilization == pytest.approx(2)
    assert math.isinf(over.avg_wait_time_days)
    assert not over.feasible


def test_a_larger_fleet_waits_less_for_the_same_jobs():
    small, large = (QUEUE(fleet, 20, 1.5) for fleet in ("Research_256", "Mega_100K"))
    assert small.si.avg_wait_time > large.si.avg_wait_time
    assert small.cluster_utilization > large.cluster_utilization


@given(st.floats(0.01, 0.95), st.sampled_from([8, 32, 64, 256]), st.floats(0, 4))
@settings(max_examples=40, deadline=None)
def test_jobs_in_the_queue_obey_little(load, size, cv):
    slots = 256 / size
    r = QUEUE("Research_256", load * slots, 1.0, accelerators_per_job=size, job_duration_cv=cv)
    assert r.avg_queue_length == pytest.approx(load * slots * r.avg_wait_time_days, rel=1e-9, abs=1e-12)
    assert r.cluster_utilization == pytest.approx(load)


def test_jobs_that_are_too_large_never_start():
    r = QUEUE("Research_256", 1, 1, accelerators_per_job=np.array([8, 512]))
    assert r.is_stable.tolist() == [True, False]
    assert np.isinf(r.si.avg_wait_time[1])


@pytest.mark.parametrize(("rate", "days"), [(-1, 1), (1, 0), (1, -1), (math.nan, 1), (1, "3 GB")])
def test_hostile_jobs_are_refused(rate, days):
    with pytest.raises(MLSysimError):
        QUEUE("Research_256", rate, days)


def test_data_arrives_at_the_narrower_rate():
    r = DATA("1 GB/s", Hardware.H100, storage_bandwidth="7 GB/s")
    assert (r.utilization, r.margin, r.bottleneck, r.is_stalled) == (pytest.approx(1 / 7), 6.0, "Storage", False)
    assert DATA("19 TB/h", "H100", storage_bandwidth="7 GB/s").utilization == pytest.approx(0.753968, rel=1e-5)
    wide = DATA("1 GB/s", "H100", storage_bandwidth="200 GB/s")
    assert wide.bottleneck == "Interconnect"
    assert wide.supply_bw == Hardware.H100.interconnect.bandwidth


def test_unknown_supply_is_said_not_guessed():
    chip = Hardware.A100
    assert chip.si.storage_bandwidth is None
    r = DATA("1 GB/s", chip)
    assert r.is_stalled is None
    assert r.feasible is None
    assert any("storage bandwidth of A100" in note for note in r.notes)
    assert DATA("10 TB/s", chip).is_stalled is True  # more than the host link alone
    many = DATA("1 GB/s", Hardware.stack(["A100", "H100"]))
    assert many.supply_known.tolist() == [False, True]


def test_a_node_feeds_all_of_its_chips():
    one = DATA("1 GB/s", "H100", storage_bandwidth="1 TB/s").si.supply_bw
    assert DATA("1 GB/s", Systems.Nodes.DGX_H100, storage_bandwidth="1 TB/s").si.supply_bw == 8 * one


def test_preparing_samples_matches_the_specification():
    r = TRANSFORM(256, "500 kB", "2 GB/s", "50 ms")
    assert r.transform_time.to("ms").magnitude == pytest.approx(64)
    assert (r.accelerator_utilization, r.slowdown_factor, r.is_bottleneck) == (pytest.approx(0.78125), 1.28, True)
    assert not TRANSFORM(256, "500 kB", "2 GB/s", "50 ms", cpu_workers=2).is_bottleneck


@given(st.integers(1, 4096), st.floats(0.001, 1), st.integers(1, 64))
@settings(max_examples=40, deadline=None)
def test_overlap_never_loses(batch, step, workers):
    options = {"batch_size": batch, "sample_size_bytes": "150 kB", "cpu_throughput": "1 GB/s"}
    apart = TRANSFORM(accelerator_step_time=f"{step} s", cpu_workers=workers, pipelined=False, **options).si
    together = TRANSFORM(accelerator_step_time=f"{step} s", cpu_workers=workers, **options).si
    assert max(apart.transform_time, step) == pytest.approx(together.step_time)
    assert together.step_time <= apart.step_time <= 2 * together.step_time * (1 + 1e-12)


@pytest.mark.parametrize("bad", [(-256, "1 kB", "1 GB/s", "1 s"), (1, "1 kB", "0 GB/s", "1 s"), (1, 500, "1 GB/s", "1 s"), (1, "1 kB", "1 GB/s", "0 s")])  # fmt: skip
def test_hostile_batches_are_refused(bad):
    with pytest.raises(MLSysimError):
        TRANSFORM(*bad)
