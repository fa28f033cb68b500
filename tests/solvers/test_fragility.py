"""Reliability, goodput and checkpoints of fleets: published runs, known answers, laws, hostile input."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Hardware, Infra, Models, Systems
from mlsysim.errors import MissingFactError, MLSysimError
from mlsysim.solvers.checkpoint import OPTIMIZERS, CheckpointModel
from mlsysim.solvers.reliability import GoodputModel, ReliabilityModel

FRAGILE, GOOD, SAVE = ReliabilityModel().solve, GoodputModel().solve, CheckpointModel().solve


def of_llama_3():
    """16,384 H100 with the MTBF that the Llama 3 report states as a count."""
    seen = Infra.Reliability.Llama3_405B.si
    fleet = Systems.Clusters.Frontier_8K
    return fleet.replace(count=16_384 / 8, mtbf=f"{seen.mtbf / 16_384} s")


def test_llama_3_405b_interruptions_and_effective_time():
    # The Llama 3 Herd of Models, arXiv:2407.21783, section 3.3.4: 419 unexpected interruptions in 54 days on 16,384
    # H100, "higher than 90% effective training time". Checkpoint stalls and restart times are not printed: one minute
    # of checkpoint and ten of restart are held against the bound.
    r = FRAGILE(of_llama_3(), "54 day", checkpoint_time_s=10, avg_recovery_time_s=600)
    assert r.expected_failures == pytest.approx(419, rel=0.01)
    assert r.goodput_ratio > 0.90


def test_planning_figures_are_on_the_safe_side_of_llama_3():
    # The planning MTBF of a GPU already stands for all causes; adapters come on top. The report counts 419.
    r = FRAGILE(Systems.Clusters.Frontier_8K.replace(count=2048), "54 day")
    assert 419 < r.expected_failures < 1.5 * 419


def test_opt_175b_restarts():
    # OPT-175B chronicles: about 90 restarts of 1,024 A100 in 56 days
    seen = Infra.Reliability.OPT_175B.si
    fleet = Systems.Clusters.Research_256.replace(count=128, mtbf=f"{seen.mtbf / 1024} s")
    assert FRAGILE(fleet, "56 day").expected_failures == pytest.approx(90, rel=0.01)


def test_frontier_8k_matches_the_specification():
    # 4.5776 h with redundant supplies (0.3.0); Young's interval within 3 %
    r = FRAGILE("Frontier_8K", 720, 60)
    assert r.fleet_mtbf.to("hour").magnitude == pytest.approx(4.5776, rel=0.001)
    young = math.sqrt(2 * 60 * r.si.fleet_mtbf)
    assert r.si.optimal_checkpoint_interval == pytest.approx(young, rel=0.03)
    assert r.si.young_interval == pytest.approx(young)
    assert 0.85 < r.goodput_ratio < 0.935467  # the specification forgets the work done twice
    assert r.failure_probability == pytest.approx(1)


def test_a_fleet_states_its_own_mtbf():
    fleet = Systems.Clusters.Frontier_8K.replace(mtbf="1 hour")
    r = FRAGILE(fleet, 10)
    assert r.si.fleet_mtbf == 3600
    assert r.expected_failures == pytest.approx(10)
    assert r.node_mtbf is None


@given(st.floats(1, 5000), st.floats(1, 900), st.floats(0, 3600), st.floats(1, 8))
@settings(max_examples=50, deadline=None)
def test_the_shares_of_a_job_add_up(hours, dump, recovery, together):
    r = FRAGILE("Frontier_8K", hours, dump, recovery, correlation=together)
    assert r.goodput_ratio + r.checkpoint_loss + r.recovery_loss + r.rework_loss == pytest.approx(1)
    assert sum(r.failure_shares.values()) == pytest.approx(1)
    assert r.expected_failures * r.si.fleet_mtbf == pytest.approx(r.si.job_duration)


def test_more_parts_and_fewer_spares_only_hurt():
    plain = FRAGILE("Frontier_8K", 720)
    more = FRAGILE("Frontier_8K", 720, parts={"Cable": 8, "PCIe_Switch": 4})
    assert more.si.fleet_mtbf < plain.si.fleet_mtbf
    goods = FRAGILE("Frontier_8K", 720, hot_spares=np.array([0, 2, 8, 64])).goodput_ratio
    assert (np.diff(goods) >= 0).all()
    assert goods[-1] == pytest.approx(plain.goodput_ratio, rel=1e-6)


def test_arrays_equal_the_scalar_answers():
    hours, dumps = np.array([1.0, 720.0]), np.array([[10.0], [60.0], [300.0]])
    many = FRAGILE("Frontier_8K", hours, dumps)
    assert many.goodput_ratio.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            one = FRAGILE("Frontier_8K", hours[j], dumps[i, 0])
            for field in ("goodput_ratio", "failure_probability", "optimal_checkpoint_interval"):
                here = np.broadcast_to(getattr(many.si, field), many.shape)[i, j]
                assert here == pytest.approx(getattr(one.si, field), rel=1e-12)


@pytest.mark.parametrize("bad", [{"job_duration_hours": -10}, {"checkpoint_time_s": 0}, {"checkpoint_time_s": -60},
                                 {"avg_recovery_time_s": -1}, {"correlation": 0.5}, {"fleet": "Frontier_9K"},
                                 {"parts": {"Warp_Core": 1}}, {"checkpoint_interval_s": 30},
                                 {"job_duration_hours": math.nan}])  # fmt: skip
def test_hostile_fleets_are_refused_in_one_line(bad):
    with pytest.raises(MLSysimError) as error:
        FRAGILE(**{"fleet": "Frontier_8K", "job_duration_hours": 720, **bad})
    assert "\n" not in str(error.value)


def test_goodput_multiplies_and_its_losses_add():
    # three factors as in arXiv:2502.06982, section 4
    r = GOOD(0.95, 0.9, 0.45, ceilings={"program": 0.6}, device_hour_rate=3)
    assert r.mpg == pytest.approx(0.95 * 0.9 * 0.45)
    assert r.scheduling_share + r.runtime_share + r.program_share == pytest.approx(1)
    assert r.ceiling_ratio == pytest.approx(0.95 * 0.9 * 0.45 / 0.6)
    assert r.useful_device_rate.to("USD/hour").magnitude == pytest.approx(3 / r.mpg)


def test_simulation_agrees_with_theory_and_is_seeded():
    one = GOOD(mtbf="4.5 hour", simulated_failures=200_000, seed=7)
    assert one.runtime_simulated == GOOD(mtbf="4.5 hour", simulated_failures=200_000, seed=7).runtime_simulated
    assert abs(one.runtime_simulated - one.runtime) < 5 * one.runtime_standard_error
    # infant mortality bunches failures: long quiet spells save more than rework costs
    bunched = GOOD(mtbf="4.5 hour", simulated_failures=200_000, failure_shape=0.6, recovery_time="0 s")
    even = GOOD(mtbf="4.5 hour", simulated_failures=200_000, recovery_time="0 s")
    assert bunched.runtime_simulated != pytest.approx(even.runtime_simulated, abs=1e-3)


def test_goodput_needs_something_to_go_by():
    with pytest.raises(MLSysimError, match="mtbf="):
        GOOD(0.9)
    with pytest.raises(MLSysimError, match="did you mean program"):
        GOOD(0.9, 0.9, 0.9, ceilings={"progam": 0.5})


def test_checkpoint_of_adam_is_fourteen_bytes_a_parameter():
    # Rajbhandari et al., ZeRO, arXiv:1910.02054, section 3.1: 2 (weights) + 4 + 4 + 4 (Adam, full precision)
    r = SAVE("Llama3_70B", "H100", storage_bandwidth="7 GB/s")
    assert r.si.checkpoint_size == 14 * Models.Llama3_70B.si.parameters
    assert r.write_time_seconds == pytest.approx(141.2, rel=0.001)
    assert r.mfu_penalty == pytest.approx(0.00980556, rel=0.001)
    assert r.mfu_penalty_pct == pytest.approx(100 * r.mfu_penalty)
    assert r.storage_bottleneck
    many = SAVE("Llama3_70B", "H100", checkpoint_interval_hours=1, n_writers=64, storage_bandwidth="7 GB/s")
    assert many.write_time_seconds == pytest.approx(2.20625, rel=0.001)
    assert many.mfu_penalty == pytest.approx(0.00061285, rel=0.001)
    assert SAVE("Llama3_8B", "A100", "sgd").checkpoint_size.to("GB").magnitude == pytest.approx(32.12, rel=0.001)


def test_unknown_storage_leaves_the_size_standing():
    assert Hardware.A100.si.storage_bandwidth is None
    r = SAVE("Llama3_70B", "A100")
    assert r.checkpoint_size.to("GB").magnitude == pytest.approx(988, rel=0.001)
    assert math.isnan(r.si.write_time)
    assert r.feasible is None
    assert any("pass storage_bandwidth=" in note for note in r.notes)


def test_a_write_longer_than_the_interval_is_not_feasible():
    r = SAVE("Llama3_70B", "H100", checkpoint_interval_hours=0.01, storage_bandwidth="7 GB/s")
    assert r.feasible is False
    assert r.mfu_penalty == 1


@given(st.sampled_from(sorted(OPTIMIZERS)), st.integers(1, 4096), st.floats(0.01, 48))
@settings(max_examples=40, deadline=None)
def test_background_writes_stall_no_longer(optimizer, writers, hours):
    options = {"optimizer": optimizer, "n_writers": writers, "checkpoint_interval_hours": hours}
    inline = SAVE("Llama3_8B", "H100", storage_bandwidth="7 GB/s", **options).si
    background = SAVE("Llama3_8B", "H100", storage_bandwidth="7 GB/s", asynchronous=True, **options).si
    assert background.write_time == inline.write_time
    if writers * Hardware.H100.si.host_bandwidth <= 500e9:
        assert background.stall_time <= inline.stall_time
    assert inline.write_time >= inline.checkpoint_size / 500e9 * (1 - 1e-12)


@pytest.mark.parametrize("bad", [{"n_writers": 0}, {"n_writers": -1}, {"checkpoint_interval_hours": 0},
                                 {"checkpoint_interval_hours": -1}, {"optimizer": "adan"},
                                 {"filesystem_limit_gbs": 0}, {"storage_bandwidth": "7 GB"}])  # fmt: skip
def test_hostile_checkpoints_are_refused(bad):
    with pytest.raises(MLSysimError):
        SAVE("Llama3_70B", "H100", **bad)


def test_a_model_without_parameters_is_a_missing_fact():
    without = dataclasses.replace(Models.ResNet50, parameters=None)
    with pytest.raises(MissingFactError, match="parameter count"):
        SAVE(without, "H100")
