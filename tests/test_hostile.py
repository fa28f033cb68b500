"""A newcomer who means harm: nonsense for every argument of every resolver and every command, faces of every answer."""

import inspect
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import mlsysim
from mlsysim import Hardware, solvers
from mlsysim.cli import main
from mlsysim.errors import MLSysimError
from mlsysim.solvers.result import Result, ask_again
from mlsysim.units import si

ROOT = Path(__file__).parents[1]
SERVED = dict(model="Llama3_8B", hardware="H100")
FLEET = dict(fleet="Research_256")
GOOD = {
    "AgentLoopModel": SERVED,
    "BatchingOptimizer": SERVED | dict(seq_len=512, sla_latency_ms=5000, arrival_rate_qps=2, max_search_batch=32),
    "CheckpointModel": dict(model="Llama3_8B", hardware="DGX_H100", storage_bandwidth="10 GB/s"),
    "CompressionModel": SERVED,
    "ContinuousBatchingModel": SERVED | dict(seq_len=1024, max_batch_size=8),
    "DataModel": dict(workload_data_rate="2 GB/s", hardware="H100", storage_bandwidth="5 GB/s"),
    "DistributedModel": FLEET | dict(model="Llama3_8B", batch_size=256, zero_stage=3),
    "EconomicsModel": FLEET | dict(duration_days=30),
    "EfficiencyModel": SERVED,
    "Engine": dict(model="ResNet50", hardware="A100"),
    "FineTuningModel": SERVED,
    "GoodputModel": dict(runtime=0.9),
    "InferenceScalingModel": SERVED,
    "KVCacheModel": SERVED | dict(seq_len=2048),
    "MoERoutingModel": dict(model="Mixtral_8x7B", batch_size=8, seq_len=512),
    "NetworkRooflineModel": FLEET | dict(model="Llama3_8B"),
    "OrchestrationModel": FLEET | dict(arrival_rate_jobs_per_day=4, avg_job_duration_days=0.1),
    "ParallelismOptimizer": FLEET | dict(model="Llama3_8B", batch_size=256),
    "PlacementOptimizer": FLEET | dict(duration_days=30),
    "ReliabilityModel": FLEET | dict(job_duration_hours=100),
    "ResponsibleEngineeringModel": dict(base_training_time="100 h"),
    "RetrievalModel": dict(hardware="H100", vectors=1e6),
    "ScalingModel": dict(compute_budget="1e22 FLOP"),
    "SensitivitySolver": SERVED,
    "ServingCapacityModel": SERVED | dict(qps=2, target_p99_latency_ms=20000),
    "ServingLoadModel": SERVED | dict(input_len=1024, output_len=128, concurrency=8),
    "ServingModel": SERVED | dict(seq_len=2048),
    "SingleNodeModel": dict(model="ResNet50", hardware="A100"),
    "SpeculativeDecodingModel": dict(model="Llama3_70B", draft_model="Llama3_8B", hardware="MI300X"),
    "SustainabilityModel": FLEET | dict(duration_days=30),
    "SynthesisSolver": dict(model="Llama3_8B", target_latency="50 ms"),
    "TailLatencyModel": dict(arrival_rate_qps=5, service_latency_ms=100),
    "TopologyModel": dict(fabric="InfiniBand_NDR"),
    "TrainingMemoryModel": SERVED,
    "TrainingStepModel": FLEET | dict(model="Llama3_8B", batch_size=256),
    "TrainingStep": dict(model="ResNet50", hardware="A100", batch_size=8),
    "TransformationModel": dict(
        batch_size=256, sample_size_bytes="100 kB", cpu_throughput="500 MB/s", accelerator_step_time="100 ms"
    ),
    "WeightStreamingModel": dict(model="Llama3_70B", hardware="Cerebras_CS3", seq_len=1024),
}
WITH_PLANS = {"TrainingRunModel", "PostTrainingModel"}
"""They hand a whole plan on to TrainingStepModel, and have tests of their own."""
NONSENSE = {
    "not a number": math.nan,
    "infinite": math.inf,
    "too long for a float": 10**400,
    "an empty array": np.array([]),
    "an array with a hole": np.array([1.0, math.nan]),
    "ragged": [[1], [2, 3]],
    "words": np.array(["a", "b"]),
    "bytes": b"8",
    "complex": 1 + 2j,
    "an object": object(),
    "a class": dict,
    "a long name": "x" * 500,
    "two lines": "a\nb",
    "a negative quantity": "-3 GB/s",
    "nobody's unit": "3 nonsense",
    "a tower of powers": "3 GB*9**9**9**9",
}
DOUBTFUL = [-1, 0, -0.5, 1e30, 1e-300, True, False, None, "8", "", [1, 2], np.array([[1.0], [2.0]]), np.int8(3), {}, 0.3, 7,
            "3 GB/s", "0 s", "ResNet50", "ESP32_S3", "Research_256", "DGX_H100"]  # fmt: skip
SWEPT = {"efficiency": [0.25, 0.5], "batch_size": [256, 512], "mfu": [0.25, 0.5], "duration_days": [10, 20],
         "arrival_rate_qps": [1, 2], "job_duration_hours": [10, 20], "scheduling": [0.5, 0.9], "epsilon": [1, 2],
         "num_nodes": [64, 128], "arrival_rate_jobs_per_day": [1, 2], "vectors": [1e5, 1e6],
         "tokens_per_parameter": [10, 20], "checkpoint_interval_hours": [1, 2]}  # fmt: skip


def solve_of(name):
    found = getattr(mlsysim, name)
    return found.solve if name == "Engine" else found().solve


def arguments_of(name):
    return list(inspect.signature(solve_of(name)).parameters)


def bare(value):
    return getattr(value, "magnitude", value)


def unknown(answer):
    numbers = {name: bare(value) for name, value in answer.values().items()}
    return {name for name, x in numbers.items() if isinstance(x, (float, np.ndarray)) and np.asarray(x).dtype.kind == "f"
            and np.isnan(x).any()}  # fmt: skip


def one_line(fault):
    text = str(fault)
    assert text
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_every_resolver_is_here():
    assert set(solvers.RESOLVERS) - set(GOOD) == WITH_PLANS
    names = {}
    exec("from mlsysim import *", names)
    assert set(solvers.RESOLVERS) <= set(names)


@pytest.mark.parametrize("name", GOOD)
def test_nonsense_is_refused_in_one_line(name):
    solve = solve_of(name)
    accepted = []
    for argument in arguments_of(name):
        for kind, value in NONSENSE.items():
            try:
                solve(**GOOD[name] | {argument: value})
            except MLSysimError as fault:
                one_line(fault)
            else:
                accepted.append((argument, kind))
    assert not accepted


@pytest.mark.parametrize("name", GOOD)
def test_what_is_doubtful_is_answered_or_refused(name):
    solve = solve_of(name)
    usual = unknown(solve(**GOOD[name]))
    for argument in arguments_of(name):
        for value in DOUBTFUL:
            try:
                answer = solve(**GOOD[name] | {argument: value})
            except MLSysimError as fault:
                one_line(fault)
                continue
            assert isinstance(answer, Result)
            missing = unknown(answer) - usual
            assert not missing or answer.notes or not np.any(getattr(answer, "feasible", True)), (
                argument,
                value,
                missing,
            )


@pytest.mark.parametrize("name", GOOD)
def test_arrays_that_do_not_broadcast_are_named(name):
    arguments = [argument for argument in SWEPT if argument in arguments_of(name)]
    if len(arguments) < 2:
        pytest.skip("one argument at most is swept here")
    first, second = arguments[:2]
    change = {first: np.array(SWEPT[first], float), second: np.resize(np.array(SWEPT[second], float), 3)}
    with pytest.raises(MLSysimError) as fault:
        solve_of(name)(**GOOD[name] | change)
    assert first in one_line(fault.value)


@pytest.mark.parametrize("name", GOOD)
def test_every_face_of_an_answer_of_one_point_and_of_a_sweep(name):
    solve = solve_of(name)
    swept = [argument for argument in arguments_of(name) if argument in SWEPT][:2]
    asked = [GOOD[name]] + [GOOD[name] | {argument: np.array(SWEPT[argument], float)} for argument in swept]
    for arguments in asked:
        try:
            answer = solve(**arguments)
        except MLSysimError as fault:  # an optimizer answers one question at a time
            one_line(fault)
            continue
        told = answer.explain()
        assert told.lines
        assert str(told)
        json.dumps(told.to_dict(), allow_nan=False)
        document = json.loads(answer.to_json())
        assert document["resolver"] == answer.question.resolver.__name__
        assert ask_again(document).to_dict()["answer"] == answer.to_dict()["answer"]
        assert len(answer.to_frame()) == max(1, int(np.prod(answer.shape)))
        assert str(answer).startswith(type(answer).__name__)
        assert answer._repr_html_().startswith("<table>")
        assert "array(" not in str(answer)
        assert repr(answer)
    if name != "Engine":
        found = getattr(mlsysim, name)
        assert found.schema()["produces"] == found.produces.__name__
        assert found.schema()["walls"]
        assert len(found.fallacies()) >= 2


def test_options_of_the_other_kind_of_pass_are_not_ignored():
    for option in (dict(zero_stage=1), dict(dp_size=8), dict(is_lora=True), dict(activation_recomputation=True)):
        with pytest.raises(MLSysimError, match="is_training"):
            mlsysim.Engine.solve("ResNet50", "A100", **option)
    with pytest.raises(MLSysimError, match="is_training"):
        mlsysim.Engine.solve("Llama3_8B", "H100", is_training=True, kv_precision="fp8")


@pytest.mark.parametrize("unit", ["GB*9**9**9**9", "m**9999999999", "GB**(9**9)", "((9**9)**9)**9", "9^9^9", "(" * 40])
def test_units_are_never_computed_for_ever(unit):
    with pytest.raises(MLSysimError):
        si(f"3 {unit}", "byte", "x")


def test_units_with_powers_are_still_read():
    assert si("3 GB*s**-1", "byte/second", "x") == 3e9
    assert si("2 m^2", "meter**2", "x") == si("2 m²", "meter**2", "x") == 2.0


# -- the catalog -------------------------------------------------------------------------------------------------------


def test_the_catalog_is_listed_searched_and_stacked():
    speeds = [chip.si.memory_bandwidth for chip in Hardware.list(sort_by="memory_bandwidth")]
    known = [speed for speed in speeds if speed is not None]
    assert known in (sorted(known), sorted(known, reverse=True))
    assert "H100" in [chip.id for chip in Hardware.search("h100")]
    both = Hardware.stack(["A100", "H100"])
    together = mlsysim.ServingModel().solve("Llama3_8B", both, 2048).si.itl
    alone = [mlsysim.ServingModel().solve("Llama3_8B", name, 2048).si.itl for name in ("A100", "H100")]
    assert together.tolist() == pytest.approx(alone)
    for nonsense in (["A100", "H1000"], [], [None], "A100,H1000"):
        with pytest.raises(MLSysimError) as fault:
            Hardware.stack(nonsense)
        one_line(fault.value)
    with pytest.raises(MLSysimError):
        Hardware.list(sort_by="nonsense")


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["mlsysim", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as done:
            code = done.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def refused(run, *arguments):
    code, out, err = run(*arguments, "-o", "json")
    assert code == 1, (arguments, code, out[-300:], err[-300:])
    assert json.loads(out)["status"] == "error"
    assert len(err.strip().splitlines()) == 1
    assert len(err) < 420


@pytest.mark.parametrize("name", ["x" * 500, "", "a/" + "z" * 300, "a\nb"])
@pytest.mark.parametrize(
    "command",
    ["eval {} H100", "eval Llama3_8B {}", "serve {} H100", "explain Llama3_8B H100 {}", "zoo models {}", "import {}",
     "learn {}", "fits {} H100", "compare A100 {} -m Llama3_8B", "whatif Llama3_8B H100 {}", "walls {}", "pipeline {}",
     "sweep Llama3_8B {}", "serve Llama3_8B H100 --stack {}", "serve Llama3_8B H100 --draft {}",
     "eval Llama3_8B H100 --kv-precision {}", "zoo hardware --sort-by {}"],
)  # fmt: skip
def test_names_that_name_nothing(run, command, name):
    refused(run, *(name if part == "{}" else part for part in command.split()))


FILES = {
    "binary": bytes(range(256)),
    "zeros": b"\0" * 100,
    "empty": b"",
    "list": b"- 1\n",
    "scalar": b"hello",
    "malformed": b"a: [1\n",
    "twice": b"a: 1\na: 2\n",
    "deep": b"a: " + b"[" * 5000 + b"]" * 5000,
    "laughs": b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
    "tagged": b'!!python/object/apply:os.system ["true"]',
    "utf16": b"\xff\xfea\0",
    "tab": b"a:\n\t- b\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "large": b"a: " + b"x" * (2 << 20),
    "a list as key": b"? [a]\n: 1\n",
    "many digits": b"a: " + b"9" * 6000,
    "null": b"~\n",
}


@pytest.mark.parametrize("kind", [*FILES, "folder", "missing", "device", "long"])
def test_files_that_are_no_yaml(run, tmp_path, kind):
    path = tmp_path / "bad.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind in FILES:
        path.write_bytes(FILES[kind])
    elif kind == "device":
        if not os.path.exists("/dev/zero"):
            pytest.skip("no such device here")
        path.symlink_to("/dev/zero")
    elif kind == "long":
        path = tmp_path / ("a" * 300 + ".yaml")
    for command in ("eval {}", "eval Llama3_8B {}", "serve {} H100", "learn --file {}"):
        refused(run, *(path if part == "{}" else part for part in command.split()))
    if kind != "device":  # a file of figures is read whole
        refused(run, "validate", "serving", "--data", path)


def test_a_value_without_its_unit_is_named(run, tmp_path):
    chip = tmp_path / "chip.yaml"
    chip.write_text("id: Mine\nname: Mine\nsources:\n  me: {kind: assumed, title: a guess, reason: a test}\ndefault_source: me\n"
                    "values:\n  release_year: 2027\n  vendor: me\n  peak_fp16: 500\n  memory_capacity: 64 GB\n  memory_bandwidth: 2 TB/s\n"
                    "  dispatch_latency: 10 us\n")  # fmt: skip
    code, _, err = run("eval", "Llama3_8B", chip)
    assert code == 1
    assert "peak_fp16" in err


@pytest.mark.parametrize("number", ["0", "-1", "1e400", "9" * 26, "nan", "inf", "x", "1.5", ""])
@pytest.mark.parametrize("option", ["--batch-size", "--seq-len", "--efficiency"])
def test_numbers_of_options(run, option, number):
    for command in ("eval", "serve"):
        code, out, err = run(command, "Llama3_8B", "H100", f"{option}={number}")
        assert code in (1, 2), (command, option, number, out)
        assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [("sweep", "Llama3_8B", "H100", "--out", "/nonexistent/x.csv"), ("sweep", "Llama3_8B", "H100", "--out", "x.xyz"),
     ("eval", "examples/plans/llama3_70b_training.yaml", "--junit", "/nonexistent/a.xml"),
     ("learn", "--export", "/nonexistent/a.csv")],
)  # fmt: skip
def test_places_that_cannot_be_written(run, monkeypatch, arguments):
    monkeypatch.chdir(ROOT)
    refused(run, *arguments)


@pytest.mark.parametrize("form", ["text", "json", "markdown", "csv"])
@pytest.mark.parametrize(
    "command",
    ["eval Llama3_8B H100", "serve Llama3_8B H100", "zoo hardware H100", "compare A100 H100 -m Llama3_8B", "walls"],
)
def test_every_form_before_and_after_the_command(run, command, form):
    before, after = run("--output", form, *command.split()), run(*command.split(), "--output", form)
    assert before == after
    assert before[0] == 0
    assert before[1].strip()
    if form == "json":
        json.loads(before[1])
