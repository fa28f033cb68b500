"""Scorecards, comparisons and choices as text, Markdown, CSV and JSON. Verdict first."""

from __future__ import annotations

import json
import math
from typing import Any
from xml.etree import ElementTree

from ..record import field_units
from ..solvers.ledger import shown
from .render import Shown, _csv, _markdown


def scorecard(card: Any, held: list[Any]) -> Shown:
    """A plan: three levels, what was asserted, every number."""
    verdict = [f"{level.level_name:<12} {level.status:<8} {level.summary}" for level in card.levels]
    for item in held:
        verdict.append(f"{'assertion':<12} {'PASS' if item.held else 'FAIL':<8} {item}")
    data = {
        **card.to_dict(),
        "feasible": card.feasible,
        "passed_all": card.passed_all and all(item.held for item in held),
        "summaries": {level.level_name: level.summary for level in card.levels},
        "settings": {"job": card.settings["job"], **{k: v for k, v in card.settings["plan"].items()}},
        "assertions": [
            {"metric": i.metric, "value": i.value, "min": i.least, "max": i.most, "unit": i.unit, "held": bool(i.held)}
            for i in held
        ],
        "notes": list(card.notes),
    }
    broken = [item.metric for item in held if not item.held]
    hint = f"does not hold: {', '.join(broken)}" if broken else ""
    return Shown(card.scenario_name, verdict, card.rows(), list(card.notes), hint, data)


def junit(card: Any, held: list[Any]) -> str:
    """Levels and assertions as a JUnit report."""
    suite = ElementTree.Element("testsuite", name=card.scenario_name)
    failures = skipped = 0
    for level in card.levels:
        case = ElementTree.SubElement(suite, "testcase", classname="level", name=level.level_name)
        if level.status == "FAIL":
            failures += 1
            ElementTree.SubElement(case, "failure", message=level.summary)
        elif level.status != "PASS":
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=level.summary)
    for item in held:
        case = ElementTree.SubElement(suite, "testcase", classname="assertion", name=item.metric)
        if not item.held:
            failures += 1
            ElementTree.SubElement(case, "failure", message=str(item))
    suite.attrib |= {"tests": str(len(suite)), "failures": str(failures), "skipped": str(skipped)}
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def compared(told: Any, a: Any, b: Any) -> Shown:
    """Two answers of one kind: the causes of the difference, and the main figures of both."""
    head = [line for line in str(told).splitlines() if not line.startswith("  ")]
    rows = [
        (factor.name, _effect(factor.speedup),
         f"{_signed(factor.seconds)}; {shown(factor.before, factor.unit)} -> {shown(factor.after, factor.unit)}")
        for factor in told.factors
    ] or [("nothing", "no effect", "both answers rest on the same numbers")]  # fmt: skip
    names = [name for name in FIGURES if hasattr(type(a), name)]
    names = [name for name in names if name != "throughput" or "tokens_per_sec" not in names]
    units = field_units(type(a))
    for name in names:
        pair = [shown(getattr(answer.si, name), units.get(name)) for answer in (a, b)]
        rows.append((FIGURES[name], "", " -> ".join(pair)))
    same = f"the same in both: {', '.join(told.unchanged)}" if told.unchanged else ""
    titles = " against ".join(_title(answer) for answer in (a, b))
    data = {**told.to_dict(), "a": _figures(a, names), "b": _figures(b, names)}
    return Shown(titles, head, rows, [], same, data)


def plans_compared(cards: tuple[Any, Any], told: Any) -> Shown:
    """Two scorecards side by side, with causes where both did the same kind of work."""
    first, second = (card.metrics() for card in cards)
    rows = []
    for name in dict.fromkeys([*first, *second]):
        pair = [_cell(side.get(name)) for side in (first, second)]
        rows.append((name, pair[0], pair[1]))
    head = [] if told is None else str(told).splitlines()
    data = {"a": cards[0].to_dict(), "b": cards[1].to_dict(), "comparison": None if told is None else told.to_dict()}
    return Shown(f"{cards[0].scenario_name} against {cards[1].scenario_name}", head, rows, [], "", data)


def split(answer: Any) -> Shown:
    """The best plan of a training step."""
    i, best = answer.si, answer.best_config
    ranks = " ".join(f"{name.upper()} {best[name]}" for name in ("dp", "tp", "pp", "ep", "cp"))
    verdict = [
        f"{ranks}: {shown(i.best_step_time, 'second')} a step, MFU {i.best_mfu:.1%}" if answer.feasible
        else "DOES NOT FIT: no plan does; shown is the one that needs least memory",
    ]  # fmt: skip
    rows = [
        ("memory", shown(i.best_memory, "byte"), f"of {shown(i.memory_capacity, 'byte')} a device"),
        ("throughput", f"{shown(i.best_throughput, '1')}/s", f"samples, batch {i.batch:g}"),
        ("micro-batches", str(best["microbatch_count"]), f"of {best['microbatch_size']} samples"),
        ("ZeRO stage", str(best["zero_stage"]), f"recomputation {best['activation_recomputation']}"),
        ("stages", str(best["v_stages"]), "chunks of a pipeline stage"),
        ("searched", f"{i.search_space_size:,.0f}", f"plans, of which {i.feasible_plans:,.0f} fit"),
    ]
    rows += [(f"next {n}", shown(c["step_time"], "second"), " ".join(f"{k.upper()} {c[k]}" for k in ("dp", "tp", "pp", "ep", "cp")))
             for n, c in enumerate(answer.top_candidates[1:], 2)]  # fmt: skip
    asked = answer.question.arguments
    title = f"{asked['model'].name} on {asked['fleet'].name}, {asked['precision']}"
    hint = "; ".join(answer.why[:3])
    return Shown(title, verdict, rows, list(answer.notes), hint, _document(answer))


def batch(answer: Any) -> Shown:
    """The best batch of a service."""
    i = answer.si
    verdict = [
        f"up to {i.best_batch_size:g} requests at a time: p99 {shown(i.p99_latency, 'second')}" if answer.feasible
        else f"NO BATCH MEETS IT: p99 {shown(i.p99_latency, 'second')} at best, wanted {shown(i.sla_latency, 'second')}",
    ]  # fmt: skip
    rows = [
        ("capacity", f"{shown(i.max_throughput, '1')} tokens/s", "all replicas, full"),
        ("served", f"{shown(i.served_throughput, '1')} tokens/s", "at the load given"),
        ("active", shown(i.mean_active, "1"), "requests of a replica, on average"),
        (
            "misses",
            f"{float(i.slo_violation_probability):.2%}",
            f"of requests take longer than {shown(i.sla_latency, 'second')}",
        ),
    ]
    asked = answer.question.arguments
    return Shown(
        f"{asked['model'].name} on {asked['hardware'].name}", verdict, rows, list(answer.notes), "", _document(answer)
    )


def region(answer: Any) -> Shown:
    """The best region, and the others."""
    rows = [
        (c["region"], f"{c['tco_usd']:,.0f} USD", f"{c['carbon_kg'] / 1e3:,.4g} t CO2e, PUE {c['pue']:.2f}")
        for c in answer.top_candidates
    ]
    goal = answer.question.arguments["objective"]
    best = answer.top_candidates[0]
    verdict = [f"{answer.best_region}: {best['tco_usd']:,.0f} USD, {best['carbon_kg'] / 1e3:,.4g} t CO2e (best {goal})"]
    return Shown(answer.question.arguments["fleet"].name, verdict, rows, list(answer.notes), "", _document(answer))


def walls(found: list[Any], output: str) -> str:
    """The walls as a table, or one of them in full."""
    if output == "json":
        return json.dumps(
            {"walls": [
                {"number": w.number, "name": w.name, "domain": w.domain, "constraint": w.constraint, "equation": w.equation,
                 "resolvers": list(w.resolvers), "sources": list(w.sources)}
                for w in found
            ]},
            indent=2,
        )  # fmt: skip
    header = ["", "wall", "domain", "equation", "resolver"]
    rows = [[str(w.number), w.name, w.domain, w.equation, w.resolver_name] for w in found]
    if output == "csv":
        return _csv(header, rows)
    if output == "markdown":
        return _markdown(header, rows)
    if len(found) == 1:
        one = found[0]
        lines = [f"wall {one}, {one.domain}", one.constraint, f"  equation   {one.equation}"]
        lines += [f"  resolvers  {', '.join(one.resolvers)}", *(f"  source     {source}" for source in one.sources)]
        return "\n".join(lines)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    )


def _effect(speedup: float) -> str:
    if abs(speedup - 1) < 5e-3:
        return "no effect"
    return f"{speedup:.2f}x faster" if speedup > 1 else f"{1 / speedup:.2f}x slower"


def _signed(seconds: float) -> str:
    return f"{'-' if seconds < 0 else '+'}{shown(abs(seconds), 'second')}"


def _title(answer: Any) -> str:
    asked = answer.question.arguments
    machine = asked["hardware"]
    return (
        f"{asked['model'].id} on {getattr(machine, 'id', machine)}, {asked['precision']}, batch {asked['batch_size']}"
    )


FIGURES = {
    "ttft": "TTFT", "itl": "ITL", "tokens_per_sec": "tokens/s", "memory_per_device": "memory of a device",
    "latency": "latency", "throughput": "per second", "memory_footprint": "memory", "energy_per_token": "energy of a token",
    "energy_per_inference": "energy of an inference",
}  # fmt: skip
"""Figures of an answer that a comparison shows, SI."""


def _figures(answer: Any, names: list[str]) -> dict[str, Any]:
    numbers = {name: float(getattr(answer.si, name)) for name in names}
    known = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    return {"of": _title(answer), "feasible": bool(answer.feasible), "bottleneck": str(answer.bottleneck), **known}


def _document(answer: Any) -> dict[str, Any]:
    return {"feasible": bool(getattr(answer, "feasible", True)), **answer.to_dict()}


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    return value if isinstance(value, str) else shown(value, None)
