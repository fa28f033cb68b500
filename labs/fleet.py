"""Fleet designer: split a training step over a cluster. Run with: marimo run labs/fleet.py"""

import marimo

app = marimo.App(width="medium", app_title="Fleet designer")


@app.cell
def _():
    import marimo as mo

    import mlsysim
    from mlsysim import learn, viz

    return learn, mlsysim, mo, viz


@app.cell
def _(learn, mo):
    task = learn.exercise("bubble-1")
    guess = mo.ui.text(label="your prediction", placeholder="a percentage")
    mo.vstack([mo.md("# Fleet designer"), mo.md(f"**Predict first.** {task.question}"), guess])
    return guess, task


@app.cell
def _(guess, mo, task):
    verdict = task.check(guess.value) if guess.value else None
    mo.md(str(verdict)) if verdict else mo.md("*Answer before you move the sliders.*")
    return (verdict,)


@app.cell
def _(mlsysim, mo):
    clusters = [entry.id for entry in mlsysim.Systems.Clusters.list()]
    fleet = mo.ui.dropdown(clusters, value="Research_256", label="cluster", searchable=True)
    model = mo.ui.dropdown([entry.id for entry in mlsysim.Models.Language.list()], value="Llama3_70B", label="model",
                           searchable=True)  # fmt: skip
    batch = mo.ui.slider(steps=[64, 128, 256, 512, 1024, 2048], value=512, label="sequences a step", show_value=True)
    tp = mo.ui.slider(steps=[1, 2, 4, 8, 16], value=8, label="tensor", show_value=True)
    pp = mo.ui.slider(steps=[1, 2, 4, 8, 16], value=4, label="pipeline", show_value=True)
    micro = mo.ui.slider(steps=[1, 2, 4, 8, 16, 32, 64], value=16, label="micro-batches", show_value=True)
    zero = mo.ui.dropdown({"0": 0, "1": 1, "2": 2, "3": 3}, value="1", label="ZeRO stage")
    recompute = mo.ui.checkbox(value=True, label="recompute activations")
    mo.vstack([mo.hstack([fleet, model, batch], justify="start"), mo.hstack([tp, pp, micro], justify="start"),
               mo.hstack([zero, recompute], justify="start")])  # fmt: skip
    return batch, fleet, micro, model, pp, recompute, tp, zero


@app.cell
def _(batch, fleet, micro, mlsysim, mo, model, pp, recompute, tp, viz, zero):
    try:
        answer = mlsysim.DistributedModel().solve(
            model.value, fleet.value, batch.value, "bf16", tp_size=tp.value, pp_size=pp.value,
            microbatch_count=micro.value, zero_stage=zero.value, activation_recomputation=recompute.value,
            overlap_comm=True,
        )  # fmt: skip
        verdicts = [
            mo.stat(f"{answer.step_latency_total.to('s').magnitude:.2f} s", "a step"),
            mo.stat(f"{answer.mfu:.1%}", "MFU"),
            mo.stat(f"{answer.memory_utilization:.0%}", "memory", "fits" if answer.feasible else "does not fit"),
            mo.stat(f"{answer.bubble_fraction:.1%}", "bubble"),
        ]
        shown = mo.vstack([mo.hstack(verdicts), viz.plot_step_timeline(answer, backend="plotly"),
                           viz.plot_memory_stack(answer, backend="plotly")])  # fmt: skip
    except mlsysim.MLSysimError as fault:
        answer, shown = None, mo.callout(str(fault), kind="warn")
    shown
    return (answer,)


@app.cell
def _(batch, fleet, mlsysim, mo, model):
    try:
        best = mlsysim.ParallelismOptimizer().solve(model.value, fleet.value, batch.value, "bf16")
        beaten = mo.md(f"**The search finds** `{best.best_config}`: MFU {best.best_mfu:.1%}, "
                       f"{best.feasible_plans:,.0f} of {best.search_space_size:,.0f} plans fit.")  # fmt: skip
    except mlsysim.MLSysimError as fault:
        best, beaten = None, mo.callout(str(fault), kind="warn")
    mo.accordion({"compare with the search": beaten})
    return (best,)


@app.cell
def _(fleet, mlsysim, mo):
    month = mlsysim.ReliabilityModel().solve(fleet.value, 24 * 30)
    mo.md(
        f"In a month of this cluster something fails **{month.expected_failures:.0f} times**; with a checkpoint every "
        f"{month.optimal_checkpoint_interval.to('min').magnitude:.0f} minutes {month.goodput_ratio:.1%} of the time is useful."
    )
    return (month,)


@app.cell
def _(mo):
    mo.md(
        """
        **To find out.** What happens when tensor parallelism leaves the node? How many micro-batches make the bubble
        small, and what do they cost? Can you come within a tenth of the plan that the search finds?
        """
    )
    return


if __name__ == "__main__":
    app.run()
