"""The column "here" of docs/decisions/0005, computed and compared with the page."""

import re
from pathlib import Path

import pytest

from mlsysim import DistributedModel, Fleet, NetworkRooflineModel, Systems, TopologyModel
from mlsysim.errors import InvalidPlanError
from mlsysim.physics import collectives, hierarchical, pipeline

PAGE = (Path(__file__).parents[2] / "docs" / "decisions" / "0005-training-and-networks.md").read_text()
ROWS = {
    cells[1].strip(): cells[3].strip() for cells in (line.split("|") for line in PAGE.splitlines()) if len(cells) > 4
}
SOLVER, NETWORK = DistributedModel(), TopologyModel()


def here(start):
    """Numbers of the column "here" in the row that starts so."""
    cell = next(value for name, value in ROWS.items() if name.startswith(start))
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.?\d*", cell)]


def seventy(**change):
    asked = dict(model="Llama3_70B", fleet="Frontier_8K", batch_size=8192, tp_size=8, pp_size=8, microbatch_count=16)
    return SOLVER.solve(**(asked | change))


def test_collectives_and_bubbles():
    assert here("ring all-reduce") == [pytest.approx(collectives.ring_all_reduce_time(1e9, 8.0, 50e9, 5e-7) * 1e3)]
    nested = hierarchical.hierarchical_all_reduce_time(16e9, 8.0, 32.0, 900e9, 50e9, 5e-7, 5e-6)
    assert here("hierarchical") == [pytest.approx(nested * 1e3, abs=0.005)]
    bubbles = [pipeline.bubble_fraction(8.0, 16.0), pipeline.bubble_fraction(8.0, 16.0, 4.0)]
    assert here("bubble") == pytest.approx(bubbles, abs=5e-7)


def test_a_step_on_a_fleet():
    r = seventy().si
    step, samples, traffic = here("Llama-3.1-70B, Frontier_8K, batch 8,192, tensor 8, pipeline 8"), *_same()
    assert step == [pytest.approx(r.step_latency_total * 1e3, rel=1e-3)]
    assert samples == pytest.approx(r.effective_throughput, rel=1e-3)
    assert traffic == pytest.approx(r.dp_communication_latency, rel=1e-2)
    assert not seventy(pp_size=1, microbatch_count=1).feasible


def _same():
    return here("same: samples")[0], here("same: data")[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [(dict(batch_size=300), "256 or 512"), (dict(tp_size=3), "1, 2 or 4"), (dict(ep_size=8), "experts")],
)
def test_plans_that_were_answered_and_are_refused(change, named):
    with pytest.raises(InvalidPlanError, match=named):
        SOLVER.solve(**(dict(model="Llama3_8B", fleet="Research_256", batch_size=256, zero_stage=3) | change))


def test_networks():
    assert NetworkRooflineModel().solve("Llama3_70B", "Frontier_8K").si.ridge_point == pytest.approx(
        here("network ridge")[0], rel=2e-3
    )
    network = NetworkRooflineModel().solve("Llama3_70B", "Frontier_8K").si.latency_network
    assert here("same: time of the gradients") == [pytest.approx(network * 1e3, rel=1e-3)]
    for row, topology, nodes in (
        ("dragonfly of 64", "dragonfly", 64),
        ("3D torus of 64", "torus_3d", 64),
        ("ring of 64", "ring", 64),
    ):
        r = NETWORK.solve("InfiniBand_NDR", topology, nodes)
        assert here(row) == pytest.approx([r.bisection_bw_fraction, r.hops_avg], abs=5e-4)
    assert here("fat tree of 64") == [NETWORK.solve("InfiniBand_NDR", "fat_tree", 64).hops_avg]
    assert here("3D torus of 2") == [NETWORK.solve("InfiniBand_NDR", "torus_3d", 2).bisection_bw_fraction]
    assert here("ring of 1 node") == [NETWORK.solve("InfiniBand_NDR", "ring", 1).bisection_bw_fraction]


def test_gpt3_on_selene():
    fleet = Fleet(name="selene", node=Systems.Nodes.DGX_A100, count=128, fabric=Systems.Fabrics.InfiniBand_HDR)
    r = SOLVER.solve("GPT3", fleet, 1536, tp_size=8, pp_size=8, microbatch_count=96, activation_recomputation=True)
    assert r.feasible
    assert here("GPT-3 175B") == [pytest.approx(r.si.step_latency_total, abs=0.05)]
