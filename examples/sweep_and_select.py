"""Sweep devices, batches and lengths, keep what meets an objective, and draw it."""

import sys
from pathlib import Path

from mlsysim import Axis, pareto, select, sweep, viz


def main(folder: Path | None = None) -> None:
    frame = sweep(
        "ServingModel",
        [Axis("hardware", ["A100", "H100", "H200"]), Axis.powers("batch_size", 1, 512), Axis("seq_len", [1024, 4096])],
        model="Llama3_8B",
    )
    good = select(frame, "itl <= 20 ms and feasible")
    best = pareto(good, ["minimize: itl", "maximize: throughput"])
    print(f"{frame.height} points, {good.height} within 20 ms a token, {best.height} on the front")
    print(best.select("hardware", "batch_size", "seq_len", "itl [second]", "throughput [token/second]"))
    if folder is not None:
        viz.plot_pareto(good, ["minimize: itl", "maximize: throughput"], label="hardware", out=folder / "front.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
