"""Benchmarks that print ratios within one run: python benchmarks/run.py [--json].

Budgets are those of the design: import, one solve at the border and inside, by the roofline and measured, sweeps of a
million points against the same arithmetic written by hand in NumPy, and searches. Times are CPU seconds. The last column
holds a time over that of a fixed loop of Python and NumPy calls in the same run, to compare busy or different machines.
"""

import itertools
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
    """Least CPU seconds of one call."""
    function()
    return min(timeit.repeat(function, number=number, repeat=repeat, timer=time.process_time)) / number


def reference():
    """A thousand small steps of Python and NumPy: what the time of a solve is made of."""
    total = 0.0
    for step in range(1000):
        total += np.maximum(float(step), 1.0) / 2.0
    return total


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


class Rows:
    """What was timed, its budget, and its time over that of the reference loop."""

    def __init__(self) -> None:
        self.unit = best(reference, 20)
        self.rows: list[dict[str, float | str]] = []

    def time(self, what: str, seconds: float, budget: float, scale: float = 1.0) -> None:
        """A time, shown in seconds times ``scale``."""
        self.rows.append({"what": what, "value": seconds * scale, "budget": budget, "loops": seconds / self.unit})

    def ratio(self, what: str, value: float, budget: float) -> None:
        """A ratio of two times of this run."""
        self.rows.append({"what": what, "value": value, "budget": budget})

    def show(self) -> None:
        """One line each."""
        print(f"{'reference loop [us]':<66} {self.unit * 1e6:10.4g}")
        for row in self.rows:
            value, budget = float(row["value"]), float(row["budget"])
            loops = f"{row['loops']:10.4g} loops" if "loops" in row else ""
            word = "ok" if value <= budget else "OVER"
            print(f"{row['what']:<66} {value:10.4g}  <= {budget:<8g} {word:<5} {loops}")


def starts(rows: Rows) -> None:
    """Import and the command line."""
    rows.time(
        "import mlsysim over import numpy [s]",
        max(cpu_of("import numpy, mlsysim") - cpu_of("import numpy"), 0.0),
        0.1,
    )
    rows.time("mlsysim --help [s]", cpu_of("import runpy, sys\nsys.argv = ['mlsysim', '--help']\ntry:\n"
              "    runpy.run_module('mlsysim', run_name='__main__')\nexcept SystemExit:\n    pass"), 0.3)  # fmt: skip


def solves(rows: Rows) -> None:
    """One question at a time."""
    from mlsysim import DistributedModel, Engine, Hardware, Models, ServingModel, SingleNodeModel, Systems
    from mlsysim.catalog import Formats
    from mlsysim.solvers import node
    from mlsysim.solvers.result import Question
    from mlsysim.solvers.serving import solve_textbook
    from mlsysim.solvers.serving_question import asked_of

    model, chip, solver = Models.Llama3_8B, Hardware.H100, ServingModel()
    rows.time("Engine.solve at the border [us]", best(lambda: Engine.solve(model, chip), 500), 100, 1e6)
    profile, number = Question(SingleNodeModel, Engine.solve(model, chip).question.arguments), Formats["fp16"]
    inside = best(lambda: node.solve_textbook(profile, model, chip, number, 1.0, 0.5, 2048.0, None, False), 500)
    rows.time("... inside [us]", inside, 20, 1e6)
    rows.time("ServingModel.solve at the border [us]", best(lambda: solver.solve(model, chip, 2048), 500), 100, 1e6)
    answer = solver.solve(model, chip, 2048)
    asked = asked_of(dict(answer.question.arguments))[0]
    question = Question(ServingModel, answer.question.arguments)
    inside = best(lambda: solve_textbook(question, model, chip, chip, None, asked), 500)
    rows.time("... inside [us]", inside, 20, 1e6)

    lengths = itertools.count(128)  # a new length each time: nothing is remembered from the last question
    fresh = best(lambda: solver.solve(model, chip, next(lengths), 3, "bf16", "measured"), 100)
    rows.time("measured ServingModel.solve, a new question [us]", fresh, 400, 1e6)
    again = best(lambda: solver.solve(model, chip, 2048, 3, "bf16", "measured"), 100)
    rows.time("measured ServingModel.solve, asked again [us]", again, 400, 1e6)
    engine = measured_engine(model, chip)

    def steps():
        length = float(next(lengths))
        return engine.prefill(length, 0.0, 3.0), engine.decode(3.0, length)

    rows.time("... both steps inside, a new question [us]", best(steps, 100), 300, 1e6)

    fleet, large, training = Systems.Research_256, Models.Llama3_70B, DistributedModel()
    one = best(lambda: training.solve(large, fleet, 1024, tp_size=8, pp_size=4, microbatch_count=8), 50)
    rows.time("DistributedModel.solve at the border [us]", one, 1000, 1e6)


def measured_engine(model, chip):
    """The engine of a model under the kernels that the sound default of each family runs."""
    from mlsysim.catalog import textbook
    from mlsysim.catalog.stacks import Stacks
    from mlsysim.machine.textbook import wiring
    from mlsysim.solvers.serving_measured import engine_for
    from mlsysim.workloads.language import Layout

    return engine_for(model, wiring(chip, textbook().link_latency), Stacks["Ideal"], Layout(), "bf16", None)


def sweeps(rows: Rows) -> None:
    """Many questions at once."""
    from mlsysim import Hardware, Models, ParallelismOptimizer, ServingModel, Systems
    from mlsysim.search import pareto, sweep

    model, chip, solver = Models.Llama3_8B, Hardware.H100, ServingModel()
    batch = np.arange(1.0, 1001.0)[:, None]
    tokens = np.linspace(128, 32768, 1000).round()[None, :]

    def ours():
        inside = solver.solve(model, chip, tokens, batch).si
        return inside.ttft, inside.itl, inside.throughput, inside.memory_per_device, inside.feasible

    mine, hand = best(ours, 1), best(lambda: by_hand(batch, tokens), 1)
    rows.time("1e6 points of ServingModel [s]", mine, 1.0)
    rows.ratio("... over the same arithmetic by hand in NumPy [ratio]", mine / hand, 3.0)
    measured = best(lambda: solver.solve(model, chip, tokens, batch, "bf16", "measured").si.itl, 1, 2)
    rows.time("1e6 points of measured ServingModel [s]", measured, 10.0)

    space = {
        "model": [model],
        "hardware": ["A100", "H100"],
        "batch_size": range(1, 51),
        "seq_len": range(128, 10128, 100),
    }

    def front():
        return pareto(sweep(ServingModel, space), ["minimize: itl", "maximize: throughput"])

    rows.time("sweep of 10,000 points and its Pareto front [s]", best(front, 1, 3), 1.0)

    fleet, large, search = Systems.Research_256, Models.Llama3_70B, ParallelismOptimizer()
    plans = float(search.solve(large, fleet, 1024).si.total_searched)
    one = best(lambda: search.solve(large, fleet, 1024), 1, 3)
    rows.time(f"ParallelismOptimizer.solve, {plans:g} plans [us a plan]", one / plans, 100, 1e6)


def main() -> None:
    rows = Rows()
    starts(rows)
    solves(rows)
    sweeps(rows)
    if "--json" in sys.argv:
        print(json.dumps(rows.rows))
    else:
        rows.show()


if __name__ == "__main__":
    main()
