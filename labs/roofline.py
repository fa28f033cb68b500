"""Roofline explorer: which roof is a model under, and what moves it? Run with: marimo run labs/roofline.py"""

import marimo

app = marimo.App(width="medium", app_title="Roofline explorer")


@app.cell
def _():
    import marimo as mo

    import mlsysim
    from mlsysim import learn, viz

    return learn, mlsysim, mo, viz


@app.cell
def _(learn, mo):
    task = learn.exercise("ridge-1")
    guess = mo.ui.text(label="your prediction", placeholder=f"a number in {task.unit}")
    mo.vstack([mo.md("# Roofline explorer"), mo.md(f"**Predict first.** {task.question}"), guess])
    return guess, task


@app.cell
def _(guess, mo, task):
    verdict = task.check(guess.value) if guess.value else None
    mo.md(str(verdict)) if verdict else mo.md("*Answer before you move the sliders.*")
    return (verdict,)


@app.cell
def _(mlsysim, mo):
    device = mo.ui.dropdown(mlsysim.Hardware.ids(), value="H100", label="device", searchable=True)
    model = mo.ui.dropdown(mlsysim.Models.ids(), value="Llama3_8B", label="model", searchable=True)
    batch = mo.ui.slider(steps=[2**i for i in range(11)], value=1, label="batch", show_value=True)
    precision = mo.ui.dropdown(["fp16", "fp8", "int8", "int4"], value="fp16", label="weights")
    efficiency = mo.ui.slider(0.05, 1.0, 0.05, value=0.5, label="efficiency", show_value=True)
    mo.hstack([device, model, precision, batch, efficiency], wrap=True, justify="start")
    return batch, device, efficiency, model, precision


@app.cell
def _(batch, device, efficiency, mlsysim, mo, model, precision, viz):
    batches = sorted({1, batch.value, 256})
    try:
        answer = mlsysim.Engine.solve(model.value, device.value, batch.value, precision.value, efficiency.value)
        figure = viz.plot_roofline(device.value, model.value, precision=precision.value, batch_size=batches,
                                   efficiency=efficiency.value, backend="plotly")  # fmt: skip
        shown = mo.vstack([mo.md(f"**{answer.bottleneck}-bound**, {answer.margin:.3g} times over the other"), figure])
    except mlsysim.MLSysimError as fault:
        answer, shown = None, mo.callout(str(fault), kind="warn")
    shown
    return (answer,)


@app.cell
def _(answer, mo):
    mo.accordion(
        {"every number": mo.md(f"```\n{answer}\n```"), "where it comes from": mo.md(f"```\n{answer.explain()}\n```")}
    ) if answer else None
    return


@app.cell
def _(mo):
    mo.md(
        """
        **To find out.** At which batch does decoding cross the ridge on your device? Does a device with twice the
        arithmetic and the same memory cross earlier or later? Which of the models are left of the ridge whatever you do?
        """
    )
    return


if __name__ == "__main__":
    app.run()
