"""Passes of a model as measurements: what llama.cpp and vLLM print, and a device that only passes know."""

import json

import numpy as np
import pytest

from mlsysim import Hardware, InvalidInputError, ServingModel
from mlsysim.catalog import efficiency
from mlsysim.validation.calibrate_device import calibrate_device
from mlsysim.validation.calibrate_passes import passes_of

# tools/llama-bench/README.md of llama.cpp: Qwen2.5-7B-Instruct-Q4_K_M on an RTX 4080, build 5163, tokens a second
# (n_prompt, n_gen, n_depth, avg_ns); the last two from the rates that it prints at a depth of 512
README = [(512, 0, 0, 70285660), (0, 128, 0, 1067431600), (0, 128, 512, 128e9 / 116.71), (512, 0, 512, 512e9 / 6425.91)]


def row(prompt, made, depth, nanoseconds, told="qwen2 7B Q4_K - Medium"):
    return {"gpu_info": "NVIDIA GeForce RTX 4080", "model_type": told, "n_ubatch": 512, "n_prompt": prompt,
            "n_gen": made, "n_depth": depth, "avg_ns": nanoseconds}  # fmt: skip


def as_csv(rows):
    names = list(rows[0])
    return "\n".join([",".join(names), *(",".join(f'"{one[name]}"' for name in names) for one in rows)]) + "\n"


FORMS = {"csv": as_csv, "json": json.dumps, "jsonl": lambda rows: "\n".join(map(json.dumps, rows))}


@pytest.mark.parametrize("form", FORMS)
def test_every_output_of_llama_bench_says_the_same(tmp_path, form):
    path = tmp_path / f"bench.{form}"
    path.write_text(FORMS[form]([row(*one) for one in README] + [row(512, 128, 0, 1e9)]))
    table, stack = passes_of(path)
    assert stack == "ideal"
    assert table["phase"].tolist() == [
        "prefill",
        "decode",
        "decode",
        "prefill",
    ]  # a test of both at once says too little
    assert table["context"].tolist() == [0, 64, 576, 512]
    assert (1 / table["time_s"][1:3]).tolist() == pytest.approx([119.915244, 116.71], rel=1e-4)
    assert (512 / table["time_s"][[0, 3]]).tolist() == pytest.approx([7285.676949, 6425.91], rel=1e-3)
    assert set(table["precision"]) == {"w4a16"}


def test_a_long_prompt_is_taken_in_by_pieces(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([row(2048, 0, 0, 4e8)]))
    table, _ = passes_of(path)
    assert (table["tokens"][0], table["context"][0], table["time_s"][0]) == (512, 768, pytest.approx(0.1))


def test_passes_of_a_4080_bring_its_tokens_a_second_close_to_those_that_llama_cpp_prints(tmp_path):
    path = tmp_path / "bench.csv"
    path.write_text(as_csv([row(*one) for one in README[:2]] + [row(0, 128, 1024, 128e9 / 113.6)]))

    def speed():
        answer = ServingModel().solve("Qwen2_5_7B", Hardware["RTX4080"], seq_len=576, precision="int4",
                                      efficiency="measured")  # fmt: skip
        return 1 / answer.si.itl

    before = speed()
    try:
        text = calibrate_device(path, "RTX4080", tmp_path / "out", model="Qwen2_5_7B")
        efficiency.add(tmp_path / "out" / "gemm_w4a16.yaml")
        after = speed()
    finally:
        efficiency.forget()
    assert list(text) == ["gemm_w4a16"]
    assert "3 points" in text["gemm_w4a16"]
    assert abs(after / 116.71 - 1) < 0.05  # the row of depth 512, which the fit has not seen
    assert abs(after / 116.71 - 1) < abs(before / 116.71 - 1)


def served(concurrency, tpot):
    return {"model_id": "meta-llama/Llama-3.1-8B", "max_concurrency": concurrency, "completed": 100,
            "total_input_tokens": 100_000, "total_output_tokens": 20_000, "mean_tpot_ms": tpot,
            "output_throughput": 0.9 * concurrency / tpot * 1e3}  # fmt: skip


def test_runs_of_vllm_bench_are_decode_steps_with_the_batch_of_littles_law(tmp_path):
    path = tmp_path / "runs.json"
    path.write_text("\n".join(json.dumps(served(*one)) for one in [(10, 7.0), (20, 7.5), (40, 9.0)]))
    table, stack = passes_of(path)
    assert stack == "vllm"
    assert table["batch"].tolist() == pytest.approx([9, 18, 36])
    assert set(table["context"]) == {1100}
    (text,) = calibrate_device(path, "H100", model="Llama3_8B", precision="fp8").values()
    assert "id: gemm_fp8" in text


def test_planted_passes_are_found_again(tmp_path):
    batches = np.array([1.0, 4, 16, 64])
    answer = ServingModel().solve("Llama3_8B", "A100", seq_len=1024, batch_size=batches, efficiency="measured")
    products = sum(row["time"].m for row in answer.breakdown() if row["kind"] == "gemm")
    planted = answer.si.itl + 0.4 * products  # what these points can be laid to: everything else is not fitted
    path = tmp_path / "passes.csv"
    lines = [f"decode,{b:g},1,1024,{t}" for b, t in zip(batches, planted, strict=True)]
    path.write_text("phase,batch,tokens,context,time_s\n" + "\n".join(lines) + "\n")
    try:
        calibrate_device(path, "A100", tmp_path, model="Llama3_8B")
        efficiency.add(tmp_path / "gemm_bf16.yaml")
        again = ServingModel().solve("Llama3_8B", "A100", seq_len=1024, batch_size=batches, efficiency="measured")
    finally:
        efficiency.forget()
    assert again.si.itl == pytest.approx(planted, rel=0.05)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "line 1: cannot be read as JSON"),
        ("a.json", "[]", "one a run"),
        ("a.json", '[{"a": 1}]', "vllm bench serve"),
        ("a.json", json.dumps([row(512, 128, 0, 1e9)]), "no test of a prompt alone"),
        ("a.json", json.dumps([row(512, 0, 0, -1)]), "avg_ns: expected a positive number"),
        ("a.json", json.dumps([row(512, 0, 0, 1e9, "llama 8B Q5_K")]), "Q8_0"),
        ("a.csv", "phase,batch,tokens,context,time_s\n" + "both,1,1,1,1\n" * 3, "prefill or decode"),
    ],
)
def test_a_file_that_says_too_little_is_one_line(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=said) as error:
        calibrate_device(path, "H100", model="Llama3_8B")
    assert "\n" not in str(error.value)


def test_the_model_of_passes_is_asked_for(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([row(*one) for one in README]))
    with pytest.raises(InvalidInputError, match="give model"):
        calibrate_device(path, "RTX4080")
