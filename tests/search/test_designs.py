"""Searches for the best point: the textbook's spelling, continuous variables, own functions."""

import numpy as np
import pytest

from mlsysim import Engine, Hardware, ServingModel
from mlsysim.errors import InfeasibleError, InvalidInputError, MLSysimError, UnknownEntryError
from mlsysim.search import DSE, OptimizationRegistry, optimize, sweep

SPACE = {"hardware": [Hardware.A100, Hardware.H100, Hardware.H200], "batch_size": [1, 8, 32]}


def passes(point):
    return Engine.solve("Llama3_8B", point["hardware"], batch_size=point["batch_size"])


def test_the_known_question_of_the_specification():
    """8B on three devices, most throughput under 10 ms: every point whose pass takes under 10 ms is a candidate."""
    found = DSE(SPACE, "maximize: throughput", ["latency < 10 ms"]).search(passes)
    by_hand = [
        (passes({"hardware": h, "batch_size": b}), h.id, b) for h in SPACE["hardware"] for b in SPACE["batch_size"]
    ]
    allowed = sorted([(-a.si.throughput, h, b) for a, h, b in by_hand if a.feasible and a.si.latency < 0.010])
    assert (found.best_params["hardware"].id, found.best_params["batch_size"]) == allowed[0][1:]
    assert found.best_objective == pytest.approx(-allowed[0][0])
    assert [c["params"]["hardware"].id for c in found.top_candidates] == [h for _, h, _ in allowed[:5]]
    assert found["searched"] == 9


def test_a_point_that_does_not_fit_never_wins():
    found = DSE({"hardware": ["H100", "H200"]}, "maximize: throughput").search(
        lambda p: Engine.solve("Llama3_70B", p["hardware"], precision="int8", seq_len=1024)
    )
    assert found.best_result.feasible
    with pytest.raises(InfeasibleError, match="does not fit"):
        DSE({"hardware": ["A100", "H100"]}, "maximize: throughput").search(
            lambda p: Engine.solve("Llama3_70B", p["hardware"])
        )


def test_several_objectives_give_the_front():
    found = DSE(SPACE, ["minimize: latency", "maximize: throughput"]).search(passes)
    assert {c["params"]["batch_size"] for c in found.front} == {1, 8, 32}
    assert all(c["params"]["hardware"].id == "H200" for c in found.front)


@pytest.mark.parametrize(
    ("objective", "constraints", "kind"),
    [
        ("maximize: thruput", None, UnknownEntryError),
        ("maximize: throughput", ["latncy < 6 ms"], UnknownEntryError),
        ("maximize: throughput", ["latency < 6"], MLSysimError),
        ("maximise: throughput", ["latency < 6 ms", "latency > 8 ms"], InvalidInputError),
        ("bigger: throughput", None, InvalidInputError),
        ("maximize: throughput", ["latency != 6 GB"], MLSysimError),
        ("maximize: throughput", ["latency < 1 ns"], InfeasibleError),
    ],
)
def test_what_the_textbook_swallowed_is_told(objective, constraints, kind):
    with pytest.raises(kind) as caught:
        DSE(SPACE, objective, constraints).search(passes)
    assert "\n" not in str(caught.value)


def test_faults_of_the_function_itself_are_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        DSE(SPACE, "maximize: x").search(lambda p: 1 / 0)
    assert DSE({"x": range(5)}, "minimize: cost").search(lambda p: {"cost": (p["x"] - 3) ** 2}).best_params == {"x": 3}


def test_a_continuous_search_finds_what_the_whole_grid_has():
    fixed = {"model": "Llama3_8B", "hardware": "H100", "seq_len": 2048}
    best = optimize(
        "ServingModel", {"batch_size": (1, 512)}, "maximize: throughput", "itl <= 12 ms", whole=["batch_size"], **fixed
    )
    grid = sweep("ServingModel", {"batch_size": range(1, 513)}, where="itl <= 12 ms", outputs=["throughput"], **fixed)
    assert best.feasible
    assert (
        best.best_params["batch_size"]
        == grid["batch_size"][int(np.argmax(grid["throughput [token/second]"].to_numpy()))]
    )
    assert best.best_result.si.itl <= 0.012


def test_the_nearest_miss_is_told_where_nothing_meets_the_constraints():
    best = optimize("ServingModel", {"batch_size": (1, 64)}, "maximize: throughput", "itl <= 1 ms", whole=["batch_size"],
                    model="Llama3_8B", hardware="H100", seq_len=2048, generations=40)  # fmt: skip
    assert not best.feasible
    assert "itl <= 1 ms" in best.message
    assert best.best_params == {"batch_size": 1.0}
    for bounds in ({}, {"batch_size": (5, 1)}, {"batch_size": (1, np.inf)}, {"batch_size": 3}):
        with pytest.raises(InvalidInputError):
            optimize(ServingModel, bounds, "maximize: throughput", model="Llama3_8B", hardware="H100", seq_len=128)


def test_the_exhaustive_backend_gives_every_variable():
    backend = OptimizationRegistry.get_backend("exhaustive")
    one = backend.compile(lambda x: (x - 3) ** 2, {"x": np.linspace(0, 10, 101)}).solve()
    assert one.best_configuration["x"] == pytest.approx(3.0)
    two = backend.compile(
        lambda x, y: -((x - 3) ** 2) - (y - 1) ** 2, {"x": range(6), "y": range(6)}, maximize=True
    ).solve()
    assert two.best_configuration == {"x": 3.0, "y": 1.0}
    assert two.feasible
    none = backend.compile(lambda x: np.inf, {"x": [1, 2]}).solve()
    assert not none.feasible
    assert none.best_configuration == {}


def test_the_continuous_backend_finds_the_minimum_of_rosenbrock():
    """H. H. Rosenbrock, The Computer Journal 3 (1960) 175-184: the valley's minimum is 0 at (1, 1)."""
    found = (
        OptimizationRegistry.get_backend("continuous")
        .compile(lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2, {"x": (-2, 2), "y": (-2, 2)})
        .solve()
    )
    assert found.best_configuration == pytest.approx({"x": 1.0, "y": 1.0}, abs=1e-4)
    with pytest.raises(UnknownEntryError, match="did you mean exhaustive"):
        OptimizationRegistry.get_backend("exhaustiv")
    with pytest.raises(InvalidInputError):
        OptimizationRegistry.get_backend("exhaustive").solve()
