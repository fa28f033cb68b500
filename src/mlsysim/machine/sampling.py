"""What a server adds to the kernels of a step when it draws tokens at random: sorting logits, and a host a layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..catalog.efficiency import ANY, Family, family
from ..catalog.hardware import Device
from ..physics.memory_kernels import streaming_time
from ..units import Bytes, Count, Seconds
from .chip import chip_of

FAMILY = "sampling"


@dataclass(frozen=True, slots=True)
class Sampling:
    """Time and memory traffic that sampling adds to a step; ``sigma`` is that of the log of measured over predicted
    for the whole step."""

    time: Seconds
    traffic: Bytes
    sigma: float
    notes: tuple[str, ...]


def sampling_of(
    device: Device, sequences: Count, vocabulary: Count, layers: Count, library: Family | None = None
) -> Sampling:
    """What drawing one token of every sequence adds to a step.

    Top-k and top-p need the probabilities of all tokens in order, so each rank sorts and rewrites the whole table of
    logits; greedy decoding needs none of it, and served load that was measured greedily shows none.

    Args:
        device: one chip
        sequences: sequences of a step
        vocabulary: logits of one sequence
        layers: layers of the model, each of which leaves the graph once
        library: fits in place of the catalog's
    """
    chip = chip_of(device)
    fit = (library or family(FAMILY)).choose(chip.names, (*chip.generations, ANY), ANY)
    extra, notes = 0.0, chip.notes
    if device.id not in fit.devices:
        extra = fit.transfer if chip.architecture in fit.architectures else fit.far
        notes = (*notes, f"{FAMILY}: {device.id} was not measured; fitted on {', '.join(fit.devices)}")
    traffic = sequences * vocabulary * fit.values["logit"]
    time = streaming_time(traffic, chip.bandwidth, 1.0, layers * fit.values["layer"])
    return Sampling(time, traffic, float(np.hypot(fit.sigma[2], extra)), notes)
