"""Sensitivities and the roofline backwards."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import (
    AgentLoopModel,
    CompressionModel,
    EconomicsModel,
    EfficiencyModel,
    Engine,
    FineTuningModel,
    Hardware,
    InferenceScalingModel,
    Models,
    PlacementOptimizer,
    ResponsibleEngineeringModel,
    RetrievalModel,
    ScalingModel,
    SensitivitySolver,
    SustainabilityModel,
    SynthesisSolver,
    WeightStreamingModel,
    ask_again,
)
from mlsysim.catalog.walls import walls_for_resolver
from mlsysim.errors import MLSysimError, UnitError

SENSE, NEED = SensitivitySolver(), SynthesisSolver()
MODELS = st.sampled_from(["Llama3_8B", "GPT2", "ResNet50", "BERT_Large", "Mixtral_8x7B"])
CHIPS = st.sampled_from(["A100", "H100", "MI300X", "T4"])


def test_decoding_8b_on_h100_is_bound_by_memory_bandwidth():
    r = SENSE.solve("Llama3_8B", "H100")
    assert r.binding_constraint == "memory_bandwidth"
    assert r.sensitivities["memory_bandwidth"] == pytest.approx(-0.0856, abs=2e-3)
    assert r.sensitivities["peak_flops"] == r.sensitivities["memory_capacity"] == 0


def test_what_does_not_fit_is_bound_by_capacity_and_says_so():
    r = SENSE.solve("Llama3_70B", "H100")
    assert r.binding_constraint == "memory_capacity"
    assert not r.feasible
    assert r.sensitivities["memory_capacity"] < 0
    assert any("does not fit" in note for note in r.notes)


@given(MODELS, CHIPS, st.integers(1, 256), st.floats(0.1, 0.9))
@settings(max_examples=40, deadline=None)
def test_time_is_homogeneous_in_the_speeds_of_a_chip(model, chip, batch, efficiency):
    """Euler: a roofline that is compute or memory plus launches has elasticities that add up to the share of it."""
    r = SENSE.solve(model, chip, batch_size=batch, efficiency=efficiency)
    if not r.feasible or r.kinks:
        return
    e = r.elasticities
    assert -(e["peak_flops"] + e["memory_bandwidth"]) + r.overhead_share == pytest.approx(1, abs=1e-4)
    assert e["efficiency"] == pytest.approx(e["peak_flops"], abs=1e-5)
    assert min(abs(e["peak_flops"]), abs(e["memory_bandwidth"])) < 1e-4


@given(MODELS, CHIPS, st.floats(1, 50))
@settings(max_examples=20, deadline=None)
def test_a_sensitivity_is_the_change_one_sees(model, chip, percent):
    r = SENSE.solve(model, chip, perturbation_pct=percent)
    device = Hardware[chip]
    faster = device.replace(memory_bandwidth=f"{float(device.si.memory_bandwidth * (1 + percent / 100))!r} B/s")
    before, after = Engine.solve(model, device).si.latency, Engine.solve(model, faster).si.latency
    assert r.sensitivities["memory_bandwidth"] == pytest.approx(after / before - 1, abs=1e-9)


def test_sram_and_flash_stay_where_they_are():
    r = SENSE.solve("MobileNetV2", "ESP32_S3", "int8")
    assert {"sram_bandwidth", "flash_bandwidth"} <= set(r.elasticities)
    assert r.baseline_latency == Engine.solve("MobileNetV2", "ESP32_S3", precision="int8").latency


def test_sensitivities_of_a_stack_are_those_of_its_members():
    names = ["A100", "H100", "T4"]
    together = SENSE.solve("Llama3_8B", Hardware.stack(names), batch_size=np.array([[1], [16]]))
    for i, batch in enumerate((1, 16)):
        for j, name in enumerate(names):
            one = SENSE.solve("Llama3_8B", name, batch_size=batch)
            assert together.binding_constraint[i, j] == one.binding_constraint
            assert together.sensitivities["parameters"][i, j] == pytest.approx(one.sensitivities["parameters"])


def test_seventy_billion_weights_every_fifty_milliseconds():
    r = NEED.solve("Llama3_70B", "50 ms")
    assert r.required_bw.to("GB/s").magnitude == pytest.approx(2 * 70.6e9 / 0.05 / 1e9, rel=0.02)
    assert r.required_flops.to("TFLOP/s").magnitude == pytest.approx(5.648, rel=0.05)
    assert r.required_memory.to("GB").magnitude == pytest.approx(141.2, rel=0.02)
    assert "H100" not in r.satisfying_devices
    assert "H200" in r.satisfying_devices


@given(MODELS, st.floats(1e-3, 1), st.integers(1, 64), st.floats(0.1, 1))
@settings(max_examples=30, deadline=None)
def test_a_machine_made_to_measure_meets_its_target(model, target, batch, efficiency):
    need = NEED.solve(model, f"{target!r} s", efficiency=efficiency, batch_size=batch).si
    chip = Hardware.H100.replace(
        memory_bandwidth=f"{float(need.required_bw)!r} B/s",
        memory_capacity=f"{float(need.required_memory) * 1.0000001!r} B",
        peak_fp16=f"{float(need.required_flops)!r} FLOP/s",
    )
    answer = Engine.solve(model, chip, batch, efficiency=efficiency)
    assert answer.feasible
    assert answer.si.latency - answer.si.latency_overhead == pytest.approx(target, rel=1e-6)


def test_a_prompt_with_a_target_asks_for_arithmetic():
    slow, fast = NEED.solve("Llama3_8B", "20 ms"), NEED.solve("Llama3_8B", "20 ms", target_ttft="100 ms")
    assert fast.required_flops > slow.required_flops
    work = 2 * Models.Llama3_8B.si.parameters * 2048
    assert fast.si.required_prefill_flops >= work / (0.1 * 0.5)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: SENSE.solve("Llama3_8B", "H100", perturbation_pct=0),
        lambda: SENSE.solve("Llama3_8B", "H100", perturbation_pct=-100),
        lambda: SENSE.solve("Llama3_8B", "H1000"),
        lambda: NEED.solve("Llama3_70B", "-5 ms"),
        lambda: NEED.solve("Llama3_70B", "0 s"),
        lambda: NEED.solve("ResNet50", "5 ms", target_ttft="1 s"),
    ],
)
def test_nonsense_gets_one_clear_line(ask):
    with pytest.raises(MLSysimError) as error:
        ask()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) > 10


def test_a_target_is_a_time():
    with pytest.raises(UnitError, match="target_latency"):
        NEED.solve("Llama3_70B", "5 GB")


ANSWERS = {
    "scaling": lambda: ScalingModel().solve("1e24 FLOP", inference_tokens=1e12),
    "reasoning": lambda: InferenceScalingModel().solve("Llama3_8B", "H100", samples=4, success_rate=0.6),
    "compression": lambda: CompressionModel().solve("Llama3_8B", "H100", target_bitwidth=4),
    "efficiency": lambda: EfficiencyModel().solve("Llama3_8B", "H100"),
    "streaming": lambda: WeightStreamingModel().solve("Llama3_8B", "Cerebras_CS3", 512),
    "responsible": lambda: ResponsibleEngineeringModel().solve("10 h"),
    "finetuning": lambda: FineTuningModel().solve("Llama3_8B", "H100"),
    "agents": lambda: AgentLoopModel().solve("Llama3_8B", "H100", 3, price="API_GPT_4o"),
    "retrieval": lambda: RetrievalModel().solve("H100", 1e6, model="Llama3_8B"),
    "economics": lambda: EconomicsModel().solve("Research_256", 30, cloud_usd_per_hour="Lambda_8x_H100"),
    "sustainability": lambda: SustainabilityModel().solve("Research_256", 30, "Quebec"),
    "placement": lambda: PlacementOptimizer().solve("Research_256", 30),
    "sensitivity": lambda: SENSE.solve("Llama3_8B", "H100"),
    "synthesis": lambda: NEED.solve("Llama3_8B", "10 ms"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_shows_saves_explains_and_can_be_asked_again(name):
    answer = ANSWERS[name]()
    saved = json.loads(answer.to_json())
    again = ask_again(saved)
    assert json.loads(again.to_json())["answer"] == saved["answer"]
    assert str(answer).startswith(type(answer).__name__)
    assert answer.to_frame().shape[0] == 1
    assert str(answer.explain())
    resolver = answer.question.resolver
    assert [(wall.number, wall.name, wall.domain) for wall in walls_for_resolver(resolver.__name__)] == [
        *resolver.walls
    ]
    assert isinstance(answer, resolver.produces)
    assert len(resolver.fallacies()) >= 2
