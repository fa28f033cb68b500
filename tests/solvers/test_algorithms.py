"""Scaling, reasoning, compression, utilisation, streaming, privacy, fine-tuning, agents and retrieval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import (
    AgentLoopModel,
    CompressionModel,
    EfficiencyModel,
    FineTuningModel,
    Hardware,
    InferenceScalingModel,
    ResponsibleEngineeringModel,
    RetrievalModel,
    ScalingModel,
    ServingModel,
    WeightStreamingModel,
    ureg,
)
from mlsysim.catalog import Defaults
from mlsysim.errors import InvalidInputError, MLSysimError, UnitError, UnsupportedWorkloadError

SCALE, THINK, SQUEEZE, REACH = ScalingModel(), InferenceScalingModel(), CompressionModel(), EfficiencyModel()
STREAM, SAFE, TUNE, LOOP, FIND = (
    WeightStreamingModel(), ResponsibleEngineeringModel(), FineTuningModel(), AgentLoopModel(), RetrievalModel(),
)  # fmt: skip


# -- scaling -----------------------------------------------------------------------------------------------------


def test_twenty_tokens_a_parameter_buys_chinchilla():
    # Hoffmann et al. 2022, table 1: Chinchilla, 70 billion parameters and 1.4 trillion tokens, 5.76e23 FLOPs
    answer = SCALE.solve("5.76e23 FLOP")
    assert answer.optimal_parameters == pytest.approx(70e9, rel=0.02)
    assert answer.optimal_tokens == pytest.approx(1.4e12, rel=0.02)


def test_budgets_keep_their_units():
    for budget in ("1e24 FLOP", "1e12 TFLOP", ureg.Quantity(1e12, "TFLOP"), ureg.Quantity(1e6, "EFLOP")):
        answer = SCALE.solve(budget)
        assert answer.optimal_parameters == pytest.approx(9.128709e10, rel=1e-6)
        assert answer.compute_budget_flops == pytest.approx(1e24)
        assert answer.tokens_per_parameter == pytest.approx(20)
    with pytest.raises(UnitError, match="compute_budget"):
        SCALE.solve("1 kg")


def test_a_time_is_a_budget_of_named_hardware():
    answer = SCALE.solve(ureg.Quantity(1000, "day"), hardware="H100", mfu=0.4)
    assert answer.compute_budget_flops == pytest.approx(1000 * 86400 * 989e12 * 0.4)
    assert any("H100" in note for note in answer.notes)


@given(st.floats(19, 26), st.floats(8, 11.5), st.sampled_from(["Chinchilla", "Epoch"]))
@settings(max_examples=40, deadline=None)
def test_no_size_has_less_loss_than_the_best(power, size, law):
    answer = SCALE.solve(f"{10**power} FLOP", float(np.round(10**size)), law=law)
    assert answer.excess_loss >= -1e-9
    assert answer.optimal_parameters * answer.optimal_tokens * 6 == pytest.approx(10**power)
    assert (answer.overtraining - 1) * (answer.best_parameters - answer.optimal_parameters) >= -1e-3


@given(st.floats(20, 25), st.floats(9, 15))
@settings(max_examples=30, deadline=None)
def test_serving_never_asks_for_a_bigger_model(power, served):
    quiet, busy = (SCALE.solve(f"{10**power} FLOP", law="Epoch", inference_tokens=n) for n in (0, 10**served))
    assert busy.lifetime_parameters <= quiet.lifetime_parameters * (1 + 1e-9)
    assert 0 <= busy.lifetime_saving + 1e-9 < 1


# -- reasoning ---------------------------------------------------------------------------------------------------


def test_a_chain_is_the_sum_of_its_steps():
    answer = THINK.solve("Llama3_8B", "H100", reasoning_steps=8, context_length=2048)
    contexts = 2048 + np.arange(400) + 0.5
    step = ServingModel().solve("Llama3_8B", "H100", np.round(contexts)).si.itl
    assert answer.si.total_reasoning_time == pytest.approx(answer.si.ttft + step.sum(), rel=1e-3)
    assert answer.tokens_generated == 400


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from(["Llama3_8B", "Mixtral_8x7B"]))
@settings(max_examples=25, deadline=None)
def test_longer_chains_and_more_samples_take_longer_and_more_energy(steps, samples, model):
    base = THINK.solve(model, "H200", steps, samples=samples).si
    for more in (THINK.solve(model, "H200", steps + 1, samples=samples).si,
                 THINK.solve(model, "H200", steps, samples=samples + 1).si):  # fmt: skip
        assert more.total_reasoning_time >= base.total_reasoning_time
        assert more.energy_per_query >= base.energy_per_query * (1 - 1e-9)
    chip = Hardware.H200.si
    assert base.energy_per_query <= chip.tdp * base.total_reasoning_time * (1 + 1e-9)
    idle = chip.idle_power or Defaults["Textbook"].si.idle_share * chip.tdp
    assert base.energy_per_query >= idle * base.total_reasoning_time * (1 - 1e-9)


def test_samples_share_the_reading_of_weights():
    one, many = THINK.solve("Llama3_8B", "H100"), THINK.solve("Llama3_8B", "H100", samples=16, success_rate=0.6)
    assert many.si.total_reasoning_time < 2 * one.si.total_reasoning_time
    assert many.success_of_any > many.success_of_majority > 0.6
    assert not THINK.solve("Llama3_8B", "H100", 2000, samples=100).feasible


# -- compression -------------------------------------------------------------------------------------------------


def test_four_bits_are_about_eight_times_smaller_and_scales_count():
    answer = SQUEEZE.solve("Llama3_8B", "H100", target_bitwidth=4)
    assert answer.compression_ratio == pytest.approx(8, rel=0.15)
    assert answer.compression_ratio == pytest.approx(32 / (4 + 16 / 128))
    assert answer.memory_savings_pct == pytest.approx(100 * (1 - 1 / answer.compression_ratio))
    assert 1 < answer.inference_speedup < answer.compression_ratio


def test_two_of_four_is_nine_sixteenths_mishra_2021():
    # arXiv:2104.08378: half the values and two bits for each: 9/16 of 16-bit weights, so 17/32 of 32-bit ones
    answer = SQUEEZE.solve("Llama3_8B", "H100", "pruning", sparsity=0.5, sparsity_type="n_m")
    assert answer.compression_ratio == pytest.approx(32 / 17)


@given(st.integers(1, 32), st.floats(0, 0.99), st.sampled_from(["unstructured", "structured", "n_m"]))
@settings(max_examples=40, deadline=None)
def test_compression_shrinks_and_never_slows(bits, sparsity, pattern):
    small = SQUEEZE.solve("Llama3_8B", "H100", target_bitwidth=bits)
    pruned = SQUEEZE.solve("Llama3_8B", "H100", "pruning", sparsity=sparsity, sparsity_type=pattern)
    assert small.compression_ratio >= 1
    assert small.inference_speedup >= 1 - 1e-9
    assert pruned.compression_ratio <= 1 / (1 - sparsity) + 1e-9
    assert 1 - 1e-9 <= pruned.inference_speedup <= 1 / (1 - sparsity) + 1e-9


def test_losses_are_measured_or_unknown():
    known = SQUEEZE.solve("Llama3_8B", "H100", target_bitwidth=8)
    assert -0.03 <= known.accuracy_delta_worst <= known.accuracy_delta_best <= 0
    assert "Llama-3.1" in known.accuracy_source
    unknown = SQUEEZE.solve("Llama3_8B", "H100", target_bitwidth=3)
    assert np.isnan(unknown.estimated_accuracy_delta)
    assert "unknown" in unknown.accuracy_source


def test_compression_of_arrays_is_that_of_their_elements():
    bits = np.array([2, 4, 8, 16])
    together = SQUEEZE.solve("Llama3_8B", "H100", target_bitwidth=bits)
    for i, b in enumerate(bits):
        one = SQUEEZE.solve("Llama3_8B", "H100", target_bitwidth=int(b))
        assert together.inference_speedup[i] == pytest.approx(one.inference_speedup)
        assert together.compressed_size_gb[i] == pytest.approx(one.compressed_size_gb)
        assert together.accuracy_delta_worst[i] == pytest.approx(one.accuracy_delta_worst, nan_ok=True)


# -- efficiency --------------------------------------------------------------------------------------------------


def test_the_best_attention_kernel_matches_flashattention_3():
    # arXiv:2407.08608, abstract: up to 740 TFLOP/s in FP16 on H100, 75 % of the peak
    best = REACH.solve("Llama3_8B", "H100", "attention", use_flash_attention=True, efficiency=1.0)
    assert best.achievable_flops.to("TFLOP/s").magnitude == pytest.approx(740, rel=0.01)


@given(st.integers(1, 10**5), st.floats(0, 1), st.sampled_from(["ffn", "attention", "conv"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_utilisation_and_losses_add_up_to_one_below_the_roofline(tokens, efficiency, work, flash):
    r = REACH.solve("Llama3_8B", "H100", work, flash, efficiency=efficiency, tokens=tokens)
    assert r.mfu + sum(r.overhead_breakdown.values()) == pytest.approx(1)
    assert 0 < r.mfu <= min(r.measured_highest, r.roofline_bound) + 1e-12


def test_decoding_cannot_use_the_peak():
    r = REACH.solve("Llama3_8B", "H100", tokens=1)
    ridge = Hardware.H100.ridge_point("fp16").magnitude
    assert r.mfu == pytest.approx(1 / ridge, rel=1e-2)  # one FLOP a byte
    assert r.bottleneck == "Memory"


# -- weight streaming --------------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.integers(1, 4096), st.sampled_from(["decode", "prefill"]))
@settings(max_examples=30, deadline=None)
def test_streaming_never_beats_its_link_or_its_arithmetic(batch, tokens, phase):
    r = STREAM.solve("Llama3_70B", "Cerebras_CS3", tokens, batch, phase=phase)
    chip = Hardware.Cerebras_CS3.si
    passes = batch * (tokens if phase == "prefill" else 1)
    assert r.si.pass_time >= 2 * 70e9 / chip.host_bandwidth * (1 - 1e-9)
    assert r.si.pass_time >= 2 * 70e9 * passes / (chip.peaks["fp16"] * 0.5) * (1 - 1e-9)
    assert (r.throughput_tokens_per_sec > 0) == r.feasible


def test_the_right_batch_hides_the_link():
    balance = STREAM.solve("Llama3_70B", "Cerebras_CS3", 1).optimal_batch_size
    below, above = (STREAM.solve("Llama3_70B", "Cerebras_CS3", 1, round(balance * f)) for f in (0.9, 1.1))
    assert below.bottleneck == "Interconnect-Bandwidth-Bound"
    assert above.bottleneck == "Compute-Bound"


def test_attention_of_a_prompt_counts_query_heads_causally():
    # FlashAttention-2, section 4.1: 4 s^2 d h, halved if causal; 64 query heads of 128 in each of 80 layers
    long, short = (STREAM.solve("Llama3_70B", "Cerebras_CS3", s, phase="prefill").si for s in (8192, 4096))
    rate = Hardware.Cerebras_CS3.si.peaks["fp16"] * 0.5
    launch = Hardware.Cerebras_CS3.si.dispatch_latency
    quadratic = ((long.layer_compute_time - launch) - 2 * (short.layer_compute_time - launch)) * rate
    assert quadratic == pytest.approx(4 * 128 * 64 / 2 * (8192**2 - 2 * 4096**2), rel=1e-6)


def test_only_devices_that_stream_weights_are_asked():
    with pytest.raises(UnsupportedWorkloadError, match="H100 does not stream"):
        STREAM.solve("Llama3_70B", "H100", 2048)


# -- privacy and fairness ----------------------------------------------------------------------------------------


def test_epsilon_matches_the_mnist_example_of_tensorflow_privacys_tests():
    r = SAFE.solve("1 h", noise_multiplier=1.3, dataset_size=60000, batch_size=150, epochs=15)
    assert r.epsilon == pytest.approx(0.7242234026109595, rel=1e-6)


@given(st.floats(0.3, 20), st.floats(1.05, 3), st.floats(0.001, 1))
@settings(max_examples=20, deadline=None)
def test_stricter_privacy_costs_more_and_rarer_groups_need_more(epsilon, factor, share):
    r = SAFE.solve("100 h", np.array([epsilon, epsilon * factor]), min_subgroup_prevalence=share)
    assert r.noise_multiplier[0] >= r.noise_multiplier[1]
    assert r.dp_slowdown_factor[0] >= r.dp_slowdown_factor[1] >= 5 / 3 - 1e-9
    assert r.additional_data_requirement[0] == pytest.approx(1 / share)


def test_a_hundred_times_the_data_for_one_in_a_hundred():
    r = SAFE.solve("100 h")
    assert r.fairness_data_ratio == pytest.approx(100)
    assert r.effective_training_time.to("hour").magnitude == pytest.approx(100 * r.dp_slowdown_factor)
    # Cochran: 0.9 within 0.05 at 95 % takes 1.96^2 x 0.09 / 0.0025 = 138.3
    assert r.samples_to_collect == pytest.approx(13_830, rel=1e-3)
    assert not SAFE.solve("100 h", 0.05).feasible


# -- fine-tuning -------------------------------------------------------------------------------------------------


def test_qlora_tunes_65b_in_48_gb_dettmers_2023():
    # arXiv:2305.14314, abstract and introduction: from more than 780 GB to less than 48 GB
    assert TUNE.solve("Llama1_65B", "A100", "full").total_memory.to("GB").magnitude > 780
    assert TUNE.solve("Llama1_65B", "A100", "qlora", rank=64).total_memory.to("GB").magnitude < 48


def test_lora_of_gpt3_trains_4_7m_and_37_7m_parameters_hu_2021():
    # arXiv:2106.09685, table 4: 4.7M and 37.7M, ranks 1 and 8 of queries and values
    r = TUNE.solve("GPT3", "A100", "lora", rank=np.array([1, 8]), adapted="qv")
    assert r.trainable_parameters / 1e6 == pytest.approx([4.7, 37.7], abs=0.05)


@given(st.integers(1, 256), st.integers(1, 16), st.sampled_from(["qv", "attention", "all"]))
@settings(max_examples=30, deadline=None)
def test_adapters_save_memory_and_at_most_a_third_of_the_work(rank, batch, adapted):
    full, lora, qlora = (
        TUNE.solve("Llama3_8B", "H100", m, rank=rank, adapted=adapted, batch_size=batch, recompute=False).si
        for m in ("full", "lora", "qlora")
    )
    assert qlora.total_memory < lora.total_memory < full.total_memory
    assert lora.work_saving <= 1 / 3 + 1e-9
    assert full.flops == pytest.approx(6 * 8.030261248e9 * 1e7)


# -- agents and retrieval ----------------------------------------------------------------------------------------


def test_a_bill_follows_the_price_list():
    # GPT-4o: 2.50, 1.25 (cached) and 10.00 USD a million tokens; 1,000 + 1,500 + 2,000 + 2,500 prompt tokens
    r = LOOP.solve("Llama3_8B", "H100", 4, 1000, 200, 300, price="API_GPT_4o")
    assert r.si.cost_uncached == pytest.approx((7000 * 2.5 + 800 * 10) / 1e6)
    assert r.si.cost_cached == pytest.approx((2500 * 2.5 + 4500 * 1.25 + 800 * 10) / 1e6)
    assert r.reread_share == pytest.approx(4500 / 7000)


@given(st.integers(1, 40), st.integers(1, 4000), st.integers(1, 500), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_prefix_cache_never_hurts_and_turns_add_up(turns, prompt, written, added):
    r = LOOP.solve("Llama3_8B", "H100", np.array([turns, turns + 1]), prompt, written, added).si
    assert np.all(r.latency_cached <= r.latency_uncached * (1 + 1e-9))
    assert r.latency_uncached[1] > r.latency_uncached[0]
    one = LOOP.solve("Llama3_8B", "H100", turns, prompt, written, added).si
    assert one.latency_cached == pytest.approx(r.latency_cached[0])
    floor = written * turns * 2 * 8.03e9 / Hardware.H100.si.memory_bandwidth
    assert one.decode_time >= floor * (1 - 1e-3)


def test_a_scan_reads_every_vector_once():
    r = FIND.solve("H100", 1e7, 768, precision="fp16")
    floor = 1e7 * 768 * 2 / Hardware.H100.si.memory_bandwidth
    assert r.si.search_time == pytest.approx(floor, rel=0.01)
    assert r.bottleneck == "Memory"
    assert not FIND.solve("H100", 1e9, 768).feasible
    assert FIND.solve("H100", 1e9, 768, index="pq").feasible


@given(st.integers(1, 20), st.integers(1, 1000))
@settings(max_examples=20, deadline=None)
def test_passages_lengthen_the_prompt(top_k, tokens):
    r = FIND.solve("H100", 1e6, top_k=top_k, passage_tokens=tokens, model="Llama3_8B").si
    assert r.added_context == top_k * tokens
    assert r.added_cache == pytest.approx(top_k * tokens * 131072)  # 32 layers x 8 heads x 128 x 2 x 2 bytes
    assert r.added_ttft >= 0


# -- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda: SCALE.solve("-1e20 FLOP"),
        lambda: SCALE.solve(1e24),
        lambda: SCALE.solve("1e24 FLOP", law="Chinchila"),
        lambda: THINK.solve("Llama3_8B", "H100", -3),
        lambda: THINK.solve("ResNet50", "H100"),
        lambda: SQUEEZE.solve("Llama3_8B", "H100", "quant"),
        lambda: SQUEEZE.solve("Llama3_8B", "H100", "pruning", sparsity=float("nan")),
        lambda: SQUEEZE.solve("Llama3_8B", "H100", "pruning", sparsity=1.0),
        lambda: SQUEEZE.solve("Llama3_8B", "H100", target_bitwidth=64),
        lambda: REACH.solve("Llama3_8B", "H100", "fnn"),
        lambda: REACH.solve("Llama3_8B", "H100", efficiency=10),
        lambda: STREAM.solve("Llama3_70B", "Cerebras_CS3", 2048, phase="bogus"),
        lambda: STREAM.solve("ResNet50", "Cerebras_CS3", 2048),
        lambda: SAFE.solve("100 h", 0),
        lambda: SAFE.solve("100 h", min_subgroup_prevalence=2),
        lambda: SAFE.solve("100 kg"),
        lambda: TUNE.solve("ResNet50", "H100"),
        lambda: TUNE.solve("Llama3_8B", "H100", "dora"),
        lambda: TUNE.solve("Llama3_8B", "H100", rank=0),
        lambda: LOOP.solve("Llama3_8B", "H100", 0),
        lambda: LOOP.solve("Llama3_8B", "H100", price="Lambda_8x_H100"),
        lambda: FIND.solve("H100", -1),
        lambda: FIND.solve("H100", 1e6, index="ivf", lists=10, probes=20),
    ],
)
def test_nonsense_gets_one_clear_line(ask):
    with pytest.raises(MLSysimError) as error:
        ask()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) > 10


def test_all_faults_are_told_at_once():
    with pytest.raises(InvalidInputError) as error:
        SAFE.solve("100 h", -1, 2, 0)
    assert len(error.value.problems) == 3
