"""The column "here" of docs/decisions/0010-search.md."""

import pytest

from mlsysim import Engine
from mlsysim.search import DSE


def test_the_best_point_under_ten_milliseconds():
    space = {"hardware": ["A100", "H100", "H200"], "batch_size": [1, 8, 32]}
    found = DSE(space, "maximize: throughput", ["latency < 10 ms"]).search(lambda p: Engine.solve("Llama3_8B", **p))
    assert found.best_params == {"hardware": "H200", "batch_size": 32}
    assert found.best_objective == pytest.approx(5855, abs=0.5)
    assert found.best_result.latency.to("ms").magnitude == pytest.approx(5.5, abs=0.05)
