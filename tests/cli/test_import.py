"""Models from elsewhere on the command line."""

import json
import subprocess
import sys
import time

import pytest

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    "quantization_config": {"quant_method": "fp8"},
}  # fmt: skip


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "mlsysim", *arguments], capture_output=True, text=True, check=False,
        env={**__import__("os").environ, **environment},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    return path


def test_a_config_is_evaluated_in_the_precision_of_its_checkpoint(folder):
    answer = run("eval", str(folder / "config.json"), "H100", "-o", "json")
    assert answer.returncode == 0, answer.stderr
    asked = run("eval", "Llama3_8B", "H100", "-p", "fp8", "-o", "json")
    ours, theirs = json.loads(answer.stdout), json.loads(asked.stdout)
    assert "fp8" in answer.stdout
    assert {k: v for k, v in ours.items() if "latency" in k} == {k: v for k, v in theirs.items() if "latency" in k}
    said = run("eval", str(folder), "H100", "-p", "bf16")
    assert "bf16" in said.stdout


def test_import_tells_the_source_of_every_value(folder):
    answer = run("import", str(folder), "--name", "Mine 8B", "-o", "json")
    told = json.loads(answer.stdout)
    assert told["name"] == "Mine 8B"
    assert told["values"]["parameters"]["value"] == 8_030_261_248
    assert told["values"]["parameters"]["source"]["kind"] == "derived"


def test_a_hub_out_of_reach_is_one_line_that_names_the_catalog():
    start = time.perf_counter()
    # a port of this machine that nobody listens on
    answer = run(
        "serve", "hf://meta-llama/Llama-3.1-8B", "H100", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_CACHE="/nonexistent"
    )
    assert time.perf_counter() - start < 20  # a busy machine starts slowly
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "out of reach" in answer.stderr
    assert "Llama3_8B" in answer.stderr
    assert "Traceback" not in answer.stderr
