"""Sweeps: the rows, their order, whoever computes them, and files that are whole."""

import os
import sys

import numpy as np
import polars
import pytest

from mlsysim import Hardware, Models, ServingModel
from mlsysim.errors import InvalidInputError, MLSysimError, UnknownEntryError
from mlsysim.search import Axis, Space, select, sweep, write_frame
from mlsysim.search.frames import WriteError

AXES = {"hardware": ["A100", "H100"], "precision": ["fp16", "int8"], "batch_size": [1, 8, 64], "seq_len": [512, 4096]}


def swept(**more):
    return sweep("ServingModel", AXES, model="Llama3_8B", **more)


def test_rows_are_the_answers_one_by_one_in_the_order_of_the_grid():
    frame = swept(outputs=["ttft", "itl", "memory_utilization", "bottleneck"])
    assert frame.height == 24
    for row, point in zip(frame.iter_rows(named=True), Space(AXES).points(), strict=True):
        answer = ServingModel().solve("Llama3_8B", **point)
        assert (row["hardware"], row["precision"], row["batch_size"], row["seq_len"]) == tuple(point.values())
        assert row["ttft [second]"] == pytest.approx(answer.si.ttft, rel=1e-12)
        assert row["itl [second]"] == pytest.approx(answer.si.itl, rel=1e-12)
        assert row["bottleneck"] == answer.bottleneck
        assert row["feasible"] == answer.feasible


def test_blocks_and_processes_do_not_change_a_row():
    whole = swept()
    assert swept(block=5).equals(whole, null_equal=True)
    assert swept(block=7, jobs=2).equals(whole, null_equal=True)


def test_dask_gives_the_same_rows():
    distributed = pytest.importorskip("distributed")
    whole = swept(outputs=["itl"])
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        assert swept(outputs=["itl"], block=5, dask=cluster.scheduler_address).equals(whole)


def test_an_executor_of_ones_own():
    class Backwards:
        def run(self, packed, tasks):
            from mlsysim.search.blocks import run_packed

            done = {task: run_packed(packed, *task) for task in reversed(tasks)}
            return (done[task] for task in tasks)

    assert swept(block=5, executor=Backwards()).equals(swept(), null_equal=True)
    with pytest.raises(InvalidInputError, match="run method"):
        swept(executor=3)


def test_own_devices_reach_other_processes():
    own = Hardware.H100.replace(memory_bandwidth="6.7 TB/s")
    axes = {"hardware": [Hardware.H100, own], "batch_size": [1, 2, 4]}
    found = sweep("ServingModel", axes, model=Models.Llama3_8B, seq_len=512, outputs=["decode_memory"], block=2, jobs=2)
    slow, fast = found["decode_memory [second]"].to_numpy().reshape(2, 3)
    assert np.allclose(slow, 2 * fast)


def test_points_that_cannot_be_are_rows_with_the_reason():
    frame = sweep("SingleNodeModel", {"model": ["ResNet50", "Llama3_70B"], "hardware": ["H100"]}, outputs=["latency"])
    assert frame["feasible"].to_list() == [True, False]
    odd = sweep(
        "ServingModel",
        {"model": ["Llama3_8B", "ResNet50"]},
        hardware="H100",
        seq_len=128,
        outputs=["itl", "bottleneck"],
    )
    assert odd["feasible"].to_list() == [True, False]
    assert "ResNet50" in odd["fault"][1]
    assert np.isnan(odd["itl [second]"][1])


def test_where_keeps_what_meets_it_and_fits():
    frame = swept()
    kept = swept(where="itl <= 8 ms and memory_utilization < 0.5")
    assert 0 < kept.height < frame.height
    assert kept.equals(select(frame, ["itl <= 8 ms", "memory_utilization < 0.5", "feasible"]), null_equal=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outputs": ["itll"]}, "did you mean itl"),
        ({"where": "itl < 5"}, "needs a unit"),
        ({"batch": 3}, "did you mean batch_size"),
        ({"batch_size": 3}, "both fixed and an axis"),
        ({"jobs": 0}, "jobs"),
        ({"jobs": 1.5}, "jobs"),
        ({"block": 0}, "block"),
        ({"out": "x.xlsx"}, ".parquet or .csv"),
        ({"limit": 3}, "24 points"),
        ({"efficiency": 7}, "efficiency"),
        ({"dask": "bogus://host:1"}, "no Dask scheduler"),
    ],
)
def test_faults_are_told_in_one_line(change, told):
    with pytest.raises(MLSysimError, match=told) as caught:
        swept(**change)
    assert "\n" not in str(caught.value)


def test_the_count_of_a_huge_grid_is_told_at_once():
    huge = {"batch_size": Axis.range("batch_size", 1, 1e6), "seq_len": Axis.range("seq_len", 1, 1e6)}
    with pytest.raises(InvalidInputError, match=r"1,000,000,000,000 points.*the limit is 10,000,000"):
        sweep("ServingModel", huge, model="Llama3_8B", hardware="H100")
    with pytest.raises(InvalidInputError, match="the limit"):
        Axis.range("batch_size", 1, 1e15)


@pytest.mark.parametrize("text", ["1:2:3:4", "a:b", "1,,2", "5:1", "1:8:*1", "1:8:0", "1:nan", "0:8:*2", ""])
def test_axes_that_are_none(text):
    with pytest.raises(InvalidInputError, match="axis batch"):
        Axis.parse("batch", text)


def test_axes_of_the_command_line():
    assert Axis.parse("b", "1:1024:*2").values.tolist() == [2**i for i in range(11)]
    assert Axis.parse("b", "0.1:0.3:0.1").values.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert Axis.parse("h", "A100, H100").values == ("A100", "H100")
    with pytest.raises(InvalidInputError, match="given twice"):
        Space([Axis("a", [1]), Axis("a", [2])])


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_file_is_whole_or_not_there(tmp_path, ending, monkeypatch):
    target = tmp_path / f"rows{ending}"
    frame = swept(outputs=["itl"], out=target)
    read = polars.read_parquet if ending == ".parquet" else polars.read_csv
    assert read(target).height == frame.height
    before = target.read_bytes()

    def full(self, file, *args, **kwargs):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(polars.DataFrame, "write_parquet" if ending == ".parquet" else "write_csv", full)
    with pytest.raises(WriteError, match="no space left"):
        write_frame(frame, target)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


@pytest.mark.skipif(sys.platform == "win32", reason="folders of POSIX")
def test_places_that_cannot_be_written_are_told_before_the_work(tmp_path):
    with pytest.raises(WriteError, match="no such folder"):
        swept(out=tmp_path / "none" / "x.csv")
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(WriteError, match="is a folder"):
        swept(out=tmp_path / "dir.csv")
    if os.path.isdir("/proc/self"):
        with pytest.raises(WriteError, match="cannot write"):
            swept(out="/proc/self/x.csv")


def test_unknown_entries_fail_before_anything_runs():
    with pytest.raises(UnknownEntryError, match="did you mean H100"):
        sweep("ServingModel", {"hardware": ["H1000"]}, model="Llama3_8B", seq_len=128)
    with pytest.raises(UnknownEntryError, match="ServingModel"):
        sweep("ServngModel", {"hardware": ["H100"]})
