"""Carbon explorer: what a training run emits, and where it should run. Run with: marimo run labs/carbon.py"""

import marimo

app = marimo.App(width="medium", app_title="Carbon explorer")


@app.cell
def _():
    import marimo as mo
    import plotly.graph_objects as go

    import mlsysim
    from mlsysim import learn

    return go, learn, mlsysim, mo


@app.cell
def _(learn, mo):
    task = learn.exercise("carbon-1")
    guess = mo.ui.text(label="your prediction", placeholder="how many times")
    mo.vstack([mo.md("# Carbon explorer"), mo.md(f"**Predict first.** {task.question}"), guess])
    return guess, task


@app.cell
def _(guess, mo, task):
    verdict = task.check(guess.value) if guess.value else None
    mo.md(str(verdict)) if verdict else mo.md("*Answer before you move the sliders.*")
    return (verdict,)


@app.cell
def _(mlsysim, mo):
    fleet = mo.ui.dropdown([entry.id for entry in mlsysim.Systems.Clusters.list()], value="Research_256", label="cluster",
                           searchable=True)  # fmt: skip
    regions = mo.ui.multiselect([entry.id for entry in mlsysim.Infra.Grids.list()],
                                value=["Quebec", "France", "US_Avg", "Virginia", "Poland"], label="grids")  # fmt: skip
    days = mo.ui.slider(1, 365, value=90, label="days", show_value=True)
    mfu = mo.ui.slider(0.1, 1.0, 0.05, value=0.4, label="utilisation", show_value=True)
    price = mo.ui.slider(0, 500, 10, value=100, label="price of a tonne [USD]", show_value=True)
    mo.vstack([mo.hstack([fleet, regions], justify="start"), mo.hstack([days, mfu, price], justify="start")])
    return days, fleet, mfu, price, regions


@app.cell
def _(days, fleet, mfu, mlsysim, mo, regions):
    def known(number, digits=0):
        """A number to show; the water use of some sites is not known."""
        return round(float(number), digits or None) if number == number else "unknown"

    answers = {
        name: mlsysim.SustainabilityModel().solve(fleet.value, days.value, name, mfu=mfu.value)
        for name in regions.value
    }
    rows = [
        {"grid": name, "electricity [MWh]": known(a.facility_energy.to("MWh").magnitude),
         "carbon [t]": known(a.carbon_footprint.to("kg").magnitude / 1000, 1),
         "water [m3]": known(a.site_water.to("m^3").magnitude), "PUE": known(a.pue, 2)}
        for name, a in answers.items()
    ]  # fmt: skip
    mo.ui.table(rows, selection=None) if rows else mo.md("Choose a grid.")
    return answers, rows


@app.cell
def _(answers, go):
    def tonnes(mass):
        """Kilograms as tonnes; embodied carbon is unknown for some devices."""
        return None if mass is None else mass.to("kg").magnitude / 1000

    parts = [("electricity", "operational_carbon", "#0072B2"), ("manufacture, its share", "embodied_carbon", "#E69F00")]
    bars = [
        go.Bar(
            name=label, x=list(answers), y=[tonnes(getattr(a, field)) for a in answers.values()], marker_color=colour
        )
        for label, field, colour in parts
    ]
    figure = go.Figure(bars).update_layout(barmode="stack", yaxis_title="carbon [t CO2e]", template="simple_white")
    figure
    return (figure,)


@app.cell
def _(days, fleet, mfu, mlsysim, mo, price, regions):
    if len(regions.value) > 1:
        place = mlsysim.PlacementOptimizer().solve(
            fleet.value, days.value, tuple(regions.value), price.value, mfu=mfu.value
        )
        told = mo.md(f"With carbon at {price.value} USD a tonne the cheapest place is **{place.best_region}**.")
    else:
        place, told = None, mo.md("Choose two grids or more to compare places.")
    told
    return (place,)


@app.cell
def _(mo):
    mo.md(
        """
        **To find out.** At which price of carbon does the cheapest place change? Does a run at half the utilisation emit
        half as much? On which grids does manufacture outweigh electricity?
        """
    )
    return


if __name__ == "__main__":
    app.run()
