"""Numbers of a scorecard by their path: the unit each is shown in, and what it says."""

from __future__ import annotations

from ..errors import UnknownEntryError, nearest

METRICS: dict[str, tuple[str, str]] = {
    "feasibility.memory_used_gb": ("GB", "memory needed on the fullest device"),
    "feasibility.memory_available_gb": ("GB", "memory of a device"),
    "feasibility.memory_utilization": ("", "needed over available"),
    "performance.latency": ("ms", "one pass over the batch"),
    "performance.throughput": ("1/s", "inferences or generated tokens a second of one replica"),
    "performance.ttft": ("ms", "time to first token"),
    "performance.itl": ("ms", "time between tokens of a request"),
    "performance.step_latency": ("ms", "one training step"),
    "performance.comm_overhead": ("ms", "communication that a step waits for"),
    "performance.bubble": ("ms", "pipeline stages with nothing to do"),
    "performance.fleet_throughput": ("1/s", "samples, requests' tokens or passes a second of all devices"),
    "performance.tokens_per_second": ("token/s", "tokens a second of all devices"),
    "performance.scaling_efficiency": ("", "arithmetic dealt evenly over the step"),
    "performance.mfu": ("", "useful FLOPs over the peak"),
    "performance.hfu": ("", "FLOPs done, repeated ones included, over the peak"),
    "performance.energy_per_inference": ("J", "energy of one inference or token on the devices"),
    "performance.power": ("W", "mean power of a device"),
    "performance.power_budget": ("W", "most mean power of a device"),
    "performance.sla_latency": ("ms", "objective for the latency"),
    "performance.devices": ("", "devices that work together"),
    "macro.fleet_size": ("", "devices owned"),
    "macro.tco": ("USD", "capital and operation over the span"),
    "macro.capex": ("USD", "share of the purchase charged to the span"),
    "macro.opex": ("USD", "electricity, upkeep, staff, price of emissions"),
    "macro.energy_cost": ("USD", "electricity"),
    "macro.energy": ("MWh", "electricity at the meter"),
    "macro.carbon_footprint": ("t", "emissions of electricity and the span's share of manufacture"),
    "macro.carbon_operational": ("t", "emissions of electricity"),
    "macro.water": ("L", "water used on site"),
    "macro.pue": ("", "power usage effectiveness of the site"),
    "macro.region": ("", "where it stands"),
    "macro.goodput": ("", "share of the time that is progress kept"),
    "macro.failures": ("", "failures expected over the span"),
    "macro.mtbf": ("hour", "mean time between failures of the fleet"),
    "macro.cost_per_million_tokens": ("USD", "cost over what is produced"),
    "macro.cost_per_million_inferences": ("USD", "cost over what is produced"),
    "macro.carbon_per_million_tokens": ("kg", "emissions over what is produced"),
}
"""Path: unit and meaning. Fractions are fractions, never per cent."""


def known_metric(path: str) -> str:
    """The path, if there is such a number.

    Examples:
        >>> known_metric("performance.itl")
        'performance.itl'
        >>> known_metric("performance.latancy")
        Traceback (most recent call last):
        mlsysim.errors.UnknownEntryError: no metric named 'performance.latancy'; did you mean performance.latency...
    """
    if path not in METRICS:
        ends = [name for name in METRICS if name.rpartition(".")[2] == path.rpartition(".")[2]]
        raise UnknownEntryError("metric", path, ends or nearest(path, METRICS))
    return path
