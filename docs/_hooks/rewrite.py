"""Run the examples of pages and write what they print below them: ``python docs/_hooks/rewrite.py docs/tutorials/*.md``.

For pages whose numbers rest on fits or on the catalog, after one of these has changed. Read the difference: prose does not
follow by itself, and an example that fails is told and left.
"""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np


def printed(source: str, names: dict[str, Any]) -> str:
    """What an example prints, its value included."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "<example>", "single"), names)
    return out.getvalue().rstrip("\n")


def rewritten(page: str) -> str:
    """The page with the outputs of its ``pycon`` blocks as they are now."""
    names: dict[str, Any] = {"np": np, "__name__": "__main__"}
    lines, out, inside, indent = page.split("\n"), [], False, ""
    while lines:
        line = lines.pop(0)
        text = line.strip()
        if text == "```pycon":
            inside, indent = True, line[: len(line) - len(line.lstrip())]
        elif inside and text == "```":
            inside = False
            if out[-1].strip():
                out.append("")
        elif inside and not text.startswith(">>>"):
            continue
        out.append(line)
        if not inside or not text.startswith(">>>"):
            continue
        source = [text[4:]]
        while lines and lines[0].strip().startswith("..."):
            source.append(lines[0].strip()[4:])
            out.append(lines.pop(0))
        shown = printed("\n".join(source) + "\n", names)
        out += [(indent + (line or "<BLANKLINE>")).rstrip() for line in shown.split("\n")] if shown else []
    return "\n".join(out)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        try:
            path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
        except Exception:
            print(f"{path}: left as it is", traceback.format_exc(limit=0), file=sys.stderr)
