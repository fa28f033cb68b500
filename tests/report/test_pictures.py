"""Pictures: what is drawn is what the answer says, on both backends, and text neither overlaps nor is cut."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from mlsysim import DistributedModel, Engine, Hardware, Models, ServingModel, SystemEvaluator, viz
from mlsysim.errors import InvalidInputError, MLSysimError
from mlsysim.report.parts import memory_parts, scorecard_rows, step_lanes, time_parts
from mlsysim.search import sweep
from mlsysim.workloads.network import network


@pytest.fixture(scope="module")
def serving():
    return [ServingModel().solve("Llama3_70B", device, 2048, 8, tp_size=8) for device in ("H100", "A100")]


@pytest.fixture(scope="module")
def step():
    return DistributedModel().solve("Llama3_70B", "Research_256", batch_size=256, tp_size=8, pp_size=4)


@pytest.fixture(scope="module")
def frame():
    return sweep(
        "ServingModel", {"batch_size": [1, 8, 64, 512], "seq_len": [1024, 8192]}, model="Llama3_8B", hardware="H100"
    )


@pytest.fixture(scope="module")
def pictures(serving, step, frame):
    operators = network(Models.ResNet50, 8.0).operators
    scored = SystemEvaluator.evaluate("chat", "Llama3_8B", "H100", 32, "fp16", 0.45)
    return {
        "roofline": lambda **k: viz.plot_roofline(["A100", "H100"], ["ResNet50", "Llama3_8B"], batch_size=[1, 64], **k),
        "operators": lambda **k: viz.plot_roofline("H100", operators=operators, **k),
        "levels": lambda **k: viz.plot_hierarchical_roofline("H100", **k),
        "fleet": lambda **k: viz.plot_distributed_roofline("Research_256", **k),
        "waterfall": lambda **k: viz.plot_latency_waterfall(serving[0], **k),
        "compared": lambda **k: viz.plot_latency_waterfall(serving[0], previous=serving[1], **k),
        "memory": lambda **k: viz.plot_memory_stack(serving, **k),
        "front": lambda **k: viz.plot_pareto(frame, ["minimize: itl", "maximize: throughput"], label="batch_size", **k),
        "heat": lambda **k: viz.plot_heatmap(frame, "batch_size", "seq_len", "itl", **k),
        "scorecard": lambda **k: viz.plot_evaluation_scorecard(scored, **k),
        "timeline": lambda **k: viz.plot_step_timeline(step, **k),
    }


NAMES = [
    "roofline",
    "operators",
    "levels",
    "fleet",
    "waterfall",
    "compared",
    "memory",
    "front",
    "heat",
    "scorecard",
    "timeline",
]


def _seen(axis, tick):
    """Whether a tick label is drawn: those beyond the limits of the axis are kept by Matplotlib but not drawn."""
    low, high = sorted(axis.get_view_interval())
    return low <= tick.get_position()[axis.axis_name == "y"] <= high


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_inside_the_picture_and_none_covers_the_legend(pictures, name, tmp_path):
    figure, axes = pictures[name](out=tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text(encoding="utf-8").startswith("<?xml")
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    ticks = [t for axis in (axes.xaxis, axes.yaxis) for t in axis.get_majorticklabels() if _seen(axis, t)]
    texts = [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label, *ticks]
    boxes = [t.get_window_extent(renderer) for t in texts if t.get_text() and t.get_visible()]
    width, height = figure.bbox.width + 2, figure.bbox.height + 2
    assert [(b.x0, b.x1, b.y0, b.y1) for b in boxes if b.x0 < -2 or b.x1 > width or b.y0 < -2 or b.y1 > height] == []
    for legend in figure.legends:
        frame = legend.get_window_extent(renderer)
        assert not any(
            frame.overlaps(axes_text.get_window_extent(renderer)) for axes_text in (axes.xaxis.label, axes.title)
        )
    labels = [t.get_window_extent(renderer) for t in axes.texts if t.get_text()]
    crossings = sum(a.overlaps(b) for i, a in enumerate(labels) for b in labels[:i])
    assert crossings == 0, f"{crossings} texts of {name} overlap"


@pytest.mark.parametrize("name", NAMES)
def test_plotly_draws_the_same(pictures, name, tmp_path):
    figure = pictures[name](backend="plotly", out=tmp_path / "x.json")
    document = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert len(document["data"]) == len(figure.data) >= 1


def test_the_roof_is_the_smaller_of_peak_and_bandwidth():
    _, axes = viz.plot_roofline("A100")
    x, y = axes.lines[0].get_data()
    chip = Hardware.A100.si
    assert np.allclose(y, np.minimum(chip.peaks["fp16"], x * chip.memory_bandwidth))


def test_lines_differ_by_dash_and_bars_by_hatch_so_that_grey_is_enough(pictures):
    _, roofs = pictures["levels"]()
    dashes = [line.get_linestyle() for line in roofs.lines]
    assert len(set(dashes)) == len(dashes)
    _, bars = pictures["timeline"]()
    hatches = [container.patches[0].get_hatch() for container in bars.containers]
    assert len(set(hatches)) == len(hatches)


def test_the_parts_of_a_time_end_where_the_total_does(serving, step):
    for answer, total, phase in (
        (serving[0], serving[0].si.ttft, "prefill"),
        (serving[0], serving[0].si.step_latency, "decode"),
        (Engine.solve("ResNet50", "A100"), Engine.solve("ResNet50", "A100").si.latency, ""),
        (step, step.si.step_latency_total, ""),
    ):
        mine = [part for part in time_parts(answer) if part.phase == phase]
        assert next(p for p in mine if p.kind == "Total").length == pytest.approx(total, rel=1e-9)
        assert max(p.stop for p in mine if p.kind != "Total") == pytest.approx(total, rel=1e-9)


def test_the_parts_of_a_memory_add_up(serving, step):
    for answer in (
        *serving,
        step,
        Engine.solve("ResNet50", "A100"),
        Engine.solve("ResNet50", "A100", is_training=True),
    ):
        stack = memory_parts(answer)
        assert sum(size for _, size in stack.parts) == pytest.approx(stack.total, rel=1e-9), type(answer)
        assert stack.fits == (stack.total <= stack.capacity)


def test_the_lanes_of_a_step_add_up(step):
    seen = [lane for lane in step_lanes(step) if not lane.hidden]
    assert sum(lane.length for lane in seen) == pytest.approx(step.si.step_latency_total, rel=1e-9)
    assert all(b.start == pytest.approx(a.start + a.length) for a, b in pairwise(seen))


def test_the_scorecard_has_all_levels_even_without_an_objective():
    found = SystemEvaluator.evaluate("x", "Llama3_70B", "H100", 1, "fp16", 0.5)
    assert scorecard_rows(found)[0].status == "FAIL"
    assert len(scorecard_rows(found)) == 3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: viz.plot_roofline("H1000"), "did you mean"),
        (lambda: viz.plot_roofline("H100", backend="bokeh"), "backend"),
        (lambda: viz.plot_roofline("H100", out="x.docx"), "writes"),
        (lambda: viz.plot_roofline("H100", out="/nonexistent/x.png"), "cannot write"),
        (lambda: viz.plot_latency_waterfall("H100"), "expected an answer"),
        (lambda: viz.plot_latency_waterfall(Engine.solve("ResNet50", "A100", np.array([1.0, 2.0]))), "one question"),
        (lambda: viz.plot_memory_stack([]), "at least one"),
        (lambda: viz.plot_evaluation_scorecard(3), "expected an evaluation"),
        (lambda: viz.plot_step_timeline(Engine.solve("ResNet50", "A100")), "DistributedModel"),
        (lambda: viz.plot_distributed_roofline("H100"), "H100"),
    ],
)  # fmt: skip
def test_faults_are_told_in_one_line(wrong, told):
    with pytest.raises(MLSysimError, match=told) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_rows_that_a_heat_map_cannot_hold_are_refused(frame):
    with pytest.raises(InvalidInputError, match="several rows"):
        viz.plot_heatmap(frame, "seq_len", "seq_len", "itl")


@pytest.mark.parametrize("package", ["matplotlib", "plotly"])
def test_a_missing_backend_names_the_extra(package):
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from mlsysim import viz\nfrom mlsysim.errors import MissingExtraError\n"
        f"try:\n    viz.plot_roofline('H100', backend='{package}')\nexcept MissingExtraError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'mlsysim[viz]'" in out.stdout
