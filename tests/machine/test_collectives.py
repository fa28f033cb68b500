"""Collectives: which kernel carries a message, what bounds it, and exchanges of tokens between experts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.catalog import Hardware
from mlsysim.catalog.efficiency import family
from mlsysim.machine.chip import chip_of
from mlsysim.machine.collectives import STACK_LIMIT, library, link_of, scope_of, timer
from mlsysim.machine.exchange import LOW_LATENCY, NORMAL
from mlsysim.machine.measured import MeasuredMachine
from mlsysim.physics.collective_kernels import one_step_wire_bytes, ring_wire_bytes, staged_time

MIB = 2.0**20
sizes = st.floats(256, 2e9)
devices = st.sampled_from(["A100", "H100", "B200", "GB200", "RTX_PRO_6000_Server"])


def values(kernel, device):
    chip = chip_of(Hardware[device])
    return family("all_reduce").choose(chip.names, (scope_of(chip, kernel),), kernel).values


@settings(deadline=None)
@given(devices, st.sampled_from(["vllm", "sglang", "trtllm"]), st.sampled_from([2.0, 4.0, 8.0]))
def test_messages_beyond_every_limit_take_as_long_as_in_the_library(device, stack, ranks):
    link, p = link_of(chip_of(Hardware[device])), values(stack, device)
    message = 4 * max(max(limits) for limits in STACK_LIMIT["vllm"].values())
    own = timer(stack)(p, "all_reduce", message, ranks, link)
    plain = library(p, "all_reduce", message, ranks, link)
    assert own == pytest.approx(plain) if stack != "trtllm" else own <= plain


@settings(deadline=None)
@given(st.sampled_from(["vllm", "sglang"]), sizes, st.sampled_from([3.0, 4.0, 8.0]))
def test_kernels_of_a_stack_serve_two_cards_without_nvlink_and_no_more(stack, message, ranks):
    # vLLM warns: "Custom allreduce is disabled because it's not supported on more than two PCIe-only GPUs."
    link, p = link_of(chip_of(Hardware["RTX_PRO_6000_Server"])), values(stack, "RTX_PRO_6000_Server")
    assert timer(stack)(p, "all_reduce", message, ranks, link) == library(p, "all_reduce", message, ranks, link)
    assert timer(stack)(p, "all_reduce", 65536.0, 2.0, link) < library(p, "all_reduce", 65536.0, 2.0, link)


def test_kernels_of_one_host_leave_groups_of_several_trays_to_the_library():
    link = link_of(chip_of(Hardware["GB200"]))
    for stack in ("vllm", "sglang"):
        p = values(stack, "GB200")
        for ranks in (8.0, 16.0):
            assert timer(stack)(p, "all_reduce", 4096.0, ranks, link) == library(p, "all_reduce", 4096.0, ranks, link)
        assert timer(stack)(p, "all_reduce", 4096.0, 4.0, link) < library(p, "all_reduce", 4096.0, 4.0, link)


@settings(deadline=None)
@given(devices, sizes, st.sampled_from([2.0, 4.0, 8.0]), st.sampled_from(["vllm", "sglang"]))
def test_a_launch_from_the_host_costs_its_time_and_the_copy_of_the_message(device, message, ranks, stack):
    link, p = link_of(chip_of(Hardware[device])), values(f"{stack}_eager", device)
    graph = timer(stack)(p, "all_reduce", message, ranks, link)
    eager = timer(f"{stack}_eager")(p, "all_reduce", message, ranks, link)
    assert eager >= max(p["host"], staged_time(graph, message, 1.0, link.memory)) * (1 - 1e-9)


@settings(deadline=None)
@given(sizes, st.integers(2, 16))
def test_one_step_moves_half_as_many_bytes_again_for_each_rank_beyond_two(message, ranks):
    once, twice = one_step_wire_bytes(message, float(ranks)), ring_wire_bytes(message, float(ranks), 2.0)
    assert once / twice == pytest.approx(ranks / 2)


@settings(deadline=None)
@given(sizes)
def test_more_than_a_pair_of_cards_share_the_bridges_of_the_host(message):
    machine = MeasuredMachine(Hardware["RTX_PRO_6000_Server"])
    rate = [
        ring_wire_bytes(1e9, ranks, 2.0) / machine.collective("all_reduce", 1e9, ranks, algorithm="nccl").time
        for ranks in (2.0, 4.0)
    ]
    assert rate[1] < 0.8 * rate[0]
    pair = machine.collective("all_reduce", message, 2.0, algorithm="nccl").time
    assert machine.collective("all_reduce", message, 4.0, algorithm="nccl").time > pair


@settings(deadline=None)
@given(devices, sizes, st.floats(1.01, 100))
def test_one_message_never_beats_its_link_and_grows_with_its_bytes(device, message, factor):
    machine = MeasuredMachine(Hardware[device])
    link = link_of(machine.chip).bandwidth
    time = machine.collective("p2p", message, 2.0).time
    assert time > message / link
    assert machine.collective("p2p", factor * message, 2.0).time > time
    far = machine.collective("p2p", message, 2.0, domain="cross", nodes=2.0, link_bandwidth=25e9).time
    assert far > message / 25e9


def test_four_cards_bridged_in_pairs_leave_each_pair_over_pcie():
    machine = MeasuredMachine(Hardware["A100_PCIe"])
    rates = [
        ring_wire_bytes(1e9, ranks, 2.0) / machine.collective("all_reduce", 1e9, ranks, algorithm="nccl").time
        for ranks in (2.0, 4.0)
    ]
    assert rates[0] > machine.chip.host > rates[1]


def test_a_bridge_of_two_cards_has_no_switch_that_adds_up():
    assert link_of(chip_of(Hardware["H100"])).switch
    assert not link_of(chip_of(Hardware["H100_PCIe"])).switch
    assert not link_of(chip_of(Hardware["A100"])).switch


@settings(deadline=None)
@given(
    st.sampled_from(["H100", "B200", "GB200", "H800"]),
    st.floats(1, 32768),
    st.sampled_from([2048.0, 4096.0, 7168.0]),
    st.integers(1, 10),
    st.sampled_from([(4.0, 1.0), (8.0, 1.0), (16.0, 2.0), (64.0, 8.0)]),
    st.sampled_from([NORMAL, LOW_LATENCY]),
)
def test_an_exchange_obeys_its_links_and_grows_with_tokens(device, tokens, hidden, topk, group, kernel):
    machine = MeasuredMachine(Hardware[device])
    shape = (hidden, float(topk), 256.0, *group)
    out, back = (machine.exchange(phase, tokens, *shape, kernel=kernel) for phase in ("dispatch", "combine"))
    assert out.time > out.floor
    assert back.floor == pytest.approx(out.floor * 2 / (1 + 4 / 128))
    assert machine.exchange("dispatch", 2 * tokens, *shape, kernel=kernel).time >= out.time
    if group[1] > 1:
        faster = machine.exchange("dispatch", tokens, *shape, network=4e11, kernel=kernel)
        assert faster.time <= out.time


@pytest.mark.parametrize(
    ("ranks", "dispatch", "combine"), [(8.0, 163e-6, 318e-6), (32.0, 182e-6, 350e-6), (256.0, 194e-6, 360e-6)]
)
def test_low_latency_exchange_matches_the_readme_of_deepep(ranks, dispatch, combine):
    # https://github.com/deepseek-ai/DeepEP, version 1: H800, ConnectX-7 of 400 Gbit/s, 128 tokens a rank, hidden 7168,
    # top 8 experts, all over the network.
    machine = MeasuredMachine(Hardware["H800"])
    for phase, published in (("dispatch", dispatch), ("combine", combine)):
        found = machine.exchange(phase, 128.0, 7168.0, 8.0, 256.0, ranks, ranks, 50e9, LOW_LATENCY)
        assert found.time == pytest.approx(published, rel=0.2)


def test_forms_take_arrays_as_they_take_numbers():
    message, ranks = np.geomspace(256, 1e9, 7)[:, None], np.array([2.0, 4.0, 8.0])
    for device in ("H100", "RTX_PRO_6000_Server", "GB200"):
        link = link_of(chip_of(Hardware[device]))
        for kernel in ("nccl", "vllm", "sglang_eager", "trtllm"):
            p = values(kernel, device)
            whole = timer(kernel)(p, "all_reduce", message, ranks, link)
            single = [[timer(kernel)(p, "all_reduce", m, n, link) for n in ranks] for m in message[:, 0]]
            assert whole == pytest.approx(np.array(single, dtype=float))
