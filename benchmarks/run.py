"""Benchmarks that print ratios within one run: python benchmarks/run.py [--json].

Budgets are those of the design: import, one solve at the border and inside, a million-point sweep against the same
arithmetic written by hand in NumPy.
"""

import json
import subprocess
import sys
import time
import timeit

import numpy as np


def cpu_of(code: str, repeat: int = 7) -> float:
    """Least CPU seconds of a fresh interpreter that runs the code."""
    wrapped = f"import time; t = time.process_time()\n{code}\nprint(time.process_time() - t)"
    return min(
        float(
            subprocess.run([sys.executable, "-c", wrapped], capture_output=True, text=True, check=True).stdout.split()[
                -1
            ]
        )
        for _ in range(repeat)
    )


def best(function, number: int, repeat: int = 5) -> float:
    function()
    return min(timeit.repeat(function, number=number, repeat=repeat)) / number


def by_hand(batch, tokens):
    """TTFT, ITL and memory of Llama-3.1-8B on an H100, as one would write them without the package."""
    parameters, layers, heads, kv_heads, width = 8.03e9, 32.0, 32.0, 8.0, 128.0
    hidden, ffn, peak, bandwidth, capacity, eta = 4096.0, 14336.0, 989e12, 3.35e12, 80e9, 0.5
    cache = 2 * layers * kv_heads * width * tokens * batch * 2
    weights = 2 * parameters
    prefill = 2 * parameters * tokens * batch + 4 * layers * heads * width * batch * tokens * (tokens + 1) / 2
    decode = 2 * parameters * batch + 4 * layers * heads * width * batch * tokens
    ttft = np.maximum(prefill / (peak * eta), (weights + cache) / bandwidth) + 1e-5
    itl = np.maximum(decode / (peak * eta), (weights + cache) / bandwidth) + layers * 1e-5
    working = np.minimum(tokens * batch, 8192.0) * (2 * hidden + 2 * ffn) * 2
    used = weights + cache + working
    return ttft, itl, batch / itl, used, used <= capacity


def main() -> None:
    from mlsysim import Engine, Hardware, Models, ServingModel

    rows: list[tuple[str, float, str, float]] = []
    numpy_import = cpu_of("import numpy")
    package = cpu_of("import numpy, mlsysim")
    rows.append(("import mlsysim over import numpy [s CPU]", max(package - numpy_import, 0.0), "<=", 0.1))
    started = [time.perf_counter()]
    subprocess.run([sys.executable, "-m", "mlsysim", "--help"], capture_output=True, check=True)
    rows.append(("mlsysim --help [s]", time.perf_counter() - started[0], "<=", 0.3))

    model, chip, solver = Models.Llama3_8B, Hardware.H100, ServingModel()
    rows.append(("Engine.solve at the border [us]", best(lambda: Engine.solve(model, chip), 500) * 1e6, "<=", 100))
    rows.append(
        ("ServingModel.solve at the border [us]", best(lambda: solver.solve(model, chip, 2048), 500) * 1e6, "<=", 100)
    )

    batch = np.arange(1.0, 1001.0)[:, None]
    tokens = np.linspace(128, 32768, 1000).round()[None, :]

    def ours():
        answer = solver.solve(model, chip, tokens, batch)
        inside = answer.si
        return inside.ttft, inside.itl, inside.throughput, inside.memory_per_device, inside.feasible

    mine, hand = best(ours, 1), best(lambda: by_hand(batch, tokens), 1)
    rows.append(("1e6 points of ServingModel [s]", mine, "<=", 1.0))
    rows.append(("... over the same arithmetic by hand in NumPy [ratio]", mine / hand, "<=", 3.0))
    if "--json" in sys.argv:
        print(json.dumps([{"what": what, "value": value, "budget": budget} for what, value, _, budget in rows]))
        return
    for what, value, sign, budget in rows:
        print(f"{what:<58} {value:10.4g}  {sign} {budget:g}  {'ok' if value <= budget else 'OVER'}")


if __name__ == "__main__":
    main()
