"""Calibration: it finds what was planted, repeats itself, and learns a device from a few points."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from mlsysim.catalog import Hardware, efficiency
from mlsysim.errors import InvalidInputError, MLSysimError
from mlsysim.machine.chip import chip_of
from mlsysim.machine.measured import MeasuredMachine
from mlsysim.machine.operators import Operators
from mlsysim.validation.ablation import ablation
from mlsysim.validation.calibrate import Calibrated, calibrate, calibrate_device
from mlsysim.validation.efficiency_file import text_of
from mlsysim.validation.fitting import Sample, fit
from mlsysim.validation.priors import PRIORS

CHIP = chip_of(Hardware["H100"])
RNG = np.random.default_rng(1)
M = np.exp2(RNG.uniform(0, 14, 150)).round()
N = np.exp2(RNG.uniform(7, 14, 150)).round()
K = 64 * np.exp2(RNG.uniform(0, 8, 150)).round()


def planted(values, noise=0.0):
    operator = Operators(CHIP).gemm(M, N, K, "bf16")
    return Sample("h100_sxm", "any", operator, operator.run(values) * np.exp(RNG.normal(0, noise, 150)))


def test_a_fit_finds_the_times_of_planted_parameters():
    truth = {**PRIORS["gemm_bf16"]("any"), "compute": 0.6, "memory": 0.7, "launch": 3e-6, "feed": 0.7}
    sample = planted(truth)
    found = fit([sample], PRIORS["gemm_bf16"]("any"), 3.0)
    assert np.abs(sample.errors(found)).max() < 0.02
    assert found["launch"] == pytest.approx(3e-6, rel=0.1)
    assert found["memory"] == pytest.approx(0.7, rel=0.1)


def test_the_interval_of_a_fit_reflects_the_scatter_of_its_rows():
    truth = PRIORS["gemm_bf16"]("any")
    for noise in (0.05, 0.2):
        sample = planted(truth, noise)
        made = Calibrated("h100_sxm", "any", [sample], fit([sample], truth, 1.0))
        assert made.sigma() == pytest.approx([noise] * 3, rel=0.5)


def test_a_few_wild_rows_do_not_move_a_fit():
    truth = PRIORS["gemm_bf16"]("any")
    sample = planted(truth, 0.02)
    wild = sample.seconds.copy()
    wild[::25] *= 10
    found = fit([Sample("h100_sxm", "any", sample.operator, wild)], truth, 1.0)
    assert np.median(np.abs(sample.errors(found))) < 0.03


def test_calibration_repeats_what_the_catalog_ships(tmp_path):
    documents = calibrate(out=tmp_path, families=["gemm_int8"], date="2026-11-24")
    made, shipped = efficiency.read(tmp_path / "gemm_int8.yaml"), efficiency.family("gemm_int8")
    assert [fit.scope for fit in made.fits] == [fit.scope for fit in shipped.fits]
    for ours, theirs in zip(made.fits, shipped.fits, strict=True):
        assert ours.n == theirs.n
        assert ours.median == pytest.approx(theirs.median, rel=0.1)
    assert text_of(documents["gemm_int8"]) == (tmp_path / "gemm_int8.yaml").read_text()


def test_eight_points_teach_a_device_its_own_speed(tmp_path):
    slow = {
        **efficiency.family("gemm_bf16").choose(CHIP.names, ("hopper",), "vllm").values,
        "launch": 20e-6,
        "memory": 0.4,
    }
    operator = Operators(chip_of(Hardware["MI300X"])).gemm(M[:8], N[:8], K[:8], "bf16")
    lines = ["m,n,k,latency_us"] + [
        f"{m},{n},{k},{t * 1e6}" for m, n, k, t in zip(M, N, K, operator.run(slow), strict=False)
    ]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines))
    texts = calibrate_device(path, "MI300X", tmp_path / "out")
    assert list(texts) == ["gemm_bf16"]
    measured = Operators(chip_of(Hardware["MI300X"])).gemm(M, N, K, "bf16").run(slow)

    def error():
        return np.median(np.abs(MeasuredMachine(Hardware["MI300X"]).gemm(M, N, K).time / measured - 1))

    before = error()
    try:
        efficiency.add(tmp_path / "out" / "gemm_bf16.yaml")
        after = error()
        assert MeasuredMachine(Hardware["MI300X"]).gemm(64, 4096, 4096).notes == ()
    finally:
        efficiency.forget()
    assert after < 0.5 * before
    assert after < 0.15


NCCL = """# nThread 1 nGpus 8 minBytes 8 maxBytes 1073741824 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1
# Using devices
#  Rank  0 Group  0 Pid   1234 on       node device  0 [0x1b] NVIDIA H100 80GB HBM3
#  Rank  1 Group  0 Pid   1234 on       node device  1 [0x43] NVIDIA H100 80GB HBM3
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
        1024           256     float     sum      -1    14.02    0.07    0.07      0    13.90    0.07    0.07      0
     1048576        262144     float     sum      -1    25.30   41.45   41.45      0    25.10   41.78   41.78      0
   134217728      33554432     float     sum      -1    512.1  262.09  262.09      0    511.0  262.66  262.66      0
  1073741824     268435456     float     sum      -1   3900.0  275.32  275.32      0   3899.0  275.39  275.39      0
# Avg bus bandwidth    : 144.7
"""


def test_the_output_of_nccl_tests_is_read(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text(NCCL)
    text = calibrate_device(path, "H100", tmp_path)["all_reduce"]
    assert "4 points" in text
    try:
        efficiency.add(tmp_path / "all_reduce.yaml")
        machine = MeasuredMachine(Hardware["H100"])
        times = machine.collective(
            "all_reduce", np.array([1024.0, 1048576.0, 134217728.0, 1073741824.0]), 2, algorithm="nccl"
        ).time
    finally:
        efficiency.forget()
    assert times == pytest.approx([14.02e-6, 25.3e-6, 512.1e-6, 3900e-6], rel=0.35)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n1,2\n1,2\n", "latency_us"),
        ("m,n,latency_us\n1,2,3\n1,2,3\n1,2,3\n", "tell no kind of measurement"),
        ("m,n,k,latency_us\n1,2,3,4\n", "at least 3 points"),
        ("m,n,k,latency_us\n1,2,3,4\n1,2,3,-4\n1,2,3,4\n", "positive times"),
        ("m,n,k,precision,latency_us\n1,2,3,bf17,4\n1,2,3,bf17,4\n1,2,3,bf17,4\n", "precision"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(tmp_path, text, said):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(MLSysimError) as error:
        calibrate_device(path, "H100")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_ranks_are_asked_for_when_the_output_lists_none(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("\n".join(line for line in NCCL.splitlines() if "Rank" not in line))
    with pytest.raises(InvalidInputError, match="give ranks"):
        calibrate_device(path, "H100")


def test_constants_buy_most_and_no_term_is_harmful():
    rows = ablation("gemm_bf16", kernels=["vllm"])
    assert rows[0].term == "launch constant and cost of a round"
    assert rows[0].without > 2 * rows[0].full
    assert all(row.without >= row.full - 0.01 for row in rows)
