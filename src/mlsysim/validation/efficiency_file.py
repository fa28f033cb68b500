"""Write an efficiency file of the catalog, one line a fit's values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(document: Mapping[str, Any], path: Path) -> None:
    """A document of :func:`calibrate` as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(document))


def text_of(document: Mapping[str, Any]) -> str:
    """The YAML of a document, in flow style where a line holds it."""
    import yaml

    def flow(value: Any) -> str:
        dumped: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
        return dumped.strip().removesuffix("...").strip()

    lines = [f"id: {document['id']}", f"name: {flow(document['name'])}", "sources:"]
    lines += [f"  {key}: {flow(source)}" for key, source in document["sources"].items()]
    if document.get("note"):
        lines.insert(2, f"note: {flow(document['note'])}")
    if document.get("kernels"):
        lines.append("kernels:")
        lines += [f"  {scope}: {flow(named)}" for scope, named in document["kernels"].items()]
    lines.append("fits:")
    for entry in document["fits"]:
        head = {key: value for key, value in entry.items() if key != "values"}
        lines.append(f"  - {{{flow(head)[1:-1]},")
        lines.append(f"     values: {flow(entry['values'])}}}")
    return "\n".join(lines) + "\n"
