"""Bounds, limits, monotone directions and conserved sums of the node answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Engine, Hardware, Models, ServingModel

SOLVER = ServingModel()
MODELS = st.sampled_from(["Llama3_8B", "Llama3_70B", "Mixtral_8x7B", "DeepSeek_V3", "GPT2"])
CHIPS = st.sampled_from(["T4", "A100", "H100", "H200", "B200", "MI300X"])
BATCH = st.integers(1, 512)
TOKENS = st.integers(1, 32768)
PRECISION = st.sampled_from(["fp16", "bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4"])
EPS = 1 + 1e-9


def serve(model, chip, tokens, batch, **options):
    return SOLVER.solve(model, chip, tokens, batch, **options).si


@given(MODELS, CHIPS, TOKENS, BATCH, PRECISION, st.floats(0.05, 1.0))
@settings(max_examples=60, deadline=None)
def test_phases_never_beat_the_speed_of_light(model, chip, tokens, batch, precision, efficiency):
    answer = SOLVER.solve(model, chip, tokens, batch, precision, efficiency)
    inside, device = answer.si, Hardware[chip].si
    peak = max(device.peaks.values())
    active = Models[model].si.active_parameters or Models[model].si.parameters
    assert inside.ttft * EPS >= 2 * active * tokens * batch / peak
    assert inside.itl * EPS >= 2 * active * batch / peak
    if Models[model].si.experts is None:
        assert inside.itl * EPS >= (inside.model_weights_size + inside.kv_cache_size) / device.memory_bandwidth
        assert inside.ttft * EPS >= inside.model_weights_size / device.memory_bandwidth


@given(MODELS, TOKENS, BATCH, st.floats(1.0, 20.0), st.sampled_from(["memory_bandwidth", "peak_fp16", "efficiency"]))
@settings(max_examples=60, deadline=None)
def test_latency_falls_weakly_with_bandwidth_peak_and_efficiency(model, tokens, batch, factor, what):
    chip = Hardware.H100
    if what == "efficiency":
        slow, fast = (
            serve(model, chip, tokens, batch, efficiency=1 / factor),
            serve(model, chip, tokens, batch, efficiency=1.0),
        )
    else:
        unit = {"memory_bandwidth": "TB/s", "peak_fp16": "TFLOP/s"}[what]
        now = chip.fact(what)
        better = (
            chip.replace(**{what: f"{float(now.value) * factor} {now.unit or unit}"})
            if isinstance(now.value, (int, float))
            else chip.replace(**{what: f"{float(str(now.value).split()[0]) * factor} {str(now.value).split()[1]}"})
        )
        slow, fast = serve(model, chip, tokens, batch), serve(model, better, tokens, batch)
    assert fast.ttft <= slow.ttft * EPS
    assert fast.itl <= slow.itl * EPS


@given(MODELS, CHIPS, TOKENS, BATCH, PRECISION)
@settings(max_examples=60, deadline=None)
def test_latency_and_memory_rise_with_batch_and_length(model, chip, tokens, batch, precision):
    base = serve(model, chip, tokens, batch, precision=precision)
    for more in (
        serve(model, chip, tokens, batch + 1, precision=precision),
        serve(model, chip, tokens + 1, batch, precision=precision),
    ):
        assert more.ttft * EPS >= base.ttft
        assert more.itl * EPS >= base.itl
        assert more.memory_per_device * EPS >= base.memory_per_device


def test_latency_rises_with_parameters():
    for chip in ("A100", "H100"):
        small, big = serve("Llama3_8B", chip, 2048, 4), serve("Llama3_70B", chip, 2048, 4)
        assert big.ttft > small.ttft
        assert big.itl > small.itl


@given(MODELS, CHIPS, TOKENS, BATCH, PRECISION)
@settings(max_examples=40, deadline=None)
def test_memory_parts_add_up(model, chip, tokens, batch, precision):
    r = serve(model, chip, tokens, batch, precision=precision)
    parts = r.model_weights_size + r.kv_cache_size + r.activation_size
    assert r.memory_per_device == pytest.approx(parts, rel=1e-12)
    assert r.total_memory_required == pytest.approx(r.memory_per_device * r.devices, rel=1e-12)
    assert bool(r.feasible) == (r.memory_per_device <= r.memory_capacity)


@given(MODELS, TOKENS, BATCH)
@settings(max_examples=30, deadline=None)
def test_one_rank_of_everything_is_no_parallelism(model, tokens, batch):
    plain, split = (
        serve(model, "H100", tokens, batch),
        serve(model, "H100", tokens, batch, tp_size=1, pp_size=1, ep_size=1),
    )
    array = SOLVER.solve(model, "H100", tokens, batch, tp_size=np.array([1.0]))
    for name in ("ttft", "itl", "memory_per_device", "energy_per_token"):
        assert getattr(plain, name) == getattr(split, name)
        assert getattr(array.si, name)[0] == pytest.approx(getattr(plain, name), rel=1e-9)


@given(st.sampled_from(["Llama3_8B", "Llama3_70B"]), TOKENS, BATCH, st.sampled_from([2, 4, 8]))
@settings(max_examples=30, deadline=None)
def test_tensor_parallel_shares_memory_and_never_scales_better_than_linear(model, tokens, batch, ranks):
    one, many = serve(model, "H100", tokens, batch), serve(model, "H100", tokens, batch, tp_size=ranks)
    assert many.memory_per_device < one.memory_per_device
    assert many.decode_memory * ranks * EPS >= one.decode_memory
    assert many.prefill_compute * ranks == pytest.approx(one.prefill_compute, rel=1e-9)
    assert many.decode_communication > 0


@given(st.sampled_from(["Llama3_8B", "Llama3_70B"]), TOKENS, BATCH, st.sampled_from([2, 4, 8]))
@settings(max_examples=30, deadline=None)
def test_pipeline_stages_save_memory_not_latency(model, tokens, batch, stages):
    one, many = serve(model, "H100", tokens, batch), serve(model, "H100", tokens, batch, pp_size=stages)
    assert many.memory_per_device < one.memory_per_device
    weights = one.model_weights_size / Hardware.H100.si.memory_bandwidth
    assert many.decode_memory * EPS >= weights


@given(st.sampled_from(["Mixtral_8x7B", "DeepSeek_V3"]), BATCH)
@settings(max_examples=20, deadline=None)
def test_a_mixture_reads_between_its_active_and_all_its_weights(model, batch):
    spec = Models[model].si
    r = serve(model, "H200", 128, batch, precision="fp8", kv_precision="fp8")
    read = r.decode_memory * Hardware.H200.si.memory_bandwidth - r.kv_cache_size
    assert 0.8 * spec.active_parameters <= read <= spec.parameters * 1.001


@given(st.floats(0, 1), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_speculation_yields_between_one_and_all_drafted_tokens(acceptance, drafted):
    r = serve(
        "Llama3_70B", "MI300X", 2048, 1, draft_model="Llama3_8B", draft_acceptance_rate=acceptance, draft_tokens=drafted
    )
    assert 1 <= float(r.tokens_per_step) <= drafted + 1
    assert r.itl > 0


def test_speculation_pays_when_decoding_is_bound_by_memory():
    plain = serve("Llama3_70B", "MI300X", 2048, 1)
    drafted = serve("Llama3_70B", "MI300X", 2048, 1, draft_model="Llama3_8B", draft_acceptance_rate=0.75)
    assert drafted.itl < plain.itl
    assert drafted.memory_per_device > plain.memory_per_device + drafted.draft_weights_size * 0.999


def test_a_cached_prefix_saves_prefill_only():
    full, half = serve("Llama3_8B", "H100", 2048, 1), serve("Llama3_8B", "H100", 2048, 1, cached_prefix_len=1024)
    assert half.ttft < full.ttft
    assert half.itl == full.itl
    assert half.prompt_cache_hit_ratio == 0.5


def test_disaggregation_checks_both_sides_and_pays_for_the_transfer():
    r = SOLVER.solve("Llama3_70B", "H100", 2048, decode_hardware="MI300X")
    assert not r.feasible, "the prefill side cannot hold the weights"
    r = SOLVER.solve("Llama3_8B", "H100", 2048, decode_hardware="H200", network_bandwidth="50 GB/s")
    assert r.feasible
    assert r.si.kv_transfer == pytest.approx(r.si.kv_cache_size / 50e9)


@given(
    st.sampled_from(["ResNet50", "MobileNetV2", "BERT_Base", "StableDiffusion_v1_5", "Mamba_2_8B", "Llama3_8B"]),
    CHIPS,
    BATCH,
)
@settings(max_examples=40, deadline=None)
def test_engine_parts_add_up_and_respect_the_roofline(model, chip, batch):
    r = Engine.solve(model, chip, batch).si
    assert r.latency == pytest.approx(max(r.latency_compute, r.latency_memory) + r.latency_overhead)
    assert r.throughput == pytest.approx(batch / r.latency)
    assert 0 < r.mfu <= 0.5 * EPS
    assert r.flops / r.latency <= min(r.peak, r.arithmetic_intensity * r.peak_bw_actual) * EPS
    assert 0 < r.power <= Hardware[chip].si.tdp * EPS
    assert Engine.solve(model, chip, batch + 1).si.latency * EPS >= r.latency


def test_compute_intensity_is_not_capped_when_the_batch_grows():
    """A language model crosses the ridge at some batch when its context is short (defect P11 of the specification)."""
    assert Engine.solve("Llama3_8B", "H100", 1024, seq_len=16).bottleneck == "Compute"


@given(st.sampled_from(["Llama3_8B", "Llama3_70B"]), st.sampled_from(["H100", "H200", "B200"]), TOKENS, BATCH)
@settings(max_examples=12, deadline=None)
def test_measured_phases_never_beat_the_speed_of_light(model, chip, tokens, batch):
    inside = serve(model, chip, tokens, batch, precision="fp8", efficiency="measured")
    device = Hardware[chip].si
    peak, parameters = max(device.peaks.values()), Models[model].si.parameters
    weights = 0.9 * parameters / device.memory_bandwidth  # all but the embeddings, of which a step reads a few rows
    assert inside.itl >= max(weights, 1.8 * parameters * batch / peak)
    assert inside.ttft >= max(weights, 1.8 * parameters * tokens * batch / peak)
