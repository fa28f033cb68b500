"""Answers as text, Markdown, CSV and JSON documents. Verdict first."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..catalog import registry_of
from ..catalog.spec import Spec
from ..solvers import advice
from ..solvers.ledger import shown


@dataclass(frozen=True)
class Shown:
    """One answer, ready for every face."""

    title: str
    verdict: list[str]
    rows: list[tuple[str, str, str]]
    notes: list[str]
    hint: str
    data: dict[str, Any]

    def text(self) -> str:
        """Verdict, numbers with what they assume, one line on what would change them."""
        width = max(len(name) for name, _, _ in self.rows)
        wide = max(len(value) for _, value, _ in self.rows)
        lines = [self.title, *self.verdict, ""]
        lines += [f"  {name:<{width}}  {value:<{wide}}  {note}".rstrip() for name, value, note in self.rows]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, "", self.hint] if self.hint else lines)

    def markdown(self) -> str:
        """A heading, the verdict, a table."""
        table = _markdown(["", "value", "assumption"], self.rows)
        notes = "".join(f"\n- {note}" for note in self.notes)
        return "\n\n".join(
            part for part in (f"### {self.title}", " ".join(self.verdict), table + notes, self.hint) if part
        )

    def csv(self) -> str:
        """One row of data under its keys."""
        flat = {key: value for key, value in self.data.items() if not isinstance(value, (list, dict))}
        return _csv(list(flat), [list(flat.values())])

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return dict(self.data)


def evaluation(answer: Any) -> Shown:
    """The answer of ``mlsysim eval``."""
    asked, inside = answer.question.arguments, answer.si
    model, device, precision = asked["model"], asked["hardware"], asked["precision"]
    bound = advice.speed_of_light(answer)
    would = [] if answer.feasible else advice.remedies(answer)
    rows = [
        ("latency", shown(inside.latency, "second"), f"arithmetic {shown(inside.latency_compute, 'second')} or memory "
         f"{shown(inside.latency_memory, 'second')}, then launches {shown(inside.latency_overhead, 'second')}"),
        ("throughput", f"{shown(inside.throughput, '1')}/s", f"batch {asked['batch_size']}"),
        ("memory", shown(inside.memory_footprint, "byte"), f"weights {shown(inside.model_weights_size, 'byte')}, "
         f"caches and working memory {shown(inside.memory_footprint - inside.model_weights_size, 'byte')}"),
        ("intensity", f"{shown(inside.arithmetic_intensity, '1')} FLOP/B",
         f"the ridge is at {shown(inside.peak / inside.peak_bw_actual, '1')} FLOP/B"),
        ("MFU", f"{inside.mfu:.1%}", f"efficiency {asked['efficiency']:g} of the {shown(inside.peak, 'flop/second')} peak"),
        ("energy", shown(_known(inside.energy_per_inference), "joule"), f"an inference, at {shown(_known(inside.power), 'watt')}"),
    ]  # fmt: skip
    if bound is not None and answer.feasible:
        floor = bound.si
        light = max(float(floor.latency_compute), float(floor.latency_memory))
        rows.append(("light", shown(light, "second"), "bound at the full peak, without launches"))
    data = {
        "scenario": f"{model.id} on {device.id}",
        "model": model.id,
        "hardware": device.id,
        "batch_size": asked["batch_size"],
        "precision": precision,
        "efficiency": asked["efficiency"],
        "feasible": answer.feasible,
        "bottleneck": answer.bottleneck,
        "margin": _finite(answer.margin),
        "f_status": "PASS" if answer.feasible else "FAIL",
        "p_status": "PASS" if answer.feasible else "SKIPPED",
        "m_status": "SKIPPED",
        "f_memory_used_gb": inside.memory_footprint / 1e9,
        "memory_available_gb": inside.memory_capacity / 1e9,
        "p_latency": inside.latency * 1e3,
        "p_throughput": inside.throughput,
        "p_mfu": float(inside.mfu),
        "latency_compute_ms": inside.latency_compute * 1e3,
        "latency_memory_ms": float(inside.latency_memory * 1e3),
        "latency_overhead_ms": inside.latency_overhead * 1e3,
        "arithmetic_intensity": inside.arithmetic_intensity,
        "energy_per_inference_j": _finite(inside.energy_per_inference),
        "limits": [str(limit) for limit in answer.limits],
        "would_fit": would,
        "notes": list(answer.notes),
    }
    title = f"{model.name} on {device.name}, {precision}, batch {asked['batch_size']}"
    verdict = [_fit(answer)]
    if answer.feasible:
        other = "compute" if answer.bottleneck == "Memory" else "memory"
        share = "" if inside.overhead_share < 0.5 else f"; {inside.overhead_share:.0%} of the time is launches"
        verdict.append(f"{answer.bottleneck}-bound ({answer.margin:.1f}x over {other}): {_headline(answer)}{share}")
    else:
        verdict.append(f"as it is, with the rest streamed from host memory: {_headline(answer)}"
                       if device.si.host_bandwidth is not None else f"with enough memory it would take: {_headline(answer)}")  # fmt: skip
    return Shown(
        title, verdict, rows, list(answer.notes), _hint(answer, would), {k: _scalar(v) for k, v in data.items()}
    )


def serving(answer: Any, expected: Sequence[tuple[str, str, str]] = (), more: Mapping[str, Any] | None = None) -> Shown:
    """The answer of ``mlsysim serve``, with rows and keys of what measured kernels make of it."""
    asked, inside = answer.question.arguments, answer.si
    model, machine = asked["model"], asked["hardware"]
    group = f"{int(inside.devices)} x " if inside.devices > 1 else ""
    would = [] if answer.feasible else advice.remedies(answer)
    rows = [
        ("TTFT", shown(inside.ttft, "second"), _parts(inside, "prefill") + _transfer(inside)),
        ("ITL", shown(inside.itl, "second"), _parts(inside, "decode") + _drafting(inside)),
        ("throughput", f"{shown(inside.tokens_per_sec, '1')} tokens/s", f"batch {asked['batch_size']}, context {asked['seq_len']}"),
        ("memory", f"{shown(inside.memory_per_device, 'byte')} per device",
         f"weights {shown(inside.model_weights_size, 'byte')}, KV cache {shown(inside.kv_cache_size, 'byte')}, "
         f"working {shown(inside.activation_size, 'byte')} a device"),
        ("room for", f"{shown(inside.max_batch_size, '1')} requests", "of this context, in the memory that is left"),
        ("energy", f"{shown(_known(inside.energy_per_token), 'joule')}/token", "decoding, all devices of the group"),
    ]  # fmt: skip
    rows[2:2] = expected
    data = {
        "model": model.id,
        "hardware": machine.id,
        "devices": inside.devices,
        "seq_len": asked["seq_len"],
        "batch_size": asked["batch_size"],
        "precision": asked["precision"],
        "efficiency": asked["efficiency"],
        "tp": asked["tp_size"],
        "pp": asked["pp_size"],
        "ep": asked["ep_size"],
        "feasible": answer.feasible,
        "ttft_ms": inside.ttft * 1e3,
        "itl_ms": inside.itl * 1e3,
        "tokens_per_sec": inside.tokens_per_sec,
        "prefill_bottleneck": answer.prefill_bottleneck,
        "decode_bottleneck": answer.decode_bottleneck,
        "margin": _finite(answer.margin),
        "expected": (more or {}).get("expected"),
        "weights_gb": inside.model_weights_size / 1e9,
        "kv_cache_gb": inside.kv_cache_size / 1e9,
        "memory_per_device_gb": inside.memory_per_device / 1e9,
        "memory_available_gb": inside.memory_capacity / 1e9,
        "memory_utilization": inside.memory_utilization,
        "max_batch_size": inside.max_batch_size,
        "energy_per_token_j": _finite(inside.energy_per_token),
        "limits": [str(limit) for limit in answer.limits],
        "would_fit": would,
        "notes": list(answer.notes),
    }
    title = f"{model.name} on {group}{machine.name}, {asked['precision']}, efficiency {asked['efficiency']:g}"
    verdict = [
        _fit(answer),
        f"prefill is {answer.prefill_bottleneck}-bound, decoding {answer.decode_bottleneck}-bound ({answer.margin:.1f}x over the next)",
    ]
    return Shown(
        title, verdict, rows, list(answer.notes), _hint(answer, would), {k: _scalar(v) for k, v in data.items()}
    )


def _headline(answer: Any) -> str:
    return f"{answer.latency.to('ms').magnitude:,.2f} ms, {answer.throughput.magnitude:.0f} inferences/s"


def _parts(inside: Any, phase: str) -> str:
    names = (
        ("arithmetic", "compute"),
        ("memory", "memory"),
        ("collectives", "communication"),
        ("launches", "overhead"),
    )
    told = [f"{name} {shown(getattr(inside, f'{phase}_{part}'), 'second')}" for name, part in names
            if float(getattr(inside, f"{phase}_{part}")) > 0]  # fmt: skip
    return ", ".join(told)


def _drafting(inside: Any) -> str:
    if inside.draft_time == 0:
        return ""
    return f"; {shown(inside.draft_time, 'second')} of drafting, {float(inside.tokens_per_step):.2f} tokens a step"


def _transfer(inside: Any) -> str:
    return f", cache transfer {shown(inside.kv_transfer, 'second')}" if inside.kv_transfer else ""


def _fit(answer: Any) -> str:
    worst = max(answer.limits, key=lambda limit: float(limit.needed / limit.available))
    share = float(worst.needed / worst.available)
    if worst.met:
        return f"fits: {shown(worst.needed, worst.unit)} of {shown(worst.available, worst.unit)} ({share:.0%})"
    missing = shown(worst.needed - worst.available, worst.unit)
    need, have = shown(worst.needed, worst.unit), shown(worst.available, worst.unit)
    return f"DOES NOT FIT: needs {need}, has {have}; {missing} too much ({share:.2f}x)"


def _hint(answer: Any, would: Sequence[str]) -> str:
    if not answer.feasible:
        return "would fit: " + ("; ".join(would) if would else "nothing near in the catalog")
    levers = advice.levers(answer)
    return "to change it: " + "; ".join(levers) if levers else ""


def _known(value: Any) -> Any:
    return None if value is None or value != value else value


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if abs(number) < float("inf") else None


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


# -- zoo -------------------------------------------------------------------------------------------------------

COLUMNS: dict[str, list[tuple[str, str, str]]] = {
    "hardware": [("peak", "compute.peak_flops", "flop/second"), ("memory", "memory_capacity", "byte"),
                 ("bandwidth", "memory_bandwidth", "byte/second"), ("link, one way", "link_bandwidth", "byte/second"),
                 ("TDP", "tdp", "watt"), ("year", "release_year", "")],
    "models": [("architecture", "architecture", ""), ("parameters", "parameters", "1"), ("active", "active_parameters", "1"),
               ("layers", "layers", "1")],
    "infra": [("carbon", "carbon_intensity", "kilogram/joule"), ("PUE", "pue", "1"), ("price", "price", "USD/second"),
              ("power", "power", "watt")],
    "systems": [("accelerator", "accelerator", ""), ("per node", "accelerators_per_node", "1"), ("node", "node", ""),
                ("nodes", "count", "1"), ("bandwidth", "bandwidth", "byte/second"), ("link, one way", "link_bandwidth", "byte/second")],
}  # fmt: skip


def zoo(category: str, sort_by: str | None, search: str | None, output: str) -> str:
    """A table of the catalog."""
    registry = registry_of(category)
    entries = registry.list(sort_by)
    if search is not None:
        kept = {spec.id for spec in registry.search(search)}
        entries = [spec for spec in entries if spec.id in kept]
    if sort_by is None:
        entries.sort(
            key=lambda spec: list(registry.families).index(spec.family) if spec.family in registry.families else 99
        )
    columns = COLUMNS[category]
    if output == "json":
        return json.dumps({category: [summary(spec, columns) for spec in entries]}, indent=2, allow_nan=False)
    header = ["id", "name", *(title for title, _, _ in columns)]
    rows = [[spec.id, spec.name, *(_cell(spec, path, unit) for _, path, unit in columns)] for spec in entries]
    if output == "csv":
        return _csv(header, rows)
    if output == "markdown":
        return _markdown(header, rows)
    lines = []
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    family = None
    for spec, row in zip(entries, rows, strict=True):
        if sort_by is None and spec.family != family:
            family = spec.family
            lines += ["", f"{registry.families.get(family, family)}"]
        lines.append("  " + "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    head = "  " + "  ".join(f"{text:<{width}}" for text, width in zip(header, widths, strict=True)).rstrip()
    return "\n".join(
        [head, *lines, "", f"{len(entries)} entries; mlsysim zoo {category} ID shows one with its sources"]
    )


def summary(spec: Spec, columns: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """The main values of an entry in SI, as plain data."""
    data: dict[str, Any] = {"id": spec.id, "name": spec.name, "family": spec.family}
    for _, path, unit in columns:
        value = _value(spec, path)
        data[path.split(".")[-1]] = value.id if isinstance(value, Spec) else _scalar(value)
        if unit not in ("", "1"):
            data[f"{path.split('.')[-1]}_unit"] = unit
    return data


def _value(spec: Spec, path: str) -> Any:
    """A value as it is stored, SI or another entry; None where it is unknown."""
    found: Any = spec
    for part in path.split("."):
        found = object.__getattribute__(found, part) if hasattr(type(found), part) else None
        if found is None:
            return None
    return found


def _cell(spec: Spec, path: str, unit: str) -> str:
    value = _value(spec, path)
    if value is None:
        return ""
    if isinstance(value, Spec):
        return value.id
    if path == "release_year":
        return f"{value:.0f}"
    if unit == "1" and isinstance(value, float) and value >= 1e5:
        return next(
            f"{value / size:.4g} {letter}"
            for letter, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
            if value >= size
        )
    return shown(value, unit or None)


def entry(spec: Spec, output: str) -> str:
    """One entry with the source of every value."""
    facts = [(key, str(fact), fact) for key, fact in spec.facts.items()]
    if output == "json":
        values = {
            key: {"value": fact.value, "unit": fact.unit, "note": fact.note,
                  "source": {"kind": fact.source.kind, "title": fact.source.title, "url": fact.source.url,
                             "date": fact.source.date, "reason": fact.source.reason}}
            for key, _, fact in facts
        }  # fmt: skip
        head = {
            "id": spec.id,
            "name": spec.name,
            "family": spec.family,
            "aliases": list(spec.aliases),
            "note": spec.note,
        }
        return json.dumps({**head, "values": values}, indent=2)
    rows = [
        (key, told, fact.source.kind, fact.source.title, fact.source.url or fact.source.reason, fact.note)
        for key, told, fact in facts
    ]
    header = ["value", "", "kind", "source", "where", "note"]
    if output == "csv":
        return _csv(header, rows)
    if output == "markdown":
        return f"### {spec.name}\n\n" + _markdown(header, rows)
    sources = list(dict.fromkeys(fact.source for _, _, fact in facts))
    width = max((len(key) for key, _, _ in facts), default=0)
    wide = max((len(told) for _, told, _ in facts), default=0)
    lines = [f"{spec.name}  ({spec.id})", f"also called: {', '.join(spec.aliases)}" if spec.aliases else "", ""]
    lines += [
        f"  {key:<{width}}  {told:<{wide}}  [{sources.index(fact.source) + 1}] {fact.note}".rstrip()
        for key, told, fact in facts
    ]
    lines += ["", *(f"  [{i + 1}] {source}" for i, source in enumerate(sources))]
    lines += ["", f"note: {spec.note}"] if spec.note else []
    return "\n".join(lines)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in columns: text to the left, numbers to the right."""
    every = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in every) for i in range(len(header))]
    right = [all(re.fullmatch(r"[-+\d.,%]*", row[i]) for row in rows) for i in range(len(header))]
    lines = []
    for row in every:
        cells = (f"{t:>{w}}" if r else f"{t:<{w}}" for t, w, r in zip(row, widths, right, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *(line(row) for row in rows)])


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().rstrip("\n")
