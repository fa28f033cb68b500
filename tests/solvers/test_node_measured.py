"""One device, operator by operator: against published runs, and what must always hold."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Engine, InvalidInputError, MissingFactError, MLSysimError, ServingModel
from mlsysim.solvers.node import SingleNodeModel
from mlsysim.solvers.node_measured import MeasuredProfile

NETWORKS = ["ResNet50", "MobileNetV2", "EfficientNetB0", "ViT_B_16", "ConvNeXt_Tiny", "VGG16"]
DEVICES = ["A100", "H100", "RTX4090", "T4", "JetsonAGXOrin_64GB", "Core_i9_10940X", "MI300X"]
# Images a second, from results/ of pytorch-image-models at commit aa4b5850, none of them fitted; batch as printed.
TIMM = [
    ("ResNet50", "RTX4090", 1024, "compiled", 8039.05),
    ("ResNet50", "RTX5090", 1024, "eager", 6356.02),
    ("ResNet50", "RTX3090", 1024, "eager", 3021.24),
]


def ask(model="ResNet50", device="A100", batch=32, **options):
    return Engine.solve(model, device, batch, **{"efficiency": "measured"} | options)


@pytest.mark.parametrize(("model", "device", "batch", "runtime", "rate"), TIMM)
def test_throughput_matches_published_runs_of_pytorch_image_models(model, device, batch, runtime, rate):
    answer = ask(model, device, batch, runtime=runtime)
    assert answer.si.throughput == pytest.approx(rate, rel=0.25)
    low, high = answer.interval(0.99)["latency"]
    assert low.to("s").magnitude <= batch / rate <= high.to("s").magnitude


def test_an_a100_reaches_mlperf_2_1_within_its_own_interval():
    # Alibaba-A100-SXM-80GBx1_TRT: 42,372.7 samples a second, INT8, offline
    answer = ask("ResNet50", "A100", 64, precision="int8", runtime="engine")
    low, high = answer.interval()["latency"]
    assert low.to("s").magnitude <= 64 / 42372.7 <= high.to("s").magnitude


@given(
    st.sampled_from(NETWORKS),
    st.sampled_from(DEVICES),
    st.integers(1, 512),
    st.sampled_from(["eager", "compiled", "engine"]),
    st.sampled_from(["fp32", "fp16", "int8"]),
)
@settings(max_examples=40, deadline=None)
def test_nothing_is_faster_than_light_and_parts_add_up(model, device, batch, runtime, precision):
    if device == "Core_i9_10940X" and precision == "fp16":
        precision = "fp32"
    answer = ask(model, device, batch, runtime=runtime, precision=precision)
    inside = answer.si
    assert inside.latency >= inside.floor * (1 - 1e-9)
    assert inside.mfu <= 1
    assert inside.latency == pytest.approx(inside.latency_compute + inside.latency_memory + inside.latency_overhead)
    rows = answer.breakdown()
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-6)
    assert all(row["light_share"] <= 100 * (1 + 1e-9) for row in rows)
    low, high = answer.interval()["latency"]
    assert low < answer.latency < high
    assert inside.energy >= 0


@pytest.mark.parametrize("model", ["ResNet50", "Llama3_8B", "BERT_Large"])
def test_arrays_equal_scalars(model):
    batches = np.array([1, 7, 64])
    many = ask(model, "A100", batches)
    for place, batch in enumerate(batches):
        one = ask(model, "A100", int(batch))
        for name in ("latency", "energy", "latency_overhead", "floor", "sigma", "flops"):
            assert getattr(many.si, name)[place] == pytest.approx(getattr(one.si, name)), name


@given(st.sampled_from(NETWORKS), st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_larger_batches_take_longer(model, batch):
    # Throughput may fall: activations of a larger batch no longer fit in the last cache.
    times = ask(model, "A100", np.array([batch, 2 * batch, 64 * batch]))
    assert np.all(np.diff(times.si.latency) >= -1e-12)
    assert times.si.throughput[2] >= times.si.throughput[0] / 2


def test_a_decode_step_is_that_of_serving():
    node = ask("Llama3_8B", "H100", 8, precision="bf16", seq_len=2048)
    served = ServingModel().solve("Llama3_8B", "H100", 2048, 8, precision="bf16", efficiency="measured")
    assert node.si.latency == pytest.approx(served.si.itl)


def test_an_answer_shows_explains_and_asks_again():
    answer = ask(batch=8)
    assert isinstance(answer, MeasuredProfile)
    assert json.loads(json.dumps(answer.to_dict()))
    assert "latency" in str(answer.explain())
    assert answer.question.ask().si.latency == answer.si.latency
    assert any("was not measured" in note for note in answer.notes)
    assert "compiled" in " ".join(ask(runtime="compiled").notes)


def test_a_model_without_layers_says_what_to_do():
    for model in ("SSD_ResNet34", "Mamba_130M"):
        with pytest.raises(MissingFactError, match=r"its layers are not in the catalog.*efficiency a number"):
            ask(model)
    with pytest.raises(MissingFactError, match="encoder_decoder"):
        ask("T5_Small")


@pytest.mark.parametrize(
    "options",
    [
        {"batch": -1},
        {"batch": float("nan")},
        {"batch": float("inf")},
        {"batch": "8 GB"},
        {"model": "ResNot50"},
        {"device": "A1000000"},
        {"runtime": "tensorflow"},
        {"precision": "fp17"},
        {"efficiency": "guessed"},
        {"runtime": "engine", "efficiency": 0.5},
    ],
)
def test_bad_input_is_told_in_one_line(options):
    with pytest.raises(MLSysimError) as caught:
        ask(**options)
    assert "\n" not in str(caught.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(InvalidInputError) as caught:
        SingleNodeModel().solve("ResNet50", "A100", -1, "fp16", "measured", runtime="quick")
    assert "batch_size" in str(caught.value)
    assert "runtime" in str(caught.value)
