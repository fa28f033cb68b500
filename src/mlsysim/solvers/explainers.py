"""Why one answer is slower than another: the ratio of two times, shared out to what changed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..catalog.spec import Spec
from ..errors import InvalidInputError
from .distributed_result import DistributedResult
from .ledger import shown
from .node import PerformanceProfile
from .result import Result
from .serving import ServingResult
from .serving_measured import MeasuredServingResult

SAME = 1e-12
"""Quantities that differ by less, relatively, are the same: they get no credit."""


@dataclass(frozen=True)
class Factor:
    """One cause of a time: its value in both answers, and what it did to the time."""

    name: str
    before: float
    after: float
    unit: str
    speedup: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "factor": self.name, "before": self.before, "after": self.after, "unit": self.unit,
            "speedup": self.speedup, "seconds": self.seconds,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Two answers to the same kind of question, and what makes the difference.

    ``speedup`` is the product of the speedups of the factors, and the change in seconds is the sum of theirs.
    """

    metric: str
    before: float
    after: float
    factors: tuple[Factor, ...]
    unchanged: tuple[str, ...]
    changed: Mapping[str, tuple[str, str]]
    bottlenecks: tuple[str, str]
    feasible: tuple[bool, bool]

    @property
    def speedup(self) -> float:
        """How many times faster the second answer is."""
        return self.before / self.after

    def to_dict(self) -> dict[str, Any]:
        """Plain data; times in seconds."""
        return {
            "metric": self.metric,
            "before": self.before,
            "after": self.after,
            "speedup": self.speedup,
            "factors": [factor.to_dict() for factor in self.factors],
            "unchanged": list(self.unchanged),
            "changed": {name: list(pair) for name, pair in self.changed.items()},
            "bottlenecks": list(self.bottlenecks),
            "feasible": list(self.feasible),
        }

    def __str__(self) -> str:
        """The verdict, what was changed, and the causes by weight."""
        ratio = self.speedup
        if abs(ratio - 1) <= SAME:
            verdict = "as fast as before"
        else:
            verdict = f"{ratio:.2f}x faster" if ratio > 1 else f"{1 / ratio:.2f}x slower"
        lines = [f"{self.metric}: {verdict} ({shown(self.before, 'second')} -> {shown(self.after, 'second')})"]
        for which, fits in zip(("first", "second"), self.feasible, strict=True):
            if not fits:
                lines.append(f"the {which} does not fit its memory; its times are those of spilling or of more memory")
        lines += [f"changed: {name}: {old} -> {new}" for name, (old, new) in self.changed.items()]
        one, two = self.bottlenecks
        lines.append(f"bound by {one} before and after" if one == two else f"bound by {one} before, {two} after")
        width = max((len(factor.name) for factor in self.factors), default=0)
        for factor in self.factors:
            effect = f"{factor.speedup:.2f}x faster" if factor.speedup >= 1 else f"{1 / factor.speedup:.2f}x slower"
            if abs(factor.speedup - 1) < 5e-3:
                effect = "no effect"
            values = f"{shown(factor.before, factor.unit)} -> {shown(factor.after, factor.unit)}"
            sign = "-" if factor.seconds < 0 else "+"
            lines.append(
                f"  {factor.name:<{width}}  {effect:<14} {sign}{shown(abs(factor.seconds), 'second')}  ({values})"
            )
        if self.unchanged:
            lines.append(f"  the same in both: {', '.join(self.unchanged)}")
        return "\n".join(lines)


class DifferentialExplainer:
    """Shares the change between two answers out to its causes."""

    @staticmethod
    def compare_performance(a: Any, b: Any, metric: str | None = None) -> Comparison:
        """What makes the second answer faster or slower than the first.

        The logarithm of the time is shared out by Shapley values over the factors that differ: each gets the mean, over
        every order of changing them one by one, of what its own change does. They add up to the logarithm of the ratio;
        seconds are shared in the same proportion by the logarithmic mean of both times.

        Args:
            a: an answer of :class:`SingleNodeModel`, :class:`TrainingStep`, :class:`ServingModel` or
                :class:`DistributedModel`
            b: an answer of the same kind
            metric: ``"itl"`` (the default) or ``"ttft"`` for serving

        Raises:
            InvalidInputError: answers of different kinds, or sweeps

        Examples:
            >>> from mlsysim import Engine
            >>> slow, fast = Engine.solve("Llama3_8B", "A100"), Engine.solve("Llama3_8B", "H100")
            >>> told = DifferentialExplainer.compare_performance(slow, fast)
            >>> f"{told.speedup:.2f}", told.factors[0].name
            ('1.60', 'memory bandwidth')
        """
        for name, answer in (("a", a), ("b", b)):
            if not isinstance(answer, (PerformanceProfile, ServingResult, DistributedResult)):
                raise InvalidInputError(
                    f"{name}: expected an answer about a node, serving or distributed training, found {type(answer).__name__}"
                )
            if answer.shape:
                raise InvalidInputError(f"{name}: expected one answer, found a sweep of shape {answer.shape}")
        if type(a) is not type(b):
            raise InvalidInputError(f"b: expected a {type(a).__name__} as a is, found {type(b).__name__}")
        name, time, units, first, second = _model(a, b, metric)
        factors, same = attribute(time, first, second, units)
        return Comparison(
            metric=name,
            before=time(first),
            after=time(second),
            factors=factors,
            unchanged=same,
            changed=_changed(a, b),
            bottlenecks=(str(a.bottleneck), str(b.bottleneck)),
            feasible=(bool(a.feasible), bool(b.feasible)),
        )


Values = dict[str, float]
Time = Callable[[Values], float]


def attribute(
    time: Time, first: Values, second: Values, units: Mapping[str, str]
) -> tuple[tuple[Factor, ...], tuple[str, ...]]:
    """The change of a time shared out to the values that differ, and the names of those that do not.

    Examples:
        >>> shares, same = attribute(lambda v: v["work"] / v["rate"] + v["wait"], {"work": 8.0, "rate": 1.0, "wait": 0.0},
        ...                          {"work": 4.0, "rate": 2.0, "wait": 0.0}, {})
        >>> [(f.name, round(f.speedup, 6), round(f.seconds, 6)) for f in shares], same
        ([('work', 2.0, -3.0), ('rate', 2.0, -3.0)], ())
    """
    moved = [n for n in first if not math.isclose(first[n], second[n], rel_tol=SAME, abs_tol=0.0)]
    same = tuple(n for n in first if n not in moved and (first[n] or second[n]))
    size = len(moved)
    worth: dict[frozenset[str], float] = {}
    for count in range(size + 1):
        for chosen in itertools.combinations(moved, count):
            worth[frozenset(chosen)] = math.log(time({**first, **{n: second[n] for n in chosen}}))
    weight = [math.factorial(k) * math.factorial(size - k - 1) / math.factorial(size) for k in range(size)]
    before, after = time(first), time(second)
    mean = before if math.isclose(before, after, rel_tol=SAME) else (after - before) / math.log(after / before)
    found = []
    for name in moved:
        others = [n for n in moved if n != name]
        share = sum(
            weight[count] * (worth[frozenset((*chosen, name))] - worth[frozenset(chosen)])
            for count in range(size)
            for chosen in itertools.combinations(others, count)
        )
        found.append(Factor(name, first[name], second[name], units.get(name, "1"), math.exp(-share), share * mean))
    return tuple(sorted(found, key=lambda factor: -abs(factor.seconds))), same


def _model(a: Any, b: Any, metric: str | None) -> tuple[str, Time, Mapping[str, str], Values, Values]:
    if isinstance(a, DistributedResult):
        return "step", lambda v: sum(v.values()), dict.fromkeys(STEP.values(), "second"), _step(a), _step(b)
    if isinstance(a, ServingResult):
        wanted = "itl" if metric is None else metric
        if wanted not in ("itl", "ttft"):
            raise InvalidInputError(f"metric: expected itl or ttft, found {metric!r}")
        phase = "decode" if wanted == "itl" else "prefill"
        if isinstance(a, MeasuredServingResult):
            return wanted.upper(), _kernel_time, KERNEL_UNITS, _kernels(a, phase), _kernels(b, phase)
        return wanted.upper(), _serving_time, SERVING_UNITS, _serving(a, phase), _serving(b, phase)
    return "latency", _node_time, NODE_UNITS, _node(a), _node(b)


NODE_UNITS = {
    "work": "flop", "arithmetic rate": "flop/second", "bytes moved": "byte", "memory bandwidth": "byte/second",
    "spill to the host": "1", "launches": "second",
}  # fmt: skip


def _node(answer: Any) -> Values:
    i = answer.si
    streamed = i.traffic / i.peak_bw_actual
    return {
        # arithmetic that is done, not only what the model needs: recomputation is work too
        "work": float(i.latency_compute * i.peak_flops_actual),
        "arithmetic rate": float(i.peak_flops_actual),
        "bytes moved": float(i.traffic),
        "memory bandwidth": float(i.peak_bw_actual),
        "spill to the host": 1.0 if answer.feasible else float(i.latency_memory / streamed),
        "launches": float(i.latency_overhead),
    }


def _node_time(v: Values) -> float:
    moving = v["bytes moved"] / v["memory bandwidth"] * v["spill to the host"]
    return max(v["work"] / v["arithmetic rate"], moving) + v["launches"]


SERVING_UNITS = {
    "arithmetic": "second", "bytes moved": "byte", "memory bandwidth": "byte/second", "collectives": "second",
    "launches": "second", "moving the cache": "second", "drafting": "second", "tokens a step": "1",
}  # fmt: skip


def _serving(answer: Any, phase: str) -> Values:
    i, machine = answer.si, answer.question.arguments["hardware"]
    if phase == "decode":
        machine = answer.question.arguments.get("decode_hardware") or machine
    chip = getattr(getattr(machine, "node", machine), "accelerator", None) or getattr(machine, "accelerator", machine)
    bandwidth = float(chip.si.memory_bandwidth)
    decoding = phase == "decode"
    return {
        "arithmetic": float(getattr(i, f"{phase}_compute")),
        "bytes moved": float(getattr(i, f"{phase}_memory")) * bandwidth,
        "memory bandwidth": bandwidth,
        "collectives": float(getattr(i, f"{phase}_communication")),
        "launches": float(getattr(i, f"{phase}_overhead")),
        "moving the cache": 0.0 if decoding else float(i.kv_transfer),
        "drafting": float(i.draft_time) if decoding else 0.0,
        "tokens a step": float(i.tokens_per_step) if decoding else 1.0,
    }


def _serving_time(v: Values) -> float:
    busy = max(v["arithmetic"], v["bytes moved"] / v["memory bandwidth"])
    rest = v["collectives"] + v["launches"] + v["moving the cache"] + v["drafting"]
    return (busy + rest) / v["tokens a step"]


KERNEL_UNITS = {
    "kernels bound by arithmetic": "second", "kernels bound by memory": "second", "collectives": "second",
    "host": "second", "moving the cache": "second", "drafting": "second", "tokens a step": "1",
}  # fmt: skip


def _kernels(answer: Any, phase: str) -> Values:
    """Parts of an answer made operator by operator: they add up, nothing overlaps."""
    i, decoding = answer.si, phase == "decode"
    names = list(KERNEL_UNITS)
    parts = [float(getattr(i, f"{phase}_{part}")) for part in ("compute", "memory", "communication", "overhead")]
    rest = [0.0, float(i.draft_time), float(i.tokens_per_step)] if decoding else [float(i.kv_transfer), 0.0, 1.0]
    return dict(zip(names, parts + rest, strict=True))


def _kernel_time(v: Values) -> float:
    return sum(value for name, value in v.items() if name != "tokens a step") / v["tokens a step"]


STEP = {
    "compute_latency": "compute", "tp_communication_latency": "tensor parallel",
    "ep_communication_latency": "expert parallel", "cp_communication_latency": "context parallel",
    "pp_communication_latency": "pipeline sends", "dp_communication_latency": "data parallel",
    "pipeline_bubble_latency": "pipeline bubble", "update_latency": "optimizer update",
    "straggler_latency": "stragglers",
}  # fmt: skip


def _step(answer: Any) -> Values:
    return {name: float(getattr(answer.si, part)) for part, name in STEP.items()}


def _changed(a: Result, b: Result) -> dict[str, tuple[str, str]]:
    """Arguments that differ."""
    first, second = a.question.arguments, b.question.arguments

    def told(value: Any) -> str:
        return value.id if isinstance(value, Spec) else str(value)

    found = {}
    for name in dict.fromkeys([*first, *second]):
        one, two = first.get(name), second.get(name)
        if isinstance(one, Spec) and isinstance(two, Spec) and one is not two and one.id == two.id:
            facts = [k for k in two.facts if str(two.facts[k]) != str(one.facts.get(k, ""))]
            for key in facts:
                found[f"{name}.{key}"] = (str(one.facts.get(key, "unknown")), str(two.facts[key]))
        elif told(one) != told(two):
            found[name] = (told(one), told(two))
    return found
