"""Plans and whole systems on the command line, as a person runs them (in one process, for speed)."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mlsysim.cli import main

PLANS = Path(__file__).parents[2] / "examples" / "plans"
TRAINING = str(PLANS / "llama3_70b_training.yaml")


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["mlsysim", *arguments])
        found = 0
        try:
            main()
        except SystemExit as done:
            found = done.code or 0
        out = capsys.readouterr()
        assert found == code, (arguments, found, out.out[-800:], out.err[-800:])
        assert "Traceback" not in out.out + out.err
        return out

    return call


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_plan_gives_a_scorecard_and_holds(run, path):
    text = run("eval", str(path)).out
    assert "feasibility  PASS" in text
    assert "assertion    PASS" in text
    assert "assertion    FAIL" not in text
    document = json.loads(run("eval", str(path), "-o", "json").out)
    assert document["passed_all"] is True
    assert len(list(csv.reader(io.StringIO(run("eval", str(path), "-o", "csv").out)))) == 2
    assert run("eval", str(path), "--output", "markdown").out.startswith("###")


def test_there_is_a_plan_for_each_archetype():
    assert {path.stem for path in PLANS.glob("*.yaml")} >= {
        "llama3_70b_training", "chatbot_serving", "edge_perception", "tiny_doorbell", "mobile_health",
        "local_finetuning", "frontier_fleet",
    }  # fmt: skip


def test_a_training_plan_shows_memory_step_cost_carbon_and_goodput(run, tmp_path):
    document = json.loads(run("eval", TRAINING, "-o", "json", "--explain").out)
    for key in ("f_memory_used_gb", "p_step_latency", "p_mfu", "m_tco", "m_carbon_footprint", "m_goodput"):
        assert document[key] > 0
    assert document["explain"]["lines"]
    text = Path(TRAINING).read_text().replace("region: Quebec", "region: Poland")
    (tmp_path / "poland.yaml").write_text(text)
    other = json.loads(run("eval", str(tmp_path / "poland.yaml"), "-o", "json", code=3).out)
    assert other["m_carbon_operational"] > 10 * document["m_carbon_operational"]
    assert other["p_step_latency"] == document["p_step_latency"]


def edited(tmp_path, *changes, source=TRAINING):
    text = Path(source).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return str(path)


def test_an_assertion_that_fails_is_named_and_exits_3_with_one_document(run, tmp_path):
    path = edited(tmp_path, ("max: 40000", "max: 400"))
    report = tmp_path / "report.xml"
    out = run("eval", path, "--junit", str(report), code=3).out
    assert "macro.tco is" in out
    assert "wanted at most 400 USD" in out
    document = json.loads(run("--output", "json", "eval", path, code=3).out)
    assert [a["metric"] for a in document["assertions"] if not a["held"]] == ["macro.tco"]
    suite = ElementTree.parse(report).getroot()
    assert suite.get("failures") == "1"
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["macro.tco"]


def test_an_assertion_about_what_a_plan_does_not_have_fails(run, tmp_path):
    path = edited(tmp_path, ("performance.step_latency, max: 60 s", "performance.itl, max: 60 s"))
    assert "performance.itl is not known here" in run("eval", path, code=3).out


def test_what_does_not_fit_exits_4(run, tmp_path):
    path = edited(tmp_path, ("accelerators: 64", "accelerators: 8"))
    out = run("eval", path, code=4).out
    assert "does not fit" in out
    assert json.loads(run("eval", path, "-o", "json", code=4).out)["f_status"] == "FAIL"


def test_nodes_of_older_plans_count_accelerators(run, tmp_path):
    new = json.loads(run("eval", TRAINING, "-o", "json").out)
    old = json.loads(run("eval", edited(tmp_path, ("accelerators: 64", "nodes: 64")), "-o", "json").out)
    assert new == old


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch_size: 256", "batchsize: 256", "did you mean batch_size"),
        ("batch_size: 256", "batch_size: -4", "workload.batch_size"),
        ("batch_size: 256", "batch_size: .nan", "workload.batch_size"),
        ("efficiency: 0.5", "efficiency: 7", "expected a number in (0, 1]"),
        ("name: Llama3_70B", "name: Llama3_70", "did you mean Llama3_70B"),
        ("name: H100", "name: H1000", "did you mean H100"),
        ("precision: bf16", "precision: bf61", "bf61"),
        ("region: Quebec", "region: Atlantis", "ops.region"),
        ("metric: macro.tco", "metric: macro.tcoo", "did you mean macro.tco"),
        ("max: 60 s", "max: 60 GB", "expected a unit like ms"),
        ("max: 60 s", "mx: 60 s", "did you mean max"),
        ("ops:", "opps:", "did you mean ops"),
        ("version: 1", "version: 7", "expected version 1"),
        ("accelerators: 64", "accelerators: 12", "do not fill nodes of 8"),
        ("hardware:", "fleet:", "fleet.accelerators: unknown key"),
        ("  recompute: full", "  tp: 3", "tp_size 3"),
    ],
)
def test_a_fault_in_a_plan_is_one_line_and_exit_1(run, tmp_path, old, new, said):
    out = run("eval", edited(tmp_path, (old, new)), code=1)
    assert said in out.err
    assert len(out.err.strip().splitlines()) == 1
    assert out.out == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("- 1\n- 2\n", "expected a YAML mapping"),
        ("a: [1\n", "line"),
        ("id: x\nname: y\nvalues: {}\n", "is no plan"),
        ("workload: {name: GPT2}\n", "version: is missing"),
    ],
)
def test_a_file_that_is_no_plan_says_so(run, tmp_path, text, said):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    assert said in run("eval", str(path), code=1).err
    document = json.loads(run("eval", str(path), "-o", "json", code=1).out)
    assert document["status"] == "error"


def test_options_of_a_pass_do_not_go_with_a_plan(run, tmp_path):
    assert "--batch-size and --precision" in run("eval", TRAINING, "-b", "3", "-p", "fp8", code=1).err
    assert "cannot be written" in run("eval", TRAINING, "--junit", str(tmp_path), code=1).err
    run("eval", "Llama3_8B", code=2)
    assert "--junit" in run("eval", "Llama3_8B", "H100", "--junit", "x.xml", code=1).err
    run("eval", str(tmp_path / "nothing.yaml"), code=1)


def test_compare_names_the_cause(run):
    text = run("compare", "A100", "H100", "--model", "Llama3_8B").out
    assert "ITL: 1.60x faster" in text
    assert "memory bandwidth" in text
    document = json.loads(run("compare", "A100", "H100", "-m", "ResNet50", "-o", "json").out)
    assert document["speedup"] > 1
    assert "--model" in run("compare", "A100", "H100", code=1).err


def test_compare_puts_two_plans_side_by_side(run):
    text = run("compare", TRAINING, str(PLANS / "frontier_fleet.yaml")).out
    assert "changed: batch_size: 256 -> 2048" in text
    document = json.loads(run("compare", TRAINING, str(PLANS / "tiny_doorbell.yaml"), "-o", "json").out)
    assert document["comparison"] is None
    assert document["a"]["p_step_latency"] > 0


def test_whatif_attributes_the_difference(run):
    text = run("whatif", "Llama3_8B", "H100", "memory_bandwidth=2x").out
    assert "memory bandwidth" in text
    assert "3.35 TB/s -> 6.7 TB/s" in text
    document = json.loads(run("whatif", "Llama3_8B", "H100", "batch_size=8", "-o", "json").out)
    assert document["factors"][0]["factor"] == "bytes moved"
    run("whatif", "Llama3_8B", "H100", "model=Llama3_70B", code=4)
    assert "did you mean memory_bandwidth" in run("whatif", "Llama3_8B", "H100", "memory_bandwith=2x", code=1).err


def test_optimize_parallelism(run):
    document = json.loads(run("optimize", "parallelism", TRAINING, "-o", "json").out)
    best = document["answer"]["best_config"]
    assert best["dp"] * best["tp"] * best["pp"] * best["cp"] * best["ep"] == 64
    assert "a step, MFU" in run("optimize", "parallelism", TRAINING).out
    assert "nothing to split" in run("optimize", "parallelism", str(PLANS / "tiny_doorbell.yaml"), code=1).err


def test_optimize_batching_exits_4_where_no_batch_meets_it(run):
    plan = str(PLANS / "chatbot_serving.yaml")
    document = json.loads(run("optimize", "batching", plan, "--sla-ms", "20000", "--qps", "1", "-o", "json").out)
    assert document["feasible"] is True
    assert document["answer"]["best_batch_size"] > 1
    assert "NO BATCH" in run("optimize", "batching", plan, "--sla-ms", "20", "--qps", "1", code=4).out
    run("optimize", "batching", plan, code=2)


def test_optimize_placement(run):
    asked = ("--region", "Quebec", "--region", "Poland", "--objective", "carbon")
    document = json.loads(run("optimize", "placement", TRAINING, *asked, "-o", "json").out)
    assert document["answer"]["best_region"] == "Quebec"
    assert "Quebec" in run("optimize", "placement", TRAINING, *asked).out.splitlines()[1]
    assert "Atlantis" in run("optimize", "placement", TRAINING, "--region", "Atlantis", code=1).err


def test_walls_and_pipelines(run):
    document = json.loads(run("walls", "-o", "json").out)
    assert [wall["number"] for wall in document["walls"]] == list(range(1, 23))
    assert len(run("walls").out.splitlines()) == 23
    assert "DistributedModel" in run("walls", "14").out
    assert "7" in run("walls", "tail latency").out
    assert len(json.loads(run("walls", "node", "-o", "json").out)["walls"]) == 7
    assert len(run("walls", "-o", "csv").out.splitlines()) == 23
    assert "no wall named" in run("walls", "99", code=1).err
    document = json.loads(run("pipeline", "ServingModel", "EconomicsModel", "-o", "json").out)
    assert document["inputs"] == ["model", "hardware", "seq_len", "fleet", "duration_days"]
    assert "ServingModel" in run("pipeline").out
    assert "did you mean ServingModel" in run("pipeline", "ServngModel", code=1).err


def test_the_schema_of_a_plan_is_complete(run):
    document = json.loads(run("schema").out)
    assert document == json.loads(run("schema", "--type", "plan").out)
    assert document["required"] == ["version", "name", "workload"]
    parts = document["$defs"]
    assert all(part["additionalProperties"] is False for part in parts.values())
    for part in (document, *parts.values()):
        for name, value in part["properties"].items():
            assert "description" in value or "$ref" in str(value), name
    assert "performance.step_latency" in parts["PlanAssertion"]["properties"]["metric"]["enum"]


def test_the_installed_command_knows_plans():
    out = subprocess.run(
        [sys.executable, "-m", "mlsysim", "eval", TRAINING], capture_output=True, text=True, timeout=120
    )
    assert out.returncode == 0, out.stderr
    assert "goodput" in out.stdout
