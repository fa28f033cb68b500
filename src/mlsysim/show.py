"""Print answers as a tutorial does: a titled block of facts, a table, a banner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .fmt import cell

WIDTH = 44


def info(title: str | None = None, /, **fields: Any) -> None:
    """Print a titled block of named values.

    Examples:
        >>> info("Phase Analysis", TTFT_prefill="70.97 ms", share=0.5)
        ── Phase Analysis ──────────────────────────
        TTFT prefill:  70.97 ms
        share:         0.5000
    """
    if title:
        print(f"── {title} ".ljust(WIDTH, "─"))
    width = max((len(name) for name in fields), default=0) + 1
    for name, value in fields.items():
        print(f"{name.replace('_', ' ') + ':':<{width}}  {cell(value)}")


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], alignments: Sequence[str] | None = None) -> None:
    """Print a table: the first column to the left, the others to the right unless ``alignments`` ("<", ">") says.

    Examples:
        >>> table(["GPU", "TTFT"], [["A100", 1.5], ["H100", 12]])
        GPU   TTFT
        ──────────
        A100  1.50
        H100    12
    """
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *texts]) for i in range(len(headers))]
    sides = alignments or ["<", *[">"] * (len(headers) - 1)]
    for index, line in enumerate([list(headers), *texts]):
        print(
            "  ".join(f"{text:{side}{width}}" for text, side, width in zip(line, sides, widths, strict=True)).rstrip()
        )
        if index == 0:
            print("─" * (sum(widths) + 2 * (len(widths) - 1)))


def banner(text: str) -> None:
    """Print a banner.

    Examples:
        >>> banner("Serving")  # doctest: +NORMALIZE_WHITESPACE
        <BLANKLINE>
        === Serving ===
    """
    print(f"\n=== {text} ===")
