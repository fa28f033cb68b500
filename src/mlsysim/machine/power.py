"""What a chip draws while it runs operators: idle power, arithmetic, memory traffic, and the cap of its design power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..catalog import Hardware
from ..catalog.efficiency import ANY, Family, family
from ..catalog.hardware import Device
from ..errors import MissingFactError
from ..physics.power import power_of_busy_units
from ..units import Fraction, Joules, Seconds, Watts
from .chip import chip_of

FAMILY = "power"
PROCESS = ("hopper", "ada", "blackwell")
"""Architectures made in the same class of process (4 to 5 nm) as H100, on which the energy of a FLOP was fitted."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Mean power and energy of a run on one chip.

    ``sigma`` is that of the log of measured over predicted power, ``energy_sigma`` that of the energy, whose error is
    also that of the time.
    """

    power: Watts
    energy: Joules
    sigma: float
    energy_sigma: Fraction
    notes: tuple[str, ...]


def watts(values: Mapping[str, float], design_power: Watts, compute_share: Fraction, memory_share: Fraction) -> Watts:
    """Power with some parameters.

    The idle share is that of a chip at work between two kernels, clocks up: well above what a chip at rest draws.
    """
    return power_of_busy_units(
        design_power, values["idle"], values["arithmetic"], compute_share, values["traffic"], memory_share
    )


def watts_over(
    values: Mapping[str, float], design_power: Watts, time: Seconds, at_peak: Seconds, at_bandwidth: Seconds
) -> Watts:
    """Power of work that takes some time; ``at_peak`` and ``at_bandwidth`` as for :func:`draw_of`."""
    return watts(values, design_power, at_peak / time, np.minimum(at_bandwidth / time, 1.0))


def energy_sigma(
    values: Mapping[str, float], design_power: Watts, time: Seconds, at_peak: Seconds, at_bandwidth: Seconds,
    sigma: Fraction,
) -> Fraction:  # fmt: skip
    """Spread of the log of the energy that comes from that of the time.

    Work that takes longer costs idle power for longer, and not more energy of arithmetic and traffic: time and power
    are bound to each other, and half of the distance between the energies one sigma apart is what is left.
    """
    reach = np.exp(sigma)
    slow, fast = time * reach, time / reach
    ratio = watts_over(values, design_power, slow, at_peak, at_bandwidth) * slow
    ratio = ratio / (watts_over(values, design_power, fast, at_peak, at_bandwidth) * fast)
    return np.log(ratio) / 2


def switching_energy(precision: str, library: Family | None = None) -> float:
    """Joules of one FLOP in a format on the chip that power was fitted on: what its arithmetic draws at its peak."""
    fit = (library or family(FAMILY)).choose(frozenset(), (ANY,), ANY)
    seen = Hardware[fit.devices[0]].si
    at_peak = fit.values["arithmetic"] * (1 - fit.values["idle"]) * seen.tdp
    return float(at_peak / seen.peaks[precision])


def room_of(device: Device, library: Family | None = None) -> float | None:
    """Watts that idling leaves for switching; nothing where the energy of a FLOP is not that of the chip that was fitted."""
    fit = (library or family(FAMILY)).choose(frozenset(), (ANY,), ANY)
    if device.si.tdp is None or chip_of(device).architecture not in PROCESS:
        return None
    return float(device.si.tdp * (1 - fit.values["idle"]))


def draw_of(
    device: Device, time: Seconds, at_peak: Seconds, at_bandwidth: Seconds, library: Family | None = None,
    time_sigma: Fraction = 0.0,
) -> Draw:  # fmt: skip
    """What a chip draws during a run.

    Args:
        device: the chip
        time: how long the run takes
        at_peak: time of its arithmetic at the peak of its formats
        at_bandwidth: time of its memory traffic at the full bandwidth
        library: fits in place of the catalog's
        time_sigma: standard deviation of the log of the time, where it is a prediction

    Raises:
        MissingFactError: the device has no design power in the catalog
    """
    chip, tdp = chip_of(device), device.si.tdp
    if tdp is None:
        raise MissingFactError(f"{device.id}: no tdp in the catalog; pass device.replace(tdp='... W')")
    fit = (library or family(FAMILY)).choose(chip.names, (*chip.generations, ANY), ANY)
    extra = 0.0
    notes: tuple[str, ...] = ()
    if device.id not in fit.devices:
        extra = fit.transfer if chip.architecture in fit.architectures else fit.far
        notes = (f"{FAMILY}: {device.id} was not measured; fitted on {', '.join(fit.devices)}",)
    power = watts_over(fit.values, tdp, time, at_peak, at_bandwidth)
    sigma = np.hypot(fit.sigma[2], extra)
    whole = np.hypot(sigma, energy_sigma(fit.values, tdp, time, at_peak, at_bandwidth, time_sigma))
    return Draw(power, power * time, float(sigma), whole, notes)
