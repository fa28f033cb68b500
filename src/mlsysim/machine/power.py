"""What a chip draws while it runs operators: idle power, arithmetic, memory traffic, and the cap of its design power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..catalog.efficiency import ANY, Family, family
from ..catalog.hardware import Device
from ..errors import MissingFactError
from ..physics.power import power_of_busy_units
from ..units import Fraction, Joules, Seconds, Watts
from .chip import chip_of

FAMILY = "power"


@dataclass(frozen=True, slots=True)
class Draw:
    """Mean power and energy of a run on one chip; ``sigma`` is that of the log of measured over predicted power."""

    power: Watts
    energy: Joules
    sigma: float
    notes: tuple[str, ...]


def watts(values: Mapping[str, float], design_power: Watts, compute_share: Fraction, memory_share: Fraction) -> Watts:
    """Power with some parameters.

    The idle share is that of a chip at work between two kernels, clocks up: well above what a chip at rest draws.
    """
    return power_of_busy_units(
        design_power, values["idle"], values["arithmetic"], compute_share, values["traffic"], memory_share
    )


def draw_of(
    device: Device, time: Seconds, at_peak: Seconds, at_bandwidth: Seconds, library: Family | None = None
) -> Draw:
    """What a chip draws during a run.

    Args:
        device: the chip
        time: how long the run takes
        at_peak: time of its arithmetic at the peak of its formats
        at_bandwidth: time of its memory traffic at the full bandwidth
        library: fits in place of the catalog's

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
    power = watts(fit.values, tdp, at_peak / time, np.minimum(at_bandwidth / time, 1.0))
    return Draw(power, power * time, float(np.hypot(fit.sigma[2], extra)), notes)
