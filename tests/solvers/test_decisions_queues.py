"""The column "here" of docs/decisions/0006 is what the solvers answer."""

from pathlib import Path

import pytest

from mlsysim.solvers.batching import ContinuousBatchingModel
from mlsysim.solvers.capacity import ServingCapacityModel
from mlsysim.solvers.checkpoint import CheckpointModel
from mlsysim.solvers.optimize_batching import BatchingOptimizer
from mlsysim.solvers.orchestration import OrchestrationModel
from mlsysim.solvers.reliability import ReliabilityModel
from mlsysim.solvers.tail import TailLatencyModel

PAGE = Path(__file__).parents[2] / "docs" / "decisions" / "0006-queues-and-failures.md"
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines() if line[:1] == "|"][
    2:
]


def answers():
    tail, batch = TailLatencyModel().solve, ContinuousBatchingModel().solve
    one, many = tail(80, 10).si, batch("Llama3_8B", "H100", 2048, 64).si
    frontier = ReliabilityModel().solve("Frontier_8K", 720).si
    jobs, limit = OrchestrationModel().solve, BatchingOptimizer().solve
    return [
        one.p50_latency * 1e3,
        one.p99_latency * 1e3,
        one.slo_violation_probability,
        tail(300, 10, 4).si.p99_latency * 1e3,
        tail(45000, 10, 500).si.p99_latency * 1e3,
        frontier.fleet_mtbf / 3600,
        frontier.optimal_checkpoint_interval,
        frontier.goodput_ratio,
        ReliabilityModel().solve("Research_256", 336, 120, 600).goodput_ratio,
        CheckpointModel().solve("Llama3_70B", "H100").si.checkpoint_size / 1e9,
        many.ttft * 1e3,
        many.itl * 1e3,
        many.throughput_tokens_per_sec,
        many.throughput_tokens_per_sec / many.static_throughput_tokens_per_sec,
        batch("Llama3_8B", "H100", 2050, 1024).max_active_requests,
        jobs("Research_256", 0.5, 1.6).cluster_utilization,
        jobs("Research_256", 0.5, 1.6, accelerators_per_job=256, job_duration_cv=0).avg_wait_time_days,
        limit("Llama3_8B", "H100", 512, 5000, 5).best_batch_size,
        limit("Llama3_8B", "H100", 512, 5000, 5, 4).best_batch_size,
        ServingCapacityModel().solve("Llama3_8B", "H100", 20, 3000).required_replicas,
    ]


def test_the_table_holds():
    found = answers()
    assert len(found) == len(ROWS)
    for value, (question, _, here, _) in zip(found, ROWS, strict=True):
        digits = len(here.split(".")[1]) if "." in here else 0
        assert value == pytest.approx(float(here), abs=0.51 * 10**-digits), question
