"""Products whose weights come again: worked out together for a pass, each takes as long as alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Hardware
from mlsysim.machine.measured import MeasuredMachine

FORMATS = ["bf16", "fp8", "fp8_block", "nvfp4", "mxfp4", "w4a16", "int8"]
WEIGHTS = [(4096.0, 4096.0), (28672.0, 4096.0), (8.0, 4096.0), (4096.0, 96.0), (128256.0, 8192.0)]
MACHINES = {name: MeasuredMachine(Hardware[name]) for name in ("H100", "A100", "V100", "Xeon8480")}


@pytest.mark.parametrize("name", MACHINES)
@given(
    rows=st.lists(st.integers(1, 40_000).map(float), min_size=1, max_size=3),
    weights=st.lists(st.sampled_from(WEIGHTS), min_size=1, max_size=3),
)
@settings(max_examples=15, deadline=None)
def test_products_worked_out_together_take_as_long_as_each_alone(name, rows, weights):
    together, alone = MACHINES[name], MeasuredMachine(Hardware[name])
    asked = [(m, n, k, precision) for precision in FORMATS for m in rows for n, k in weights]
    together.look_ahead(asked)
    for product in asked:
        ahead, one = together.gemm(*product), alone.gemm(*product)
        assert ahead.time == pytest.approx(float(one.time), rel=1e-12)
        assert (ahead.sigma, ahead.floor, ahead.notes) == (one.sigma, pytest.approx(one.floor, rel=1e-12), one.notes)
