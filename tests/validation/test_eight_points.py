"""What eight points of a device are worth, told from how they are chosen to what they repair."""

import numpy as np
import pytest

from mlsysim.catalog.efficiency import read
from mlsysim.validation import calibrate_device, eight_points
from mlsysim.validation.calibrate import CALIBRATION, calibrate
from mlsysim.validation.data import kernel_table
from mlsysim.validation.kernels import predict

ALL_REDUCE, PRODUCTS = eight_points.TRIALS["all_reduce"], eight_points.TRIALS["gemm_bf16"]


@pytest.mark.parametrize("device", ALL_REDUCE.devices)
def test_the_points_given_away_follow_the_rule(device):
    table = kernel_table("nccl")
    rows = eight_points.chosen(ALL_REDUCE, device)
    assert len(set(rows.tolist())) == 8
    assert set(table["gpu"][rows]) == {device}
    assert set(table["op"][rows]) == {"nccl_all_reduce"}
    mine = (table["gpu"] == device) & (table["op"] == "nccl_all_reduce")
    assert set(table["num_gpus"][rows]) == {2.0, table["num_gpus"][mine].max()}
    for ranks in set(table["num_gpus"][rows]):
        sizes = table["message_bytes"][rows][table["num_gpus"][rows] == ranks]
        every = table["message_bytes"][mine & (table["num_gpus"] == ranks)]
        assert sizes.min() == every.min()
        assert sizes.max() == every.max()


@pytest.mark.parametrize("device", PRODUCTS.devices)
def test_products_given_away_span_the_work_and_only_those_are_left_out(device):
    table = kernel_table("gemm")
    rows = eight_points.chosen(PRODUCTS, device)
    assert len(set(rows.tolist())) == 8
    mine = (table["gpu"] == device) & (table["framework"] == "vllm") & (table["dtype"] == "bfloat16")
    assert mine[rows].all()
    work = table["m"] * table["n"] * table["k"]
    assert work[rows].min() == work[mine].min()
    assert work[rows].max() == work[mine].max()


def test_points_given_away_are_not_scored():
    done = eight_points.predictions(ALL_REDUCE, ["h200_sxm"])
    total = sum(
        int(((t["gpu"] == "h200_sxm") & np.isin(t["op"], ["nccl_all_reduce", "custom_allreduce"])).sum())
        for t in map(kernel_table, ("nccl", "custom_allreduce"))
    )
    assert len(done.measured) == total - 8
    assert np.isfinite(done.predicted).all()


def test_eight_points_repair_a_generation_that_no_fit_has_seen(tmp_path, monkeypatch):
    # Hopper is left out of the fit: the latency of its nodes is not that of others, which a few points tell.
    calibrate(out=tmp_path, devices=[name for name in CALIBRATION if name != "h100_sxm"], families=["all_reduce"])
    without = read(tmp_path / "all_reduce.yaml")
    before = predict(
        "nccl", library={name: without for name in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")}
    )
    rows = (before.table["gpu"] == "h100_sxm") & (before.family == "all_reduce")
    blind = np.median(np.abs(before.predicted[rows] / before.measured[rows] - 1))
    for module in (eight_points, calibrate_device):
        monkeypatch.setattr(module, "family", lambda name: without)
    done = eight_points.predictions(ALL_REDUCE, ["h100_sxm"])
    library = done.kernel == "nccl"
    error = np.abs(done.predicted / done.measured - 1)
    assert np.median(error[library]) < 0.5 * blind
    graph = np.isin(done.kernel, ["vllm", "sglang", "trtllm"])
    assert np.median(error[graph]) < 0.2
    inside = np.abs(np.log(done.measured / done.predicted)) < 1.645 * done.sigma
    assert inside.mean() > 0.8
