"""What a serving question fixes before its numbers: formats, peaks, links, weights. Kept for the next question."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ..catalog import textbook
from ..machine.textbook import Wiring, peak_in, power_terms, wiring
from ..physics import is_recording
from ..physics import transformer as eq
from ..units import Bytes
from ..workloads.transformer import Shape, shape


@dataclass(frozen=True, slots=True)
class Setting:
    """A model in a number format, where it prefills and where it decodes.

    ``weight``, ``value`` and ``activation`` are the bytes of one weight, cached value and activation; ``power`` holds
    idle power, energy of a FLOP and design power of the decoding chip.
    """

    model: Shape
    weight: Bytes
    value: Bytes
    activation: Bytes
    weights: Bytes
    here: Wiring
    there: Wiring
    chip: Any
    decode_chip: Any
    peak: Any
    decode_peak: Any
    power: tuple[Any, Any, Any]
    longest: Any
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    """``notes`` come first; ``remarks`` on the model come last."""


def setting_of(model: Any, machine: Any, decoder: Any, number: Any, stored: Any) -> Setting:
    """The setting of a question; computed once, and once more for every ledger.

    Raises:
        MissingFactError: the catalog lacks a peak that the answer needs
    """
    compute = _setting if is_recording() else _known_setting
    return compute(model, machine, decoder, number, stored)


def _setting(model: Any, machine: Any, decoder: Any, number: Any, stored: Any) -> Setting:
    assumed = textbook()
    activation = number.si.activation_bits / 8
    weight = number.bytes_per_value()
    here = wiring(machine, assumed.link_latency)
    there = here if decoder is machine else wiring(decoder, assumed.link_latency)
    peak, notes = peak_in(here.chip, number)
    decode_peak, more = (peak, ()) if there is here else peak_in(there.chip, number)
    m, decode_chip = shape(model), there.chip.si
    return Setting(
        model=m,
        weight=weight,
        value=activation if stored is None else stored.bytes_per_value(),
        activation=activation,
        weights=eq.weight_size(m.parameters, weight),
        here=here,
        there=there,
        chip=here.chip.si,
        decode_chip=decode_chip,
        peak=peak,
        decode_peak=decode_peak,
        power=power_terms(there.chip, decode_peak, decode_chip.memory_bandwidth, assumed),
        longest=model.si.max_context or model.si.positions,
        notes=notes + more,
        remarks=(f"{model.id}: {model.note}",) if model.note else (),
    )


_known_setting = functools.lru_cache(maxsize=1024)(_setting)
