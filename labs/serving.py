"""Serving under a service level: which devices, how many, at what load? Run with: marimo run labs/serving.py"""

import marimo

app = marimo.App(width="medium", app_title="Serving under a service level")


@app.cell
def _():
    import marimo as mo

    import mlsysim
    from mlsysim import learn, viz

    return learn, mlsysim, mo, viz


@app.cell
def _(learn, mo):
    task = learn.exercise("tail-1")
    guess = mo.ui.text(label="your prediction", placeholder=f"a number in {task.unit}")
    mo.vstack([mo.md("# Serving under a service level"), mo.md(f"**Predict first.** {task.question}"), guess])
    return guess, task


@app.cell
def _(guess, mo, task):
    verdict = task.check(guess.value) if guess.value else None
    mo.md(str(verdict)) if verdict else mo.md("*Answer before you move the sliders.*")
    return (verdict,)


@app.cell
def _(mlsysim, mo):
    language = [entry.id for entry in mlsysim.Models.Language.list()]
    model = mo.ui.dropdown(language, value="Llama3_8B", label="model", searchable=True)
    devices = mo.ui.multiselect(mlsysim.Hardware.ids("cloud"), value=["A100", "H100", "H200"], label="devices")
    prompt = mo.ui.slider(steps=[128, 512, 1024, 2048, 4096, 8192, 16384], value=2048, label="prompt", show_value=True)
    batch = mo.ui.slider(steps=[1, 2, 4, 8, 16, 32, 64, 128], value=8, label="requests at once", show_value=True)
    ttft = mo.ui.slider(50, 2000, 50, value=600, label="first token within [ms]", show_value=True)
    itl = mo.ui.slider(5, 100, 5, value=20, label="then one every [ms]", show_value=True)
    rate = mo.ui.slider(1, 100, 1, value=10, label="requests a second", show_value=True)
    mo.vstack([mo.hstack([model, devices], justify="start"), mo.hstack([prompt, batch, rate], justify="start"),
               mo.hstack([ttft, itl], justify="start")])  # fmt: skip
    return batch, devices, itl, model, prompt, rate, ttft


@app.cell
def _(batch, devices, itl, mlsysim, mo, model, prompt, ttft):
    answers, rows = {}, []
    for name in devices.value:
        answer = mlsysim.ServingModel().solve(model.value, name, prompt.value, batch.value, "fp16")
        answers[name] = answer
        first, gap = answer.ttft.to("ms").magnitude, answer.itl.to("ms").magnitude
        met = answer.feasible and first <= ttft.value and gap <= itl.value
        rows.append({"device": name, "fits": answer.feasible, "TTFT [ms]": round(first, 1), "ITL [ms]": round(gap, 2),
                     "tokens/s": round(answer.tokens_per_sec.magnitude), "prefill waits for": answer.prefill_bottleneck,
                     "decoding waits for": answer.decode_bottleneck, "service level": "met" if met else "missed"})  # fmt: skip
    mo.ui.table(rows, selection=None) if rows else mo.md("Choose a device.")
    return answers, rows


@app.cell
def _(answers, mo, viz):
    mo.ui.tabs({name: viz.plot_latency_waterfall(answer, backend="plotly") for name, answer in answers.items()})
    return


@app.cell
def _(devices, itl, mlsysim, mo, model, prompt, rate, ttft):
    # How many replicas carry the load, with a tail that holds. 128 tokens of reply; the limit is prompt plus reply.
    plans = []
    for one in devices.value:
        total = ttft.value + 128 * itl.value
        try:
            plan = mlsysim.ServingCapacityModel().solve(
                model.value, one, rate.value, total, prompt.value + 128, ttft_slo_ms=ttft.value, itl_slo_ms=itl.value
            )
            plans.append({"device": one, "feasible": plan.feasible, "replicas": plan.required_replicas,
                          "batch": plan.batch_size, "busy": f"{plan.utilization:.0%}",
                          "p99 [ms]": round(plan.estimated_p99_latency.to("ms").magnitude)})  # fmt: skip
        except mlsysim.MLSysimError as fault:
            plans.append({"device": one, "feasible": False, "replicas": str(fault)})
    mo.vstack([mo.md("## How many replicas"), mo.ui.table(plans, selection=None)]) if plans else None
    return (plans,)


@app.cell
def _(mo):
    mo.md(
        """
        **To find out.** Which of the two targets fails first on each device? What does doubling the rate do to the number
        of replicas, and why is it less than double? When is a larger batch the wrong answer to a missed target?
        """
    )
    return


if __name__ == "__main__":
    app.run()
