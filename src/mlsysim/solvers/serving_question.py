"""The question of a server: what is asked, checked and in SI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.models import Transformer
from ..errors import InvalidInputError
from ..units import Count, Fraction
from . import plan as plans
from .border import Border, shape_of, unsupported


@dataclass(frozen=True, slots=True)
class Asked:
    """The numbers of the question, in SI."""

    number: Any
    tokens: Count
    batch: Count
    eta: Fraction
    network: Any
    acceptance: Fraction
    cached: Count
    drafted: Any
    stored: Any
    plan: plans.Plan


def asked_of(given: dict[str, Any]) -> tuple[Asked, Any, Any, Any, Any]:
    """Check a question: its numbers in SI, the model, what prefills, what decodes, and the draft model.

    Raises:
        InvalidInputError: arguments that make no sense, all of them at once
        UnsupportedWorkloadError: the model does not generate tokens
    """
    border = Border()
    network, machine = border.model(given["model"]), border.machine(given["hardware"])
    apart, draft_model = given["decode_hardware"], given["draft_model"]
    decoder = machine if apart is None else border.machine(apart, "decode_hardware")
    draft = None if draft_model is None else border.model(draft_model, "draft_model")
    drafted, stored = given["draft_tokens"], given["kv_precision"]
    asked = Asked(
        number=border.format(given["precision"]),
        tokens=border.count("seq_len", given["seq_len"]),
        batch=border.count("batch_size", given["batch_size"]),
        eta=border.fraction("efficiency", given["efficiency"]),
        network=border.quantity("network_bandwidth", given["network_bandwidth"], "byte/second"),
        acceptance=border.fraction("draft_acceptance_rate", given["draft_acceptance_rate"], closed=True),
        cached=border.count("cached_prefix_len", given["cached_prefix_len"], least=0),
        drafted=None if drafted is None else border.count("draft_tokens", drafted),
        stored=None if stored is None else border.format(stored, "kv_precision"),
        plan=plans.Plan(*(border.count(name, given[name]) for name in ("tp_size", "pp_size", "ep_size"))),
    )
    border.close()
    shape_of(asked.tokens, asked.batch, asked.eta, asked.cached, asked.acceptance, asked.plan.chips)
    beyond = asked.cached > asked.tokens
    if beyond if type(beyond) is bool else np.any(beyond):
        raise InvalidInputError("cached_prefix_len: expected at most seq_len")
    for which in (network, draft):
        if which is not None and (not isinstance(which, Transformer) or which.architecture != "transformer"):
            raise unsupported("ServingModel", which, "models that generate tokens one by one (try Engine.solve)")
    return asked, network, machine, decoder, draft
