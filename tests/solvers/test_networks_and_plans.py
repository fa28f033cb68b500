"""Topology, network roofline, expert routing and the search over plans."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import (
    DistributedModel,
    MoERoutingModel,
    NetworkRooflineModel,
    ParallelismOptimizer,
    Systems,
    TopologyModel,
)
from mlsysim.errors import InvalidInputError, InvalidPlanError, MLSysimError, UnsupportedWorkloadError
from mlsysim.machine import network
from mlsysim.machine.textbook import wiring

TOPOLOGY, ROOFLINE, ROUTING, SEARCH = TopologyModel(), NetworkRooflineModel(), MoERoutingModel(), ParallelismOptimizer()


def test_fat_tree_of_the_functional_specification():
    r = TOPOLOGY.solve("InfiniBand_NDR", "fat_tree", 64)
    assert r.effective_bw.to("GB/s").magnitude == 50
    assert r.bisection_bw.to("GB/s").magnitude == 1600
    assert r.bisection_bw_fraction == 1


def test_oversubscription_takes_its_share_once():
    fabric = Systems.Fabrics.InfiniBand_NDR.replace(oversubscription_ratio=4)
    r = TOPOLOGY.solve(fabric, "fat_tree", 4096)
    assert r.effective_bw.to("GB/s").magnitude == 12.5
    assert r.bisection_bw_fraction == 0.25
    assert r.bottleneck == "Bisection"
    assert r.margin == 4


@pytest.mark.parametrize(
    "topology", ["fat_tree", "rail_optimized", "dragonfly", "torus_3d", "torus_2d", "mesh_3d", "ring", "nvl72"]
)
def test_one_node_is_its_own_network_and_arrays_equal_scalars(topology):
    nodes = np.array([1, 2, 5, 8, 64, 72])
    sweep = TOPOLOGY.solve("InfiniBand_NDR", topology, nodes)
    assert sweep.hops_avg[0] == 0
    assert (sweep.bisection_bw_fraction <= 1).all()
    for index, count in enumerate(nodes):
        one = TOPOLOGY.solve("InfiniBand_NDR", topology, int(count))
        for name in ("hops_avg", "effective_bw", "bisection_bw"):
            assert np.broadcast_to(getattr(sweep.si, name), 6)[index] == getattr(one.si, name)


def test_ports_on_rails_reach_further_through_one_switch():
    rails = TOPOLOGY.solve("InfiniBand_NDR", "rail_optimized", 64, ports_per_node=8)
    tree = TOPOLOGY.solve("InfiniBand_NDR", "fat_tree", 64, ports_per_node=8)
    assert rails.hops_avg == 2 < tree.hops_avg


@pytest.mark.parametrize("change", [dict(topology="torus_4d"), dict(num_nodes=0), dict(num_nodes=float("nan")), dict(fabric="NDRR"),
                                    dict(fabric="H100"), dict(topology="nvl72", num_nodes=73), dict(switch_radix=1), dict(topology=None)])  # fmt: skip
def test_nonsense_networks_are_refused_in_one_line(change):
    with pytest.raises(MLSysimError) as caught:
        TOPOLOGY.solve(**(dict(fabric="InfiniBand_NDR", topology="ring", num_nodes=8) | change))
    assert "\n" not in str(caught.value)


def test_each_chip_has_a_share_of_its_own_of_the_network():
    """Defect P28 of the specification: the ridge is that of one chip and its link, whatever the number of chips."""
    fleet = Systems.Clusters.Frontier_8K
    small, large = ROOFLINE.solve("Llama3_70B", fleet.replace(count=32)), ROOFLINE.solve("Llama3_70B", fleet)
    assert small.ridge_point == large.ridge_point
    assert large.si.ridge_point == pytest.approx(989.4e12 * 0.5 / 50e9, rel=1e-3)


def test_intensity_is_six_flops_a_token_over_four_bytes_a_parameter_shared_by_a_node():
    """6 P T FLOPs against 2 (n - 1) / n of 2 P bytes through 8 chips: 12 FLOP/B a token, 1.5 without the node."""
    r = ROOFLINE.solve("Llama3_70B", "Frontier_8K", tokens_per_chip=np.array([1, 1000]))
    assert r.si.communication_intensity == pytest.approx(np.array([12.0, 12000.0]) * 1024 / 1023)


@given(st.integers(1, 100_000))
@settings(max_examples=30, deadline=None)
def test_the_network_binds_below_the_balance_and_arithmetic_above(tokens):
    r = ROOFLINE.solve("Llama3_8B", "Research_256", tokens_per_chip=tokens)
    assert (r.bottleneck == "Network") == (tokens < r.tokens_to_balance)
    assert r.si.latency == max(r.si.latency_compute, r.si.latency_network)
    assert r.si.attainable <= r.si.peak_flops_actual


def test_dispatch_bytes_of_deepseek_v3():
    """4,096 tokens x 8 experts x 7,168 values in one byte (DeepSeek-V3, arXiv:2412.19437, section 2.1 and 3.3)."""
    r = ROUTING.solve("DeepSeek_V3", 1, 4096, precision="fp8")
    assert r.token_dispatch_bytes.to("MB").magnitude == pytest.approx(4096 * 8 * 7168 / 1e6)
    assert r.active_parameter_multiplier == 1
    assert r.layer_all_to_all_latency is None


@given(st.integers(1, 64), st.floats(1, 4), st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=30, deadline=None)
def test_uneven_routing_costs_in_proportion(batch, factor, ranks):
    even = ROUTING.solve("Mixtral_8x7B", batch, 1024, ep_size=ranks, fleet="DGX_H100").si
    hot = ROUTING.solve(
        "Mixtral_8x7B", batch, 1024, ep_size=ranks, fleet="DGX_H100", routing_imbalance_factor=factor
    ).si
    assert hot.effective_active_experts == pytest.approx(even.effective_active_experts * factor)
    assert 1 <= hot.active_parameter_multiplier <= factor * (1 + 1e-12)
    assert hot.layer_all_to_all_latency >= even.layer_all_to_all_latency
    assert (even.layer_all_to_all_latency == 0) == (ranks == 1)


def test_routing_by_chance_is_what_none_asks_for():
    r = ROUTING.solve("DeepSeek_V3", 8, 1, ep_size=32, routing_imbalance_factor=None)
    assert r.routing_imbalance_factor == r.expected_imbalance > 1
    full = ROUTING.solve("DeepSeek_V3", 128, 4096, capacity_factor=np.array([1.0, 1.25, 2.0]))
    assert full.dropped_share.shape == (3,)
    assert (np.diff(full.dropped_share) <= 0).all()


def test_routing_refuses_what_has_no_experts_or_too_few_chips():
    with pytest.raises(UnsupportedWorkloadError, match="mixtures of experts"):
        ROUTING.solve("Llama3_8B", 1, 1)
    with pytest.raises(InvalidPlanError, match="try 1, 2 or 4"):
        ROUTING.solve("Mixtral_8x7B", 1, 1, ep_size=3)
    with pytest.raises(InvalidPlanError, match="more chips than the 8"):
        ROUTING.solve("DeepSeek_V3", 1, 1, ep_size=16, fleet="DGX_H100")
    with pytest.raises(InvalidInputError) as caught:
        ROUTING.solve("Mixtral_8x7B", -1, float("nan"), routing_imbalance_factor=0.5)
    for name in ("batch_size", "seq_len", "routing_imbalance_factor"):
        assert name in str(caught.value)


@given(st.floats(1, 1e11), st.integers(2, 1024).map(float))
@settings(max_examples=60)
def test_the_best_all_reduce_is_the_least_of_all(message, ranks):
    best, name = network.best_all_reduce(message, ranks, 50e9, 5e-6, switched=tuple(network.SWITCHED))
    times = {n: f(message, ranks, 50e9, 5e-6) for n, f in (network.ALGORITHMS | network.SWITCHED).items()}
    assert best == min(times.values()) == times[name]


@given(st.sampled_from(["Research_256", "Frontier_8K", "DGX_H100"]), st.sampled_from([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
       st.sampled_from([1.0, 2.0, 8.0, 64.0]), st.floats(1e3, 1e10))  # fmt: skip
@settings(max_examples=60)
def test_groups_keep_their_ranks_and_crossing_the_network_never_helps(fleet, ranks, stride, message):
    wires = wiring(Systems[fleet], 2e-6)
    near, far = network.group_of(wires, ranks, 1.0), network.group_of(wires, ranks, stride)
    assert near.ranks == far.ranks == ranks
    assert far.local <= near.local
    assert network.all_reduce_time(message, near) <= network.all_reduce_time(message, far) * (1 + 1e-9)


def test_the_search_finds_what_asking_one_by_one_finds():
    """Every plan of a small fleet asked of DistributedModel: none that fits is faster than the best."""
    batch = 64
    best = SEARCH.solve("Llama3_8B", "DGX_H100", batch, max_microbatch=4, overlap_comm=False)
    model, least = DistributedModel(), np.inf
    for tp, pp, cp in itertools.product((1, 2, 4, 8), repeat=3):
        if 8 % (tp * pp * cp):
            continue
        data = 8 // (tp * pp * cp)
        for micro, (chunks, schedule), zero, recompute in itertools.product(
            (1, 2, 3, 4), [(1, "1f1b"), (2, "interleaved"), (4, "interleaved"), (8, "interleaved"), (1, "zero-bubble"), (1, "dualpipe")],
            (0, 1, 2, 3), ("none", "full")
        ):  # fmt: skip
            if (batch // data) % micro:
                continue
            try:
                r = model.solve("Llama3_8B", "DGX_H100", batch, tp_size=tp, pp_size=pp, cp_size=cp, v_stages=chunks,
                                microbatch_count=batch // data // micro, zero_stage=zero,
                                activation_recomputation=recompute, schedule=schedule)  # fmt: skip
            except InvalidPlanError:
                continue
            if r.feasible:
                least = min(least, r.si.step_latency_total)
    assert best.si.best_step_time == pytest.approx(least, rel=1e-12)


def test_the_best_plan_can_be_asked_and_gives_the_same_step():
    best = SEARCH.solve("GPT3", "Frontier_8K", 2048, efficiency=0.45)
    plan = best.best_config
    again = DistributedModel().solve(
        "GPT3", "Frontier_8K", 2048, efficiency=0.45, tp_size=plan["tp"], pp_size=plan["pp"], ep_size=plan["ep"],
        cp_size=plan["cp"], v_stages=plan["v_stages"], microbatch_count=plan["microbatch_count"],
        zero_stage=plan["zero_stage"], activation_recomputation=plan["activation_recomputation"], overlap_comm=True,
        schedule=plan["schedule"], offload=plan["offload"],
    )  # fmt: skip
    assert again.feasible
    assert again.si.step_latency_total == pytest.approx(best.si.best_step_time, rel=1e-12)
    assert again.mfu == pytest.approx(best.best_mfu, rel=1e-12)
    assert again.si.memory_per_device == pytest.approx(best.si.best_memory, rel=1e-12)
    assert plan["tp"] * plan["pp"] * plan["dp"] * plan["ep"] * plan["cp"] == 8192
    times = [candidate["step_time"] for candidate in best.top_candidates]
    assert times == sorted(times)
    assert len(times) == 5


def test_why_it_wins_adds_up_to_the_difference():
    best = SEARCH.solve("Llama3_70B", "Research_256", 512, top=50)
    gain = sum(best.next_terms.values()) - sum(best.terms.values())
    assert gain >= -1e-12
    assert sum(best.terms.values()) == pytest.approx(best.si.best_step_time)
    assert best.why[0].startswith("the next plan (")
    assert best.next_value > best.objective_value


def test_the_search_runs_over_schedules_and_places_of_states():
    every = SEARCH.solve("GPT3", "Research_256", 1024, offload=None)
    for schedule, offload in itertools.product(("1f1b", "interleaved", "zero-bubble", "dualpipe"), ("none", "cpu")):
        fixed = SEARCH.solve("GPT3", "Research_256", 1024, schedule=schedule, offload=offload)
        assert {(c["schedule"], c["offload"]) for c in fixed.top_candidates} == {(schedule, offload)}
        assert fixed.si.best_step_time >= every.si.best_step_time * (1 - 1e-12)
        assert fixed.total_searched < every.total_searched


def test_states_on_the_host_let_a_model_train_on_fewer_chips():
    chips = "DGX_H100"
    kept, moved = (SEARCH.solve("Llama3_70B", chips, 64, offload=place) for place in ("none", "cpu"))
    assert not kept.feasible
    assert moved.feasible
    assert moved.best_config["offload"] == "cpu"


def test_a_model_that_fits_nowhere_is_an_answer():
    r = SEARCH.solve("GPT3", "DGX_H100", 64)
    assert not r.feasible
    assert r.top_candidates == ()
    assert r.limits[0].excess.magnitude > 0


def test_cost_and_carbon_may_leave_chips_to_others():
    fast = SEARCH.solve("Llama3_8B", "Research_256", 1024)
    cheap = SEARCH.solve("Llama3_8B", "Research_256", 1024, objective="cost")
    clean = SEARCH.solve("Llama3_8B", "Research_256", 1024, objective="carbon")
    assert cheap.chips < fast.chips == 256
    assert cheap.si.step_cost <= fast.si.step_cost
    assert clean.si.step_carbon <= fast.si.step_carbon
    assert fast.si.best_step_time <= cheap.si.best_step_time


def test_plans_that_cannot_be_are_refused():
    with pytest.raises(InvalidPlanError, match=r"batch_size 7 does not divide .* multiple of 128 or more"):
        SEARCH.solve("Llama3_8B", "Research_256", 7, max_tp=2, max_pp=1, max_cp=1)
    with pytest.raises(InvalidInputError, match="expected one whole number"):
        SEARCH.solve("Llama3_8B", "Research_256", np.array([256, 512]))
    with pytest.raises(InvalidInputError, match="did you mean time"):
        SEARCH.solve("Llama3_8B", "Research_256", 256, objective="tim")


def test_a_hundred_thousand_plans_a_second():
    """Enumeration is vectorised: the bound is a tenth of what one busy core does, so that it fails on loops only."""
    SEARCH.solve("DeepSeek_V3", "Production_2K", 8192, precision="fp8")
    start = time.process_time()
    r = SEARCH.solve("DeepSeek_V3", "Production_2K", 8192, precision="fp8")
    assert r.total_searched / (time.process_time() - start) > 1e4
