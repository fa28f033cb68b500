"""Published and specified answers of the node solvers; arrays; explanations; hostile input."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlsysim
from mlsysim import Engine, Hardware, Models, ServingModel, Systems
from mlsysim.errors import (
    InfeasibleError,
    InvalidInputError,
    InvalidPlanError,
    MissingFactError,
    MLSysimError,
    UnsupportedWorkloadError,
)

SOLVER = ServingModel()
ACCEPTANCE = Path(__file__).parents[3] / "shared" / "acceptance" / "two_phases.py"


def test_headline_of_the_textbook():
    r = Engine.solve(Models.ResNet50, Hardware.Cloud.A100, batch_size=1, precision="fp16")
    assert r.bottleneck == "Memory"
    assert round(r.latency.to("ms").magnitude, 2) == 0.54
    assert round(r.throughput.to("1/s").magnitude) == 1843


@pytest.mark.skipif(not ACCEPTANCE.exists(), reason="the acceptance scripts lie beside the project")
def test_two_phases_runs_as_it_stands():
    out = subprocess.run([sys.executable, str(ACCEPTANCE)], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip().endswith("all claims hold")


def test_kv_cache_of_gqa_matches_the_llama_arithmetic():
    # 2 x 32 layers x 8 heads x 128 values x 2 bytes a token (Llama 3 report, arXiv:2407.21783, table 3)
    r = SOLVER.solve("Llama3_8B", "H100", 2048).si
    assert r.kv_cache_size == 2 * 32 * 8 * 128 * 2 * 2048


def test_mla_cache_matches_deepseek_v2_table_1():
    # DeepSeek-V2 report, arXiv:2405.04434, section 2.1.3: (512 + 64) values a layer and token; V3 has 61 layers
    r = SOLVER.solve("DeepSeek_V3", "H200", 1, precision="fp8").si
    assert r.kv_cache_size == 61 * 576 * 2


def test_weight_only_int4_computes_at_the_16_bit_rate():
    fp16, int8, int4 = (SOLVER.solve("Llama3_8B", "H100", 2048, precision=p).si for p in ("fp16", "int8", "int4"))
    assert int4.prefill_compute == fp16.prefill_compute
    assert int8.prefill_compute == pytest.approx(fp16.prefill_compute / 2, rel=0.01)
    assert int4.model_weights_size == pytest.approx(fp16.model_weights_size * 4.125 / 16)


def test_a_missing_rate_is_replaced_by_a_wider_one_and_said():
    r = SOLVER.solve("Llama3_8B", "A100", 2048, precision="fp8")
    assert any("A100 has no fp8 peak; arithmetic runs in fp16" in note for note in r.notes)
    with pytest.raises(MissingFactError, match="Coral cannot compute in fp16"):
        Engine.solve("MobileNetV2", "Coral", precision="fp16")
    assert Engine.solve("MobileNetV2", "Coral", precision="int8").feasible


def test_stacks_and_batches_broadcast_and_equal_the_scalar_answers():
    names = ["A100", "H100", "H200"]
    r = SOLVER.solve(
        model=Models.Llama3_8B, hardware=Hardware.stack(names), batch_size=np.arange(1, 1025)[:, None], seq_len=2048
    )
    assert r.itl.shape == r.ttft.shape == r.feasible.shape == (1024, 3)
    assert r.feasible.dtype == bool
    assert r.feasible[0].all()
    assert not r.feasible[-1, 0]
    assert r.bottleneck.shape == (1024, 3)
    for batch in (1, 2, 63, 1024):
        for column, name in enumerate(names):
            one = SOLVER.solve(Models.Llama3_8B, name, 2048, batch)
            for field in ("ttft", "itl", "memory_per_device", "throughput", "energy_per_token"):
                assert getattr(r.si, field)[batch - 1, column] == getattr(one.si, field), (field, batch, name)
            assert r.feasible[batch - 1, column] == one.feasible
            assert r.bottleneck[batch - 1, column] == one.bottleneck


def test_engine_takes_arrays_too():
    r = Engine.solve(
        "ResNet50", Hardware.stack(["T4", "A100"]), batch_size=np.array([1, 8, 64])[:, None], efficiency=0.5
    )
    assert r.latency.shape == (3, 2)
    for row, batch in enumerate((1, 8, 64)):
        assert r.si.latency[row, 1] == Engine.solve("ResNet50", "A100", batch).si.latency


def test_impossible_plans_are_masked_in_a_sweep_and_refused_alone():
    r = SOLVER.solve("Llama3_8B", "H100", 2048, tp_size=np.array([1, 2, 3, 4]))
    assert r.feasible.tolist() == [True, True, False, True]
    with pytest.raises(InvalidPlanError, match="tp_size 3 does not divide 32 attention heads; try 2, 4 or 1"):
        SOLVER.solve("Llama3_8B", "H100", 2048, tp_size=3)
    with pytest.raises(InvalidPlanError, match="there are 8"):
        SOLVER.solve("Llama3_8B", Systems.Nodes.DGX_H100, 2048, tp_size=16)
    with pytest.raises(InvalidPlanError, match="more than 32 layers"):
        SOLVER.solve("Llama3_8B", "H100", 2048, pp_size=64)


def test_node_and_fleet_name_their_links():
    on_node = SOLVER.solve("llama-3.1-70b", Systems.Nodes.DGX_H100, 2048, tp_size=8)
    across = SOLVER.solve("llama-3.1-70b", Systems.Clusters.Research_256, 2048, tp_size=16)
    assert on_node.feasible
    assert across.si.decode_communication > on_node.si.decode_communication


def test_answers_say_what_does_not_fit_by_how_much_and_what_would():
    from mlsysim.solvers.advice import remedies

    r = Engine.solve("Llama3_70B", "H100")
    assert not r.feasible
    assert r.limits[0].excess.to("GB").magnitude == pytest.approx(
        r.si.memory_footprint / 1e9 - r.si.memory_capacity / 1e9
    )
    would = remedies(r)
    assert would[0].startswith("2 x H100")
    assert any(text.startswith("fp8") for text in would)
    with pytest.raises(InfeasibleError, match="needs"):
        Engine.solve("Llama3_70B", "H100", raise_errors=True)


def test_explain_leads_from_the_answer_to_the_datasheet():
    told = SOLVER.solve("Llama3_8B", "H100", 2048).explain()
    lines = list(told["itl"].walk())
    assert told["itl"].value == SOLVER.solve("Llama3_8B", "H100", 2048).si.itl
    bandwidth = next(line for line in lines if line.origin == "H100.memory_bandwidth")
    assert "http" in bandwidth.source
    assert any(line.origin == "memory_time" and line.formula == "traffic / bandwidth" for line in lines)
    assert all(line.source for line in lines if line.formula), "every equation names its source"
    text = str(told)
    assert "you asked" in text
    assert json.dumps(told.to_dict())


def test_plain_data_frame_and_notebook_faces():
    r = SOLVER.solve("Llama3_8B", Hardware.stack(["A100", "H100"]), 2048, np.array([[1], [8]]))
    frame = r.to_frame()
    assert frame.shape[0] == 4
    assert "itl [second]" in frame.columns
    assert frame["hardware"].to_list() == ["A100", "H100", "A100", "H100"]
    document = json.loads(r.to_json())
    assert document["resolver"] == "ServingModel"
    assert document["answer"]["itl"]["unit"] == "second"
    again = mlsysim.ask_again(document)
    assert np.array_equal(again.si.itl, r.si.itl)
    scalar = SOLVER.solve("Llama3_8B", "H100", 2048)
    assert "<table>" in scalar._repr_html_()
    assert scalar.interval(0.9) is None
    assert mlsysim.ask_again(json.loads(scalar.to_json())).si.itl == scalar.si.itl


def test_a_number_as_efficiency_is_a_bound_of_its_own():
    light, half = SOLVER.solve("Llama3_8B", "H100", 2048, efficiency=1.0), SOLVER.solve("Llama3_8B", "H100", 2048)
    assert light.ttft < half.ttft
    assert light.itl == half.itl, "decoding at batch 1 waits for memory"


BAD_NUMBERS = [
    0,
    -1,
    -2048,
    1.5,
    math.nan,
    math.inf,
    -math.inf,
    10**30,
    10**400,
    "8",
    None,
    True,
    [],
    {},
    "nan",
    np.array([]),
    np.array([1, np.nan]),
    object(),
]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize("name", ["batch_size", "seq_len", "tp_size"])
def test_hostile_counts_get_one_line(name, value):
    arguments = {"model": "Llama3_8B", "hardware": "H100", "seq_len": 2048, name: value}
    with pytest.raises(InvalidInputError) as error:
        SOLVER.solve(**arguments)
    assert name in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", [0, -1, 1.01, 5, math.nan, math.inf, "half", None, "measure"], ids=repr)
def test_hostile_efficiency_gets_one_line(value):
    for ask in (
        lambda: Engine.solve("ResNet50", "A100", efficiency=value),
        lambda: SOLVER.solve("Llama3_8B", "H100", 2048, efficiency=value),
    ):
        with pytest.raises(InvalidInputError, match=r"efficiency: expected a number in \(0, 1\]"):
            ask()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": "Lama3_8B"}, "did you mean Llama3_8B"),
        ({"model": 7}, "model: expected an entry"),
        ({"model": None}, "model: expected an entry"),
        ({"hardware": "H1000"}, "did you mean H100"),
        ({"precision": "fp61"}, "did you mean"),
        ({"precision": None}, "precision: expected an entry"),
        ({"kv_precision": "banana"}, "no number format"),
        ({"decode_hardware": "H200", "network_bandwidth": "100 m"}, "network_bandwidth: expected a unit like GB/s"),
        ({"decode_hardware": "H200", "network_bandwidth": 100}, "network_bandwidth: expected a quantity"),
        ({"decode_hardware": "H200", "network_bandwidth": "0 GB/s"}, "network_bandwidth: expected a positive"),
        (
            {"draft_model": "Llama3_8B", "draft_acceptance_rate": 2.0},
            "draft_acceptance_rate: expected a number in [0, 1]",
        ),
        ({"cached_prefix_len": -100}, "cached_prefix_len"),
        ({"cached_prefix_len": 4096}, "at most seq_len"),
        ({"seq_len": mlsysim.ureg.Quantity(2048, "byte")}, "seq_len"),
        ({"batch_size": np.ones((2, 3)), "seq_len": np.ones((4, 5))}, "do not broadcast"),
    ],
)
def test_hostile_arguments_get_one_line(arguments, said):
    with pytest.raises(MLSysimError) as error:
        SOLVER.solve(**{"model": "Llama3_8B", "hardware": "H100", "seq_len": 2048, **arguments})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(InvalidInputError) as error:
        SOLVER.solve("Llama3_8B", "H1000", -1, 0, "fp61", 7)
    assert len(error.value.problems) == 5


@pytest.mark.parametrize("model", ["ResNet50", "Mamba_2_8B", "BERT_Base", "DLRM"])
def test_a_model_that_does_not_generate_is_refused_by_name(model):
    with pytest.raises(UnsupportedWorkloadError, match=model):
        SOLVER.solve(model, "H100", 2048)


def test_unknown_arguments_are_errors():
    with pytest.raises(TypeError):
        SOLVER.solve("Llama3_8B", "H100", 2048, batchsize=3)
