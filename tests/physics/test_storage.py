import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.storage import (
    cached_bandwidth,
    checkpoint_overhead,
    checkpoint_size,
    checkpoint_write_time,
    input_bandwidth,
    narrowest_bandwidth,
    prefetch_depth,
    request_bandwidth,
    restore_time,
    stalled_utilisation,
    storage_cost,
    supply_utilisation,
    transfer_time,
    transform_time,
)

positive = st.floats(1e-3, 1e6)
share = st.floats(0, 1)


@given(links=st.lists(positive, min_size=4, max_size=4))
def test_a_path_is_as_wide_as_its_narrowest_link(links):
    assert narrowest_bandwidth(*links) == min(links)
    assert narrowest_bandwidth(links[0], links[1]) == min(links[:2])


@given(size=positive, wide=positive, narrow=share, latency=share)
def test_a_narrower_link_is_never_faster(size, wide, narrow, latency):
    slow = transfer_time(size, wide * (narrow + 1e-3) / 1.001, latency)
    assert slow >= transfer_time(size, wide, latency) * (1 - 1e-12) >= latency * (1 - 1e-12)


@pytest.mark.parametrize(("demand", "utilisation"), [(1e9, 0.142857), (19e12 / 3600, 0.753968)])
def test_demand_on_a_7_gb_per_second_disk(demand, utilisation):
    assert supply_utilisation(demand, narrowest_bandwidth(7e9, 64e9)) == pytest.approx(utilisation, abs=1e-6)


@given(consumers=st.floats(1, 1e4), samples=st.floats(1, 1e4), size=positive, step=positive)
def test_input_demand_is_what_the_steps_read(consumers, samples, size, step):
    rate = input_bandwidth(consumers, samples, size, step)
    assert rate * step == pytest.approx(consumers * samples * size)


@given(requests=positive, size=positive, sequential=positive)
def test_small_requests_never_beat_large_ones(requests, size, sequential):
    assert request_bandwidth(requests, size, sequential) <= sequential


@given(hit=share, cold=positive, speedup=st.floats(1, 1e3))
def test_a_cache_helps_between_nothing_and_all(hit, cold, speedup):
    rate = cached_bandwidth(hit, cold * speedup, cold)
    assert cold * (1 - 1e-9) <= rate <= cold * speedup * (1 + 1e-9)


def test_transforming_256_samples_on_the_host():
    """256 samples of 500 kB at 2 GB/s against a step of 50 ms: 64 ms, 78 % busy, 1.28 times slower."""
    transform = transform_time(256.0, 500e3, 2e9)
    assert transform == pytest.approx(0.064)
    assert stalled_utilisation(0.05, transform) == pytest.approx(0.78125)
    assert 1 / stalled_utilisation(0.05, transform) == pytest.approx(1.28)


@given(compute=positive, supply=positive)
def test_an_accelerator_is_fully_busy_exactly_when_its_input_is_in_time(compute, supply):
    busy = stalled_utilisation(compute, supply)
    assert 0 < busy <= 1
    assert (busy == 1) == (supply <= compute)


@given(latency=positive, step=st.floats(1, 1e3), reserve=st.integers(0, 8))
def test_prefetched_batches_cover_the_latency(latency, step, reserve):
    depth = prefetch_depth(latency, step, float(reserve))
    assert (depth - reserve) * step >= latency * (1 - 1e-9)
    assert (depth - reserve - 1) * step < latency


@pytest.mark.parametrize(("parts", "gigabytes"), [({}, 980), ({"second_moment": 0.0}, 700), ({"weights": 0.0}, 840)])
def test_checkpoint_of_70_billion_parameters(parts, gigabytes):
    assert checkpoint_size(70e9, **parts) / 1e9 == pytest.approx(gigabytes)


@pytest.mark.parametrize(
    ("writers", "hours", "seconds", "lost"), [(1, 4, 141.2, 0.00980556), (64, 1, 2.20625, 0.00061285)]
)
def test_writing_988_gb(writers, hours, seconds, lost):
    """Disks of 7 GB/s behind a file system of 500 GB/s."""
    time = checkpoint_write_time(checkpoint_size(70.6e9), float(writers), 7e9, 500e9)
    assert time == pytest.approx(seconds)
    assert checkpoint_overhead(time, hours * 3600.0) == pytest.approx(lost, abs=1e-8)


@given(size=positive, writers=st.floats(1, 1e4), bandwidth=positive, shared=positive)
def test_more_writers_help_until_the_file_system_is_full(size, writers, bandwidth, shared):
    time = checkpoint_write_time(size, writers, bandwidth, shared)
    assert time >= size / shared * (1 - 1e-12)
    assert checkpoint_write_time(size, writers + 1, bandwidth, shared) <= time


@given(write=positive, interval=positive, blocking=share)
def test_checkpoints_cannot_take_more_than_all_of_the_time(write, interval, blocking):
    lost = checkpoint_overhead(write, interval, blocking)
    assert 0 <= lost <= 1
    assert lost <= checkpoint_overhead(write, interval)


def test_a_restart_storm_is_as_many_reads_as_replicas():
    assert restore_time(980e9, np.array([1.0, 64.0]), 100e9) == pytest.approx([9.8, 627.2])


def test_storage_is_billed_by_size_and_time():
    assert storage_cost(5e12, 23 / 1e12, 2 * 2_629_800.0) == pytest.approx(230.0)
