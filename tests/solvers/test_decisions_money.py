"""The column "here" of docs/decisions/0007 is what the solvers answer."""

from pathlib import Path

import pytest

from mlsysim import (
    CompressionModel,
    EconomicsModel,
    EfficiencyModel,
    InferenceScalingModel,
    ResponsibleEngineeringModel,
    ScalingModel,
    SensitivitySolver,
    SustainabilityModel,
    SynthesisSolver,
    WeightStreamingModel,
)

PAGE = Path(__file__).parents[2] / "docs" / "decisions" / "0007-money-carbon-algorithms.md"
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line[:1] == "|"
][2:]
FLEET, SMALL, BIG = "Research_256", "Llama3_8B", "Llama3_70B"


def answers():
    green, safe, sense = SustainabilityModel().solve, ResponsibleEngineeringModel().solve, SensitivitySolver().solve
    squeeze, stream, reach = CompressionModel().solve, WeightStreamingModel().solve, EfficiencyModel().solve
    think = InferenceScalingModel().solve(SMALL, "H100").si
    month = green(FLEET, 30)
    four = squeeze(SMALL, "H100", target_bitwidth=4)
    return [
        month.it_energy_kwh.magnitude,
        EconomicsModel().solve(FLEET, 30, unit_price_usd=30_000).tco_usd,
        month.water_usage_liters,
        month.operational_carbon.to("kg").magnitude,
        green(FLEET, 30, "Quebec", 0.5).it_energy_kwh.magnitude,
        green(FLEET, 30, "Poland", 1.0, 150).embodied_carbon_kg,
        ScalingModel().solve("1e12 TFLOP").optimal_parameters,
        ScalingModel().solve("1000 day").optimal_parameters,
        think.total_reasoning_time * 1e3,
        think.energy_per_query,
        four.compression_ratio,
        four.inference_speedup,
        squeeze(SMALL, "H100", "pruning", sparsity=0.5).compression_ratio,
        squeeze(SMALL, "H100", target_bitwidth=2).estimated_accuracy_delta,
        stream(BIG, "Cerebras_CS3", 2048).throughput_tokens_per_sec,
        stream(BIG, "Cerebras_CS3", 2048, phase="prefill").throughput_tokens_per_sec,
        reach(SMALL, "H100").mfu,
        reach(SMALL, "H100", "attention", use_flash_attention=True).mfu,
        safe("100 h").dp_slowdown_factor,
        safe("100 h", 10).dp_slowdown_factor,
        safe("100 h").additional_data_requirement,
        SynthesisSolver().solve(BIG, "50 ms").required_bw.to("GB/s").magnitude,
        sense(BIG, "H100").sensitivities["memory_capacity"],
        sense(SMALL, "H100").sensitivities["memory_bandwidth"],
    ]


def test_the_table_holds():
    found = answers()
    assert len(found) == len(ROWS)
    for value, (question, _, here, _) in zip(found, ROWS, strict=True):
        digits = len(here.split(".")[1]) if "." in here else 0
        assert value == pytest.approx(float(here), abs=0.51 * 10**-digits, nan_ok=True), question
