"""Lists that pages show and nobody writes: walls, catalog, equations, sources, public names, decisions."""

from __future__ import annotations

import functools
import inspect
import json
import pkgutil
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import mlsysim
from mlsysim import physics
from mlsysim.catalog import Hardware, Infra, Models, Systems

DOCS = Path(__file__).parents[1]
URL = re.compile(r"(https?://[^\s,;)]+)")
DOI = re.compile(r"\b(?:doi:\s?)(10\.\d{4,}/[^\s;,]+[^\s;,.])")
ARXIV = re.compile(r"\barXiv:\s?(\d{4}\.\d{4,5})")

HEADS = {
    "peak_fp16": "FP16", "peak_int8": "INT8", "memory_capacity": "memory", "memory_bandwidth": "bandwidth", "tdp": "TDP",
    "release_year": "year", "max_context": "context", "active_parameters": "active", "multiply_adds": "multiply-adds",
    "input_resolution": "input", "carbon_intensity": "carbon", "primary_source": "main source", "wue": "WUE", "pue": "PUE",
    "electricity_price": "price", "accelerators_per_node": "per node", "link_bandwidth": "link", "nic_bandwidth": "NIC",
    "price_input": "input", "price_output": "output", "oversubscription_ratio": "oversubscription",
}  # fmt: skip
COLUMNS = {
    "hardware": ["release_year", "peak_fp16", "peak_int8", "memory_capacity", "memory_bandwidth", "tdp", "price"],
    "language": [
        "release_year",
        "parameters",
        "active_parameters",
        "layers",
        "hidden",
        "heads",
        "kv_heads",
        "max_context",
    ],
    "multimodal": ["release_year", "parameters", "vision_parameters", "layers", "hidden", "kv_heads", "max_context"],
    "models": ["release_year", "parameters", "layers", "multiply_adds", "input_resolution"],
    "grids": ["carbon_intensity", "primary_source", "basis", "pue", "wue", "electricity_price"],
    "racks": ["power", "cooling", "units_height"],
    "datacenters": ["provider", "grid", "pue", "wue"],
    "prices": ["provider", "accelerator", "accelerators", "price", "price_input", "price_output", "price_egress"],
    "reliability": ["component", "mtbf", "accelerators", "failures", "duration"],
    "nodes": ["accelerator", "accelerators_per_node", "link_bandwidth", "nic_bandwidth", "host_memory", "power"],
    "fabrics": ["topology", "bandwidth", "latency", "oversubscription_ratio"],
    "clusters": ["node", "count", "fabric", "region"],
    "tiers": ["ram", "storage", "latency_budget"],
}


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; bars in a cell are escaped."""
    lines = [list(headers), ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def shown(fact: Any) -> str:
    """A fact as its file states it, with thousands made readable."""
    value = fact.value
    if isinstance(value, float) and (value >= 1e6 or value == int(value)):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        if fact.unit:
            return f"{value:,}&nbsp;{fact.unit}"
        for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
            if value >= size:
                value = f"{value / size:.4g} {letter}"
                break
    return f"{value}&nbsp;{fact.unit}" if fact.unit else str(value)


def sources(entry: Any) -> str:
    """The distinct sources of an entry: a number that links, or the kind and the reason on hover."""
    found = []
    for index, source in enumerate(dict.fromkeys(fact.source for fact in entry.facts.values()), 1):
        title = f"{source.kind}: {source.title}" + (f" ({source.reason})" if source.reason else "")
        title = title.replace('"', "'").replace("<", "&lt;").replace(">", "&gt;")
        if source.url.startswith("http"):
            found.append(f'<a href="{source.url}" title="{title}">{index}</a>')
        else:
            found.append(f'<span title="{title}">{source.kind}</span>')
    return " ".join(found)


def catalog(registry: Any, kind: str) -> str:
    """A section for every family of a registry, a row for every entry."""
    families: dict[str, list[Any]] = {}
    for entry in registry.list():
        families.setdefault(entry.family, []).append(entry)
    parts = []
    for family, entries in families.items():
        keys = COLUMNS.get(family) or COLUMNS[kind]
        keys = [key for key in keys if any(key in entry.facts for entry in entries)]
        rows = [
            [
                f"`{entry.id}`",
                entry.name,
                *(shown(entry.facts[key]) if key in entry.facts else "" for key in keys),
                sources(entry),
            ]
            for entry in entries
        ]
        heads = [HEADS.get(key, key.replace("_", " ")) for key in keys]
        parts.append(f"## {family}\n\n{markdown_table(['id', 'name', *heads, 'sources'], rows)}")
    return "\n\n".join(parts)


def linked(text: str) -> str:
    """Text with its addresses, DOIs and arXiv numbers as links, and `<` made safe."""
    text = URL.sub(r"<\1>", text.replace("<", "&lt;"))
    text = DOI.sub(r"[doi:\1](https://doi.org/\1)", text)
    return ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def walls() -> str:
    """The 22 walls, a section each."""
    parts = []
    domain = ""
    for wall in mlsysim.walls.all_walls():
        if wall.domain != domain:
            domain = wall.domain
            parts.append(f"## {domain.capitalize()}")
        solvers = ", ".join(f"`{name}`" for name in wall.resolvers)
        papers = "; ".join(linked(source) for source in wall.sources)
        parts.append(f"### {wall.number}. {wall.name}\n\n{wall.constraint[0].upper()}{wall.constraint[1:]}.\n\n"
                     f"    {wall.equation}\n\n- Asked by {solvers}.\n- Source: {papers or 'by definition'}")  # fmt: skip
    return "\n\n".join(parts)


@functools.cache
def equations() -> list[Callable[..., Any]]:
    """Every equation of the package, by module."""
    for module in pkgutil.iter_modules(physics.__path__):
        import_module(f"mlsysim.physics.{module.name}")
    unique = {(e.__module__, e.__name__): e for e in physics.EQUATIONS if e.__module__.startswith("mlsysim.")}
    return [unique[key] for key in sorted(unique)]


def formula(equation: Callable[..., Any]) -> str:
    """The first formula of a docstring, in TeX."""
    found = re.search(r"\.\. math::[ \t]*(.+(?:\n[ \t]+\S.*)*)", inspect.getdoc(equation) or "")
    return " ".join(found[1].split()) if found else ""


def section(equation: Callable[..., Any], name: str) -> str:
    """A section of a docstring in one line."""
    found = re.search(rf"^{name}:\n((?:[ ]+.*\n?|\n(?=[ ]))+)", inspect.getdoc(equation) or "", re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def cheatsheet() -> str:
    """Every equation in a line or two: what it is, formula, name."""
    parts: list[str] = []
    module = ""
    for equation in equations():
        if equation.__module__ != module:
            module = equation.__module__
            parts.append(f"## {module.rsplit('.', 1)[1].replace('_', ' ').capitalize()}")
        first = (inspect.getdoc(equation) or "").split("\n")[0]
        tex = formula(equation)
        parts.append(f"**`{equation.__name__}`** {first}" + (f"\n\n$$ {tex} $$" if tex else ""))
    return "\n\n".join(parts)


def cited() -> list[tuple[str, list[str]]]:
    """Every source that an equation cites, in order, with the names of the equations that cite it."""
    citing: dict[str, list[str]] = {}
    for equation in equations():
        citing.setdefault(section(equation, "Source").rstrip("."), []).append(f"`{equation.__name__}`")
    return sorted(((source, names) for source, names in citing.items() if source), key=lambda pair: pair[0].lower())


def references() -> str:
    """Every source that an equation cites, with the equations that cite it."""
    return "\n".join(f"- {linked(source)}. Used by {', '.join(names)}." for source, names in cited())


def bibtex() -> str:
    """The same sources as BibTeX entries, and those of catalog values that have a page of their own."""
    entries: dict[str, list[str]] = {}
    for source, _ in cited():
        fields = [f"  note = {{{source}}}"]
        doi, eprint = re.search(r"doi:(10\.[^\s,;)]+)", source), re.search(r"arXiv:(\d{4}\.\d{4,5})", source)
        fields += [f"  doi = {{{doi[1].rstrip('.')}}}"] if doi else []
        fields += [f"  eprint = {{{eprint[1]}}},\n  archiveprefix = {{arXiv}}"] if eprint else []
        entries.setdefault(key_of(source), fields)
    for registry in (Hardware, Models, Infra, Systems):
        for entry in registry:
            for fact in entry.facts.values():
                if fact.source.url:
                    title, url = fact.source.title.replace("{", "(").replace("}", ")"), fact.source.url
                    entries.setdefault(key_of(title + url), [f"  title = {{{title}}}", f"  url = {{{url}}}"])
    found = "\n\n".join(f"@misc{{{key},\n" + ",\n".join(fields) + "\n}" for key, fields in sorted(entries.items()))
    return f"```bibtex\n{found}\n```"


def key_of(source: str) -> str:
    """A key for a source: its first word, a year if it has one, and a checksum that keeps keys apart."""
    word = re.search(r"[A-Za-z]{3,}", source)
    year = re.search(r"\b(19|20)\d\d\b", source)
    return f"{word[0].lower() if word else 'source'}{year[0] if year else ''}-{zlib.crc32(source.encode()):08x}"


def public_names() -> str:
    """Every name that the top of the package has, with its first line and its home."""
    rows = []
    for name in mlsysim.__all__:
        value = getattr(mlsysim, name)
        kind = type(value).__name__ if not inspect.isclass(value) and not inspect.ismodule(value) else ""
        if kind in ("Registry", "Family", "Named"):
            first = "entries of the catalog, by name"
        elif name == "ureg":
            first = "the one registry of units"
        else:
            first = (inspect.getdoc(value) or "").split("\n")[0].replace(":meth:", "").replace(":class:", "")
        home = mlsysim._WHERE.get(name) or mlsysim._MODULES.get(name) or ""
        if home == "solvers" and name in mlsysim.solvers.RESOLVERS:
            home = f"solvers.{mlsysim.solvers.RESOLVERS[name]}"
        rows.append([f"`{name}`", first, f"`mlsysim.{home}`" if home else "`mlsysim`"])
    return markdown_table(["name", "what it is", "home"], rows)


def decisions() -> str:
    """The decision records by number."""
    lines = []
    for path in sorted((DOCS / "decisions").glob("*.md")):
        title = path.read_text(encoding="utf-8").split("\n")[0].lstrip("# ")
        lines.append(f"- [{title}](../decisions/{path.name})")
    return "\n".join(lines)


def scoreboard(*subjects: str) -> str:
    """Errors of every family of predictions of some subjects, a row for each split; its groups are left to the command."""
    from mlsysim.validation import board

    scores: list[Any] = []
    for module, name in (maker for subject in subjects for maker in board.SUBJECTS[subject]):
        maker = getattr(import_module(f"mlsysim.validation.{module}"), name)
        found = maker(grouped=False) if "grouped" in inspect.signature(maker).parameters else maker()
        scores += [score for score in found if score.group == "all"] or found
    rows = [[row[0] if row[2] == "all" else f"{row[0]}, {row[2]}", row[1], *row[3:]] for row in board.table(scores)]
    return markdown_table(["family", "split", *board.HEADER[3:]], [[str(cell) for cell in row] for row in rows])


def _stored(name: str) -> Any:
    return json.loads((DOCS / "accuracy" / f"{name}.json").read_text(encoding="utf-8"))


def aims() -> str:
    """What the studies reached, what was aimed for, and what the published scoreboard says now."""
    board = {(row["family"], row["split"], row["group"]): row for row in _stored("board")["rows"]}
    rows = []
    for aim in _stored("aims"):
        row = board[aim["family"], aim["split"], aim["group"]]
        got = [100 * row["median_abs_error"], 100 * row["p90_abs_error"]]

        def met(wanted: Sequence[float], got: Sequence[float] = got) -> bool:
            return all(value <= most for value, most in zip(got, wanted, strict=True))

        verdict = "aim met" if met(aim["aim"]) else "better than before" if met(aim["before"]) else "**missed**"
        told = [" / ".join(f"{value:g}" for value in aim[key]) for key in ("before", "aim")]
        rows.append([aim["what"], *told, f"{got[0]:.1f} / {got[1]:.1f}", verdict])
    return markdown_table(["what", "best form known before", "aim", "now", ""], rows)


def ablation() -> str:
    """What each term of a form buys."""
    rows = [
        [row["family"], row["term"], f"{row['n']:,}", f"{100 * row['full']:.1f}", f"{100 * row['without']:.1f}"]
        for row in _stored("ablation")
    ]
    return markdown_table(["family", "term taken out", "rows", "with it", "without it"], rows)


def worst() -> str:
    """The worst row of every family among those that no parameter has seen."""
    rows = []
    for row in _stored("board")["rows"]:
        blind = row["split"] in ("holdout", "open", "validation")
        if row["group"] == "all" and row["worst"] and blind and row["family"] != "mla" and row["family"][-4:] != "_raw":
            case = row["worst"][0]
            hidden = ("error", "assumed", "kernel")
            told = ", ".join(f"{key} {value}" for key, value in case.items() if key not in hidden)
            rows.append([row["family"], row["split"], f"{100 * case['error']:+.0f}", told.replace("_", "\\_")])
    return markdown_table(["family", "split", "error", "row"], rows)


LISTS: dict[str, Callable[[], str]] = {
    "walls": walls,
    "hardware": lambda: catalog(Hardware, "hardware"),
    "models": lambda: catalog(Models, "models"),
    "infrastructure": lambda: catalog(Infra, "infra"),
    "systems": lambda: catalog(Systems, "systems"),
    "equations": cheatsheet,
    "sources": references,
    "bibtex": bibtex,
    "public names": public_names,
    "decisions": decisions,
    "scoreboard of kernels": lambda: scoreboard("kernels", "collectives"),
    "scoreboard of serving": lambda: scoreboard("serving"),
    "scoreboard of training": lambda: scoreboard("training", "energy"),
    "scoreboard of vision": lambda: scoreboard("vision"),
    "scoreboard of inference": lambda: scoreboard("inference"),
    "aims": aims,
    "ablation": ablation,
    "worst cases": worst,
}
