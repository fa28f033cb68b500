"""Training on the command line."""

import json

import pytest
from typer.testing import CliRunner

from mlsysim.cli.app import app
from mlsysim.cli.commands_train import amount
from mlsysim.errors import InvalidInputError

RUNNER = CliRunner()


def test_train_gives_the_verdict_first_then_the_run():
    done = RUNNER.invoke(app, ["train", "Llama3_70B", "--gpus", "256", "--tp", "8", "--pp", "4", "-b", "256", "--recompute", "full",
                               "--tokens", "15T"])  # fmt: skip
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[1].startswith("FITS")
    assert lines[2].startswith("DONE in")
    assert "90 % interval" in done.output


def test_what_does_not_fit_exits_with_four_and_a_hint():
    done = RUNNER.invoke(app, ["train", "Llama3_70B", "--gpus", "8", "--tp", "8"])
    assert done.exit_code == 4
    assert done.output.splitlines()[1].startswith("DOES NOT FIT")
    assert "try " in done.output


def test_json_is_one_document_with_the_interval():
    done = RUNNER.invoke(app, ["train", "Llama3_8B", "--zero", "3", "-o", "json"])
    document = json.loads(done.output)
    assert document["step_low_s"] < document["step_s"] < document["step_high_s"]
    assert sum(document["breakdown"].values()) == pytest.approx(1.0)


def test_memory_and_plans():
    done = RUNNER.invoke(app, ["memory", "Llama3_8B", "--zero", "3"])
    assert done.exit_code == 0
    assert "optimizer state" in done.output
    done = RUNNER.invoke(app, ["plan-training", "Llama3_8B", "--gpus", "8", "-b", "64", "-o", "json"])
    assert done.exit_code == 0
    assert json.loads(done.output)["plans"]
    done = RUNNER.invoke(app, ["plan-training", "Llama3_405B", "--gpus", "8", "-b", "8"])
    assert done.exit_code == 4


def test_a_trace_can_be_written(tmp_path):
    path = tmp_path / "step.json"
    done = RUNNER.invoke(app, ["train", "Llama3_8B", "--zero", "3", "--trace", str(path)])
    assert done.exit_code == 0
    assert json.loads(path.read_text())["traceEvents"]


def test_runs_are_ranked_against_money_and_time(tmp_path):
    asked = [
        "plan-training",
        "Llama3_8B",
        "-s",
        "8192",
        "-b",
        "64",
        "--tokens",
        "10B",
        "--gpus",
        "8",
        "--cloud-price",
        "2",
    ]
    done = RUNNER.invoke(app, [*asked, "--deadline", "10 day", "-o", "json"])
    assert done.exit_code == 0
    assert json.loads(done.output)["runs"][0]["chips"] == 8
    done = RUNNER.invoke(app, [*asked, "--budget", "10"])
    assert done.exit_code == 4
    assert "OUT OF REACH" in done.output
    done = RUNNER.invoke(app, ["plan-training", "Llama3_8B", "--budget", "1M"])
    assert done.exit_code not in (0, 4)


def test_choices_reach_the_step_and_remedies_the_answer(tmp_path):
    path = tmp_path / "step.json"
    done = RUNNER.invoke(
        app, ["train", "Llama3_8B", "--zero", "3", "--straggler", "1.5", "--timeline", str(path), "-o", "json"]
    )
    document = json.loads(done.output)
    assert document["breakdown"]["stragglers"] == pytest.approx(1 / 3)
    assert json.loads(path.read_text())["traceEvents"]
    done = RUNNER.invoke(app, ["memory", "Llama3_8B", "--zero", "0", "-o", "json"])
    assert done.exit_code == 4
    assert json.loads(done.output)["remedies"]


@pytest.mark.parametrize("text", ["", "15X", "-3", "0", "nan", "T"])
def test_amounts_that_make_no_sense_are_refused(text):
    with pytest.raises(InvalidInputError, match="--tokens"):
        amount(text, "--tokens")


def test_amounts_are_read_as_people_write_them():
    assert [amount(text, "--tokens") for text in ("15T", "300e9", "1.5b", "7 k")] == [15e12, 300e9, 1.5e9, 7e3]


@pytest.mark.parametrize("name", ["ResNet50", "DiT_XL_2", "DLRM", "Mamba2_2_7B", "Jamba_v0_1", "T5_11B", "BERT_Large"])
def test_every_kind_of_model_is_trained_from_the_command_line(name):
    for command in ("train", "memory"):
        found = RUNNER.invoke(app, [command, name, "--zero", "3", "-o", "json"])
        assert found.exit_code in (0, 4), found.output
        assert json.loads(found.stdout)["memory_gb"] > 0
    shown = RUNNER.invoke(app, ["train", name, "--zero", "3"]).output
    assert "nan" not in shown
    assert ("sample/s" in shown) == (name in ("ResNet50", "DiT_XL_2", "DLRM"))


def test_plans_can_be_held_to_a_schedule_or_put_states_on_the_host():
    words = ["plan-training", "Llama3_70B", "--gpus", "8", "-b", "64", "-o", "json"]
    assert RUNNER.invoke(app, words).exit_code == 4
    found = RUNNER.invoke(app, [*words, "--offload", "any"])
    assert found.exit_code == 0, found.output
    assert {plan["offload"] for plan in json.loads(found.stdout)["plans"]} == {"cpu"}
    fixed = RUNNER.invoke(
        app, ["plan-training", "Llama3_8B", "--gpus", "16", "--schedule", "zero-bubble", "-o", "json"]
    )
    assert {plan["schedule"] for plan in json.loads(fixed.stdout)["plans"]} == {"zero-bubble"}
    assert isinstance(RUNNER.invoke(app, [*words, "--schedule", "dualpip"]).exception, InvalidInputError)
