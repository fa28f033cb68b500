"""Throughput against tail latency: a sweep of serving and queueing over the batch, its front, and the optimizer's choice.

One replica serves Llama-3.1-8B on an H100. For each limit on the batch, ServingModel gives the pace of decoding and
TailLatencyModel the p99 of a request that may have to wait. BatchingOptimizer answers the same question with its own
model of continuous batching; its choice is highlighted on the picture.
"""

import sys
from pathlib import Path

import numpy as np
import polars

from mlsysim import BatchingOptimizer, ServingModel, TailLatencyModel, pareto, viz

PROMPT, OUTPUT, RATE, OBJECTIVE = 1024, 128, 8.0, "4 s"


def main(folder: Path | None = None) -> None:
    batches = np.arange(1, 129)
    serving = ServingModel().solve("Llama3_8B", "H100", seq_len=PROMPT, batch_size=batches)
    # A request that finds a full batch waits its turn at this pace: its prompt alone, then its tokens.
    alone = ServingModel().solve("Llama3_8B", "H100", seq_len=PROMPT)
    service = alone.si.ttft + OUTPUT * serving.si.itl
    # Every request has as many tokens, so the time in service does not vary.
    tail = TailLatencyModel().solve(
        arrival_rate_qps=RATE, service_latency_ms=service * 1e3, num_replicas=batches, service_time_cv=0.0
    )
    p99 = np.where(np.isfinite(tail.si.p99_latency), tail.si.p99_latency, np.nan)
    frame = polars.DataFrame(
        {
            "batch_size": batches,
            "p99 [second]": p99,
            "throughput [token/second]": np.array(serving.si.throughput),
            "feasible": np.isfinite(p99) & serving.feasible,
        }
    )
    front = pareto(frame, ["minimize: p99", "maximize: throughput"])
    chosen = BatchingOptimizer().solve(
        "Llama3_8B", "H100", PROMPT, OBJECTIVE, RATE, output_len=OUTPUT, max_search_batch=128
    )
    best = int(chosen.best_batch_size)
    print(f"{front.height} of {frame.height} batches are on the front")
    print(
        f"BatchingOptimizer: batch {best}, p99 {chosen.p99_latency.to('s'):.2f~P}, objective {OBJECTIVE}, feasible {chosen.feasible}"
    )
    if folder is not None:
        mark = frame.filter(polars.col("batch_size") == best)
        viz.plot_pareto(
            frame,
            ["minimize: p99", "maximize: throughput"],
            label="batch_size",
            highlight=mark,
            out=folder / "tail.png",
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
