"""Which input matters: how latency answers to every number of the question (wall 21)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics import synthesis
from ..units import Fraction, Plain, Seconds
from .base import BaseSolver
from .border import Border, shape_of
from .limits import Limit
from .node import PerformanceProfile, SingleNodeModel
from .node import solve_textbook as node_answer
from .result import Question, Result

STEP = 1e-6
RESOURCES = ("peak_flops", "memory_bandwidth", "memory_capacity")
"""What a chip is bought for, in the order in which ties are named."""
DEVICE = ("memory_bandwidth", "memory_capacity", "dispatch_latency", "sram_bandwidth", "sram_capacity",
          "flash_bandwidth", "host_bandwidth")  # fmt: skip
MODEL = ("parameters", "layers")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SensitivityResult(Result):
    """How latency answers to each input: for the step asked for, and for an infinitely small one."""

    sensitivities: Mapping[str, Any]
    elasticities: Mapping[str, Any]
    binding_constraint: Any
    largest_elasticity: Any
    baseline_latency: Seconds
    overhead_share: Fraction
    perturbation_pct: Plain
    ties: tuple[str, ...]
    kinks: tuple[str, ...]
    feasible: bool
    baseline: PerformanceProfile

    @property
    def bottleneck(self) -> Any:
        """As :attr:`binding_constraint`."""
        return self.binding_constraint

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        return self.baseline.limits


class SensitivitySolver(BaseSolver):
    """Wall 21: the derivative of latency with respect to everything it is computed from."""

    walls = ((21, "Sensitivity", "analysis"),)
    requires = ("workload", "hardware")
    produces = SensitivityResult
    misbeliefs = {
        "improve everything a little": "only the binding resource changes the latency; the others' elasticity is zero",
        "a sensitivity is a constant": "it jumps where another wall takes over; such kinks are named",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        precision: Any = "fp16",
        perturbation_pct: Any = 10,
        efficiency: Any = 0.5,
        *,
        batch_size: Any = 1,
        seq_len: Any = None,
        kv_precision: Any = None,
    ) -> SensitivityResult:
        """Sensitivity of the latency of one pass.

        Args:
            model: an entry of ``Models`` or its name
            hardware: an entry of ``Hardware``, a stack of them, or a name
            precision: number format of the weights
            perturbation_pct: how much each input is raised for ``sensitivities``, in per cent
            efficiency: share of the arithmetic peak that is reached, in (0, 1]
            batch_size: sequences or samples
            seq_len: tokens of context
            kv_precision: number format of the KV cache

        Returns:
            Relative change of latency for the step, elasticities for an infinitely small one, the resource that binds,
            ties and kinks. Where the model does not fit, memory capacity binds.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = SensitivitySolver().solve("Llama3_8B", "H100")
            >>> answer.binding_constraint, round(answer.elasticities["memory_bandwidth"], 2)
            ('memory_bandwidth', -0.94)
        """
        arguments = dict(model=model, hardware=hardware, precision=precision, perturbation_pct=perturbation_pct,
                         efficiency=efficiency, batch_size=batch_size, seq_len=seq_len, kv_precision=kv_precision)  # fmt: skip
        border = Border()
        network, device = border.model(model), border.device(hardware)
        number = border.format(precision)
        percent = border.number("perturbation_pct", perturbation_pct, least=-99.0)
        if border.one("perturbation_pct", perturbation_pct) and percent == 0:
            border.problems.append("perturbation_pct: expected a number other than 0")
        eta, batch = border.fraction("efficiency", efficiency), border.count("batch_size", batch_size)
        context = None if seq_len is None else border.count("seq_len", seq_len)
        stored = None if kv_precision is None else border.format(kv_precision, "kv_precision")
        border.close()
        arguments.update(model=network, hardware=device)
        asked = Question(SingleNodeModel, dict(model=network, hardware=device, batch_size=batch_size,
                                               precision=number, efficiency=efficiency, seq_len=seq_len,
                                               kv_precision=stored))  # fmt: skip
        if context is None:
            context = _context(network)

        def answer(chip: Any = device, net: Any = network, b: Any = batch, e: Any = eta, c: Any = context) -> Any:
            return node_answer(asked, net, chip, number, b, e, c, stored, False)

        baseline = answer()
        now = baseline.si.latency
        inputs = _inputs(device, network, batch, eta, context, answer)
        stepped = {name: change(1 + percent / 100) for name, change in inputs.items()}
        changes = {name: after.si.latency / now - 1 for name, after in stepped.items()}

        def slope(change: Callable[[Any], Any], factor: float) -> Any:
            return synthesis.elasticity(change(factor).si.latency / now, factor)

        up = {name: slope(change, 1 + STEP) for name, change in inputs.items()}
        down = {name: slope(change, 1 - STEP) for name, change in inputs.items()}
        share = baseline.si.overhead_share
        shape = shape_of(*(np.asarray(x) for x in (now, percent)))
        fits = np.asarray(baseline.si.feasible)
        table = np.stack([np.broadcast_to(np.abs(up[name]), shape) for name in RESOURCES])
        strongest = np.array(RESOURCES)[np.argmax(np.round(table, 9), axis=0)]
        binding = np.where(fits, strongest, "memory_capacity")
        everything = np.stack([np.broadcast_to(np.abs(value), shape) for value in up.values()])
        largest = np.array(list(up))[np.argmax(np.round(everything, 9), axis=0)]
        kinks = tuple(
            name for name in up if np.any(np.abs(up[name] - down[name]) > 1e-3) or _moved(baseline, stepped[name])
        )
        top = table.max(axis=0)
        tied = tuple(
            name for name, row in zip(RESOURCES, table, strict=True) if not shape and top > 0 and row >= top - 1e-6
        )
        return SensitivityResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=baseline.notes + _notes(fits, share, top, tied, kinks),
            sensitivities={name: _bare(changes[name]) for name in dict.fromkeys((*RESOURCES, *changes))},
            elasticities={name: _bare(value) for name, value in {**up, "software_overhead": share}.items()},
            binding_constraint=binding if shape else str(binding),
            largest_elasticity=largest if shape else str(largest),
            baseline_latency=now,
            overhead_share=share,
            perturbation_pct=percent,
            ties=tied if len(tied) > 1 else (),
            kinks=kinks,
            feasible=baseline.si.feasible,
            baseline=baseline,
        )


def _context(model: Any) -> float:
    """The context that :class:`SingleNodeModel` takes where none is asked for."""
    limits = [getattr(model.si, name, None) for name in ("positions", "max_context")]
    return float(min([2048.0, *(limit for limit in limits if limit is not None)]))


def _inputs(
    device: Any, model: Any, batch: Any, eta: Any, context: Any, answer: Callable[..., Any]
) -> dict[str, Callable[[Any], Any]]:
    """For each numeric input: the answer when that input alone is multiplied by a factor."""

    def of_device(name: str) -> Callable[[Any], Any]:
        return lambda f: answer(chip=_changed(device, **{name: getattr(device.si, name) * f}))

    def of_model(name: str) -> Callable[[Any], Any]:
        def scaled(f: Any) -> Any:
            changed = {name: getattr(model.si, name) * f}
            if name == "parameters" and model.si.active_parameters is not None:
                changed["active_parameters"] = model.si.active_parameters * f
            return answer(net=_changed(model, **changed))

        return scaled

    found: dict[str, Callable[[Any], Any]] = {
        "peak_flops": lambda f: answer(
            chip=_changed(device, peaks={key: peak * f for key, peak in device.si.peaks.items()})
        )
    }
    found |= {name: of_device(name) for name in DEVICE if getattr(device.si, name) is not None}
    found |= {name: of_model(name) for name in MODEL if getattr(model.si, name) is not None}
    found["batch_size"] = lambda f: answer(b=batch * f)
    found["seq_len"] = lambda f: answer(c=context * f)
    found["efficiency"] = lambda f: answer(e=eta * f)
    return found


def _changed(spec: Any, **values: Any) -> Any:
    """A copy of an entry with some SI numbers changed."""
    stored = {item.name: object.__getattribute__(spec, item.name) for item in dataclasses.fields(spec)}
    return type(spec)(**{**stored, **values})


def _moved(before: PerformanceProfile, after: PerformanceProfile) -> bool:
    """Whether another wall binds after a step, or the model fits no longer (or at last)."""
    return bool(
        np.any(np.asarray(before.bottleneck) != np.asarray(after.bottleneck))
        or np.any(np.asarray(before.si.feasible) != np.asarray(after.si.feasible))
    )


def _bare(value: Any) -> Any:
    """A plain number where there is but one."""
    return value if np.ndim(value) else float(value)


def _notes(fits: Any, share: Any, top: Any, tied: tuple[str, ...], kinks: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    if not np.all(fits):
        found.append("the model does not fit: memory capacity binds, whatever the derivatives of the spilled pass say")
    if np.any(share > top):
        found.append("launches and other software take longer than the binding resource; see overhead_share")
    if len(tied) > 1:
        found.append(f"tie: {', '.join(tied)} matter equally; the first is named")
    if kinks:
        found.append(
            f"kink: within the step another wall takes over where {', '.join(kinks)} changes; elasticities hold before it"
        )
    return tuple(found)
