"""The appendix: every value of the catalog and every assumed constant, with its source, a page for each kind.

The pages are made while the site is built, from the same files that the solvers read. Nobody writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from mlsysim.catalog import Defaults, Formats, Hardware, Infra, Models, Systems, efficiency
from mlsysim.catalog.stacks import Stacks
from mlsysim.catalog.training_stacks import TrainingStacks

KINDS = {
    "hardware": ("Hardware", (Hardware,), "accelerators, processors, boards and microcontrollers"),
    "models": ("Models", (Models,), "language, vision, speech, diffusion, recommendation and tiny models"),
    "infrastructure": ("Infrastructure", (Infra,), "grids, sites, racks, prices and failure records"),
    "systems": ("Systems", (Systems,), "nodes, networks, clusters and tiers"),
    "constants": (
        "Constants",
        (Defaults, Formats, Stacks, TrainingStacks),
        "assumptions, number formats and software stacks",
    ),
    "efficiency": ("Fitted efficiency", (), "families of kernels to measurements, on devices and generations"),
}
HEADER = "---\nsearch:\n  exclude: true\nhide: [toc]\n---\n"


def facts(kind: str) -> Iterator[tuple[str, str, str, str]]:
    """Entry, name of the value, the value and its origin, for every value of a kind."""
    for registry in KINDS[kind][1]:
        for entry in registry:
            for name, fact in entry.facts.items():
                note = f" <em>{escape(fact.note)}</em>" if fact.note else ""
                yield entry.id, name, f"{written(fact.value)} {fact.unit}".strip(), origin(fact.source) + note
    if kind == "efficiency":
        for family in efficiency.families().values():
            for fit in family.fits:
                told = "" if fit.median is None else f"; {fit.n:,} rows, median error {fit.median:.1%}"
                values = ", ".join(f"{name} {value:g}" for name, value in fit.values.items())
                yield f"{family.id}, {fit.scope}, {fit.kernel}", "parameters", values, origin(fit.source) + told


def written(value: Any) -> str:
    """A value as a table shows it: a large whole number with commas, anything else as its file has it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() and 1e4 <= abs(value) < 1e15 else f"{value:g}"


def origin(source: Any) -> str:
    """Kind and title of a source, as a link where there is one, with the reason where there is one."""
    title = escape(source.title)
    if source.url.startswith("http"):
        title = f'<a href="{escape(source.url)}">{title}</a>'
    reason = f"; {escape(source.reason)}" if source.reason else ""
    return f"{source.kind}: {title}{reason}"


def page(kind: str) -> str:
    """One page: a table of every value, in HTML, which Markdown leaves alone."""
    title, _, told = KINDS[kind]
    rows, last = [], ""
    for entry, name, value, source in facts(kind):
        head = f'<th scope="rowgroup">{escape(entry)}</th>' if entry != last else "<th></th>"
        rows.append(f"<tr>{head}<td>{escape(name)}</td><td>{escape(value)}</td><td>{source}</td></tr>")
        last = entry
    table = "<table>\n<tr><th>entry</th><th>value</th><th></th><th>source</th></tr>\n" + "\n".join(rows) + "\n</table>"
    others = ", ".join(f"[{label}]({name}.md)" for name, (label, _, _) in KINDS.items() if name != kind)
    noun = "fits" if kind == "efficiency" else "values"
    return (
        f"{HEADER}# Appendix: {title.lower()}\n\nAll {len(rows):,} {noun} of {told}. See also: {others}.\n\n{table}\n"
    )


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs with the files of the site: add the generated ones."""
    from mkdocs.structure.files import File, InclusionLevel

    for kind in KINDS:
        files.append(File.generated(config, f"appendix/{kind}.md", content=page(kind),
                                    inclusion=InclusionLevel.NOT_IN_NAV))  # fmt: skip
    return files
