"""Operators of training on measured devices, against what others measured of such kernels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim import Hardware, Models
from mlsysim.catalog.training_stacks import TrainingStacks
from mlsysim.machine.measured import MeasuredMachine
from mlsysim.machine.training_measured import Habits, Wires, time_operators
from mlsysim.validation.training_rows import simumax_products
from mlsysim.workloads.operators import Operator
from mlsysim.workloads.training_operators import BACKWARD, FORWARD, WEIGHTS, Share, Style, layer_operators

WIRES = Wires(8.0, 450e9, None)


def habits_of(stack, **more):
    s = TrainingStacks[stack].si
    return Habits(
        s.attention_slowdown, s.attention_slowdown_backward, written=s.gradient_written, width=s.attention_width, **more
    )


@pytest.mark.parametrize(
    ("length", "width", "measured"),
    [(2048, 64, 77), (4096, 64, 87), (8192, 64, 92), (2048, 128, 81), (4096, 128, 87)],
)
def test_first_flash_attention_on_a100_of_dao_2023_figure_4(length, width, measured):
    heads, samples = 2048.0 / width, 16384.0 / length  # causal, forward and backward, 16k tokens: TFLOP/s
    operators = [
        Operator("attention", "attention_context", m=samples, heads=heads, kv_heads=heads, head_dim=float(width), query_tokens=float(length),
                 context=0.0, phase=phase)
        for phase in (FORWARD, BACKWARD)
    ]  # fmt: skip
    sums = time_operators(MeasuredMachine(Hardware["A100"]), operators, WIRES, habits_of("fsdp_eager"))
    flops = 3.5 * 4 * samples * heads * width * length**2 / 2
    assert flops / (sums.of(FORWARD) + sums.of(BACKWARD)) == pytest.approx(measured * 1e12, rel=0.16)


# MooreThreads/SimuMax, configs/system/b200_bf16_ceperm.json: shares of 2,250 TFLOP/s on one B200
@pytest.mark.parametrize(
    ("n", "k", "plain", "adding"),
    [(106496, 16384, 0.496, 0.456), (53248, 16384, 0.489, 0.454), (57344, 8192, 0.487, 0.454)],
)
def test_adding_to_a_gradient_in_32_bits_costs_what_simumax_measured(n, k, plain, adding):
    machine = MeasuredMachine(Hardware["B200"])
    product = Operator("up", "gemm", m=float(n), n=float(k), k=4096.0, precision="bf16", phase=WEIGHTS)
    slow = simumax_products() * 1.13
    apart, together = (
        time_operators(machine, [product], WIRES, Habits(sustained=slow, written=written)).weights
        for written in (2.0, 8.0)
    )
    assert together / apart == pytest.approx(plain / adding, rel=0.05)


@pytest.mark.parametrize(
    ("experts", "rows", "n", "k", "share"),
    [(40, 616, 3072, 5120, 0.470), (40, 616, 5120, 1536, 0.301), (64, 512, 4096, 7168, 0.363), (64, 512, 7168, 2048, 0.393),
     (20, 1232, 3072, 5120, 0.450), (32, 1024, 7168, 2048, 0.402), (40, 2460, 5120, 1536, 0.496), (40, 9832, 3072, 5120, 0.475)],
)  # fmt: skip
def test_experts_forward_take_about_what_simumax_measured(experts, rows, n, k, share):
    machine = MeasuredMachine(Hardware["B200"])
    product = Operator(
        "experts", "gemm", m=float(experts * rows), n=float(n), k=float(k), experts=float(experts), precision="bf16"
    )
    sums = time_operators(machine, [product], WIRES, Habits(sustained=simumax_products() * 1.13))
    measured = 2.0 * experts * rows * n * k / (share * 2250e12)
    assert sums.of(FORWARD) == pytest.approx(measured, rel=0.5)


@given(samples=st.integers(1, 8), length=st.sampled_from([1024, 4096]), written=st.sampled_from([2.0, 4.0, 8.0]))
def test_wider_gradients_never_shorten_a_pass(samples, length, written):
    machine, operators = (
        MeasuredMachine(Hardware["H100"]),
        layer_operators(Models["Llama3_8B"], Share(float(samples), float(length)), Style()),
    )
    plain, wide = (time_operators(machine, operators, WIRES, Habits(written=w)) for w in (2.0, written))
    assert wide.of(BACKWARD) >= plain.of(BACKWARD)
    assert wide.of(FORWARD) == plain.of(FORWARD)


def test_adapters_cost_more_the_more_matrices_have_them():
    machine = MeasuredMachine(Hardware["H100"])
    share, style = Share(1.0, 4096.0), Style(adapter_rank=16.0)
    times = [
        sum(time_operators(machine, layer_operators(Models["Llama3_8B"], share, replace(style, adapters=which, adapter_dropout=drop)),
                           WIRES).of(phase) for phase in (FORWARD, BACKWARD))
        for which, drop in (("qkv", False), ("qkv", True), ("attention", True), ("all", True))
    ]  # fmt: skip
    assert np.all(np.diff(times) > 0)
