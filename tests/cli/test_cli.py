"""The command line as a person runs it."""

import csv
import io
import json
import subprocess
import sys

import pytest

from mlsysim.catalog.schema import ANSWERS


def run(*arguments, code=0):
    out = subprocess.run([sys.executable, "-m", "mlsysim", *arguments], capture_output=True, text=True, timeout=120)
    assert out.returncode == code, (arguments, out.returncode, out.stdout[-800:], out.stderr[-800:])
    assert "Traceback" not in out.stdout + out.stderr
    return out


def test_the_headline():
    text = run("eval", "ResNet50", "A100", "--batch-size", "1", "--precision", "fp16", "--efficiency", "0.5").stdout
    assert "Memory-bound" in text
    assert "0.54 ms" in text
    assert "1843 inferences/s" in text
    assert text.splitlines()[1].startswith("fits")


def test_not_fitting_says_by_how_much_and_what_would_and_exits_4():
    text = run("eval", "Llama3_70B", "H100", "--batch-size", "1", code=4).stdout
    assert "DOES NOT FIT" in text
    assert "too much" in text
    assert "would fit: 2 x H100" in text
    assert "fp8" in text
    document = json.loads(run("eval", "Llama3_70B", "H100", "-o", "json", code=4).stdout)
    assert document["feasible"] is False
    assert document["f_status"] == "FAIL"
    run("serve", "Llama3_70B", "H100", code=4)


@pytest.mark.parametrize("model", ["llama-3.1-70b", "meta-llama/Llama-3.1-70B", "LLAMA3_70b"])
def test_serve_answers_to_forgiving_names(model):
    text = run("serve", model, "h100", "--tp", "8", "--seq-len", "2048").stdout
    assert "TTFT" in text
    assert "ITL" in text


@pytest.mark.parametrize("command", [("eval", "Llama3_8B", "H100"), ("serve", "Llama3_8B", "H100")])
def test_output_stands_before_or_after_and_json_keys_are_the_documented_ones(command):
    before, after = run("--output", "json", *command).stdout, run(*command, "-o", "json").stdout
    assert before == after
    assert set(json.loads(before)) == set(ANSWERS[command[0]])
    rows = list(csv.reader(io.StringIO(run(*command, "-o", "csv").stdout)))
    assert len(rows) == 2
    assert len(rows[0]) == len(rows[1])
    assert run(*command, "-o", "markdown").stdout.startswith("###")


@pytest.mark.parametrize("category", ["hardware", "models", "infra", "systems"])
def test_zoo_lists_and_shows(category):
    document = json.loads(run("zoo", category, "--output", "json").stdout)
    assert len(document[category]) > 10
    name = document[category][0]["id"]
    shown = json.loads(run("zoo", category, name, "-o", "json").stdout)
    assert shown["values"]
    assert all(value["source"]["kind"] for value in shown["values"].values())
    text = run("zoo", category).stdout
    assert all(entry["id"] in text for entry in document[category])
    assert run("zoo", category, name).stdout.count("[1]") >= 2
    run("zoo", category, "-o", "csv")
    run("zoo", category, "-o", "markdown")


def test_explain_and_schema_and_version():
    assert "memory_time" in run("explain", "Llama3_8B", "H100", "itl").stdout
    assert "memory_bandwidth" in run("eval", "ResNet50", "A100", "--explain").stdout
    assert json.loads(run("explain", "ResNet50", "A100", "-o", "json").stdout)["lines"]
    for kind in ("hardware", "model", "infra", "system", "eval", "serve"):
        assert json.loads(run("schema", "--type", kind).stdout)["type"] == "object"
    assert run("--version").stdout.startswith("mlsysim ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "no-such-model", "H100"), "no model entry named"),
        (("eval", "Llama3_8B", "H1000"), "did you mean H100"),
        (("eval", "Llama3_8B", "H100", "-b", "0"), "batch_size: expected a whole number of at least 1"),
        (("eval", "Llama3_8B", "H100", "--batch-size=-3"), "batch_size"),
        (("eval", "Llama3_8B", "H100", "-b", str(10**30)), "batch_size"),
        (("eval", "Llama3_8B", "H100", "-e", "0"), "efficiency"),
        (("eval", "Llama3_8B", "H100", "-e", "nan"), "efficiency"),
        (("eval", "Llama3_8B", "H100", "-e", "inf"), "efficiency"),
        (("eval", "Llama3_8B", "H100", "-p", "fp61"), "no number format"),
        (("serve", "Llama3_8B", "H100", "-s", "0"), "seq_len"),
        (("serve", "Llama3_8B", "H100", "--tp", "3"), "does not divide"),
        (("serve", "ResNet50", "H100"), "generate"),
        (
            ("serve", "Llama3_8B", "H100", "--decode-hardware", "H200", "--network-bandwidth", "5 m"),
            "network_bandwidth",
        ),
        (("zoo", "hardware", "H1000"), "did you mean"),
        (("zoo", "hardware", "--sort-by", "nonsense"), "no field named"),
        (("eval", "Llama3_8B", "nothing.yaml"), "nothing.yaml"),
        (("eval", "Llama3_8B", "H100", "--catalog", "/nowhere"), "no such file or folder"),
        (("explain", "Llama3_8B", "H100", "itll"), "did you mean itl"),
    ],
)
def test_a_fault_is_one_line_on_stderr_and_exit_1(arguments, said):
    out = run(*arguments, code=1)
    assert said in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert out.stdout == ""


def test_a_fault_in_json_mode_is_still_one_document():
    out = run("--output", "json", "eval", "nothing-like-it", "H100", code=1)
    assert json.loads(out.stdout)["status"] == "error"


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval",),
        ("eval", "Llama3_8B", "H100", "-o", "xml"),
        ("nonsense",),
        ("zoo", "bogus"),
        ("schema", "-t", "bogus"),
        ("eval", "Llama3_8B", "H100", "-b", "x"),
    ],
)
def test_usage_errors_exit_2(arguments):
    run(*arguments, code=2)


def test_an_entry_of_ones_own_from_a_file_or_a_folder(tmp_path):
    chip = tmp_path / "my-chip.yaml"
    chip.write_text(
        "id: MyChip\nname: My chip\nsources:\n  me: {kind: assumed, title: a guess, reason: for a test}\ndefault_source: me\nvalues:\n"
        "  release_year: 2027\n  vendor: me\n  peak_fp16: 500 TFLOP/s\n  memory_capacity: 64 GB\n  memory_bandwidth: 2 TB/s\n  dispatch_latency: 10 us\n"
    )
    assert "My chip" in run("eval", "Llama3_8B", str(chip)).stdout
    assert "My chip" in run("serve", "Llama3_8B", "my-chip", "--catalog", str(tmp_path)).stdout
    chip.write_text(chip.read_text().replace("64 GB", "64"))
    assert "memory_capacity" in run("eval", "Llama3_8B", str(chip), code=1).stderr
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(bytes(range(256)))
    run("eval", "Llama3_8B", str(binary), code=1)
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    assert "is a folder" in run("eval", "Llama3_8B", str(folder), code=1).stderr
