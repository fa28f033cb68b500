"""The commands sweep, pareto, plot and audit as a person runs them."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import polars
import pytest

from mlsysim import ServingModel


def run(*arguments, code=0, **more):
    command = [sys.executable, "-m", "mlsysim", *arguments]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, **more)
    assert out.returncode == code, (arguments, out.returncode, out.stdout[-800:], out.stderr[-800:])
    assert "Traceback" not in out.stdout + out.stderr
    return out


def test_a_sweep_in_every_form_and_to_a_file(tmp_path):
    asked = ("sweep", "Llama3_8B", "H100", "A100", "--batch", "1:64:*8", "--seq", "512,2048")
    target = tmp_path / "rows.parquet"
    text = run(*asked, "--out", str(target)).stdout
    assert f"12 rows written to {target}" in text
    frame = polars.read_parquet(target)
    assert frame.height == 12
    rows = json.loads(run(*asked, "-o", "json").stdout)["rows"]
    assert [row["itl [second]"] for row in rows] == frame["itl [second]"].to_list()
    assert rows[0]["itl [second]"] == pytest.approx(ServingModel().solve("Llama3_8B", "H100", 512, 1).si.itl)
    assert len(list(csv.reader(io.StringIO(run(*asked, "-o", "csv").stdout)))) == 13
    assert run(*asked, "-o", "markdown").stdout.startswith("| model |")


def test_conditions_and_fields():
    text = run(
        "sweep", "Llama3_8B", "H100", "--batch", "1:256:*2", "-w", "itl <= 8 ms", "--fields", "itl", "-o", "csv"
    ).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows
    assert all(float(row["itl [second]"]) <= 0.008 for row in rows)


def test_the_front_of_the_command_line():
    text = run("pareto", "Llama3_8B", "H100", "A100", "--batch", "1:64:*2", "-o", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["hardware"] for row in rows} == {"H100"}
    itl, rate = ([float(row[name]) for row in rows] for name in ("itl [second]", "throughput [token/second]"))
    assert itl == sorted(itl)
    assert rate == sorted(rate)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("sweep", "Llama3_8B", "H100", "--batch", "1:1000000", "--seq", "1:1000000"), "1,000,000,000,000 points"),
        (("sweep", "Llama3_8B", "H1000"), "did you mean"),
        (("sweep", "Llama3_8B", "H100", "--batch", "0"), "batch_size"),
        (("sweep", "Llama3_8B", "H100", "--batch", "a:b"), "axis batch_size"),
        (("sweep", "Llama3_8B", "H100", "-w", "itl < 50"), "needs a unit like ms"),
        (("sweep", "Llama3_8B", "H100", "--out", "/nonexistent/x.csv"), "no such folder"),
        (("pareto", "Llama3_8B", "H100", "--objective", "itl"), "minimize or maximize"),
        (("plot", "roofline", "H100", "--out", "x.docx"), "writes"),
        (("plot", "waterfall", "Llama3_8B", "--out", "x.png"), "at least one device"),
        (("audit", "-w", "NoSuchModel"), "no model"),
    ],
)
def test_faults_are_one_line(arguments, told):
    out = run(*arguments, code=1)
    assert told in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("picture", [("roofline", "H100"), ("levels", "H100"), ("waterfall", "Llama3_8B", "H100"),
                                     ("memory", "Llama3_8B", "H100"), ("scorecard", "Llama3_8B", "H100")])  # fmt: skip
def test_pictures(picture, tmp_path):
    target = tmp_path / "x.png"
    run("plot", *picture, "--out", str(target))
    assert target.read_bytes().startswith(b"\x89PNG")


def test_the_audit_is_one_document_and_knows_this_machine():
    document = json.loads(run("audit", "-w", "ResNet50", "--seconds", "0.4", "-o", "json").stdout)
    assert document["threads"] <= document["cores"] == os.cpu_count()
    assert document["fp32_flops"]["value"] > 1e8
    assert 1e8 < document["triad_bandwidth"]["value"] < 1e14
    found = document["workload"]["answer"]
    # Nothing is faster than the arithmetic that was measured allows.
    assert found["latency"]["value"] >= found["flops"]["value"] / document["fp32_flops"]["value"] * 0.999
    assert "this machine" in run("audit", "--seconds", "0.2").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_sweep_that_is_killed_leaves_no_file_under_its_name(tmp_path):
    target = tmp_path / "rows.parquet"
    command = [
        sys.executable,
        "-m",
        "mlsysim",
        "sweep",
        "Llama3_8B",
        "H100",
        "--batch",
        "1:3000",
        "--seq",
        "1:3000",
        "--out",
        str(target),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
