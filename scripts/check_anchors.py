"""Check published numbers against what the software computes: python scripts/check_anchors.py

Prints one line an anchor and ends with exit code 1 if one is off, or if a page of ours no longer prints it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlsysim.catalog import yaml_file
from mlsysim.errors import CatalogError
from mlsysim.learn.asks import Ask, understood
from mlsysim.learn.texts import close

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("anchors.yaml")
KEYS = {"source", "url", "value", "tolerance", "ask", "quoted"}


@dataclass(frozen=True)
class Anchor:
    """A published number, and the call that has to come to it."""

    name: str
    source: str
    url: str
    value: str
    tolerance: float
    ask: Ask
    quoted: dict[str, str]

    def numbers(self) -> tuple[float, float]:
        """What was published and what is computed, in SI."""
        return float(understood(self.value, self.ask.unit, "")), float(self.ask.value())

    def missing(self) -> list[str]:
        """Pages that should print the number and do not."""
        return [page for page, text in self.quoted.items() if text not in (ROOT / page).read_text(encoding="utf-8")]


def anchors(path: Path = FILE) -> list[Anchor]:
    """The anchors of a file.

    Raises:
        CatalogError: a key is missing or unknown, or a call cannot be made
    """
    found, problems = [], []
    for name, entry in yaml_file.read(path)["anchors"].items():
        odd = (KEYS - {"quoted"} - set(entry)) | (set(entry) - KEYS)
        if odd:
            problems.append(f"{name}: missing or unknown: {', '.join(sorted(odd))}")
            continue
        ask = Ask({}).changed({"arguments": {}, **entry["ask"]})
        problems += [f"{name}: {text}" for text in ask.problems()]
        found.append(Anchor(name, entry["source"], entry["url"], str(entry["value"]), float(entry["tolerance"]), ask,
                            dict(entry.get("quoted", {}))))  # fmt: skip
    if problems:
        raise CatalogError(f"{path}: {'; '.join(problems)}")
    return found


def faults(anchor: Any) -> list[str]:
    """What is wrong with an anchor: it is off, or a page does not print it."""
    published, computed = anchor.numbers()
    found = [] if close(computed, published, anchor.tolerance) else [f"off by more than {anchor.tolerance:.2%}"]
    return found + [f"{page} does not print {anchor.quoted[page]!r}" for page in anchor.missing()]


def main(path: Path = FILE) -> int:
    """Check every anchor; how many are wrong."""
    wrong = 0
    for anchor in anchors(path):
        published, computed = anchor.numbers()
        told = faults(anchor)
        wrong += bool(told)
        error = computed / published - 1
        print(
            f"{'OFF' if told else 'ok ':3} {anchor.name:28} {anchor.value:>16} {error:+9.3%}  {'; '.join(told) or anchor.source}"
        )
    print(f"{wrong or 'none'} wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(*map(Path, sys.argv[1:2])) else 0)
