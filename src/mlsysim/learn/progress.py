"""What somebody has tried: a JSON file on their own machine, never sent anywhere."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .verdicts import Verdict

COLUMNS = ("exercise", "wall", "at", "given", "answer", "error", "correct", "misconception")


def progress_file() -> Path:
    """Where attempts are kept: ``MLSYSIM_PROGRESS``, or a file in the state folder of the user (XDG)."""
    said = os.environ.get("MLSYSIM_PROGRESS")
    if said:
        return Path(said)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "mlsysim" / "progress.json"


def attempts() -> list[dict[str, Any]]:
    """Every attempt kept so far, oldest first.

    Raises:
        InvalidInputError: the file cannot be read, or is not one of ours
    """
    path = progress_file()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: cannot be read as progress ({error}); move it away to start afresh") from None
    entries = document.get("attempts") if isinstance(document, dict) else None
    good = isinstance(entries, list) and all(
        isinstance(e, dict) and isinstance(e.get("exercise"), str) for e in entries
    )
    if not good:
        raise InvalidInputError(f"{path}: is not a progress file of mlsysim; move it away to start afresh")
    found: list[dict[str, Any]] = entries  # type: ignore[assignment]
    return found


def keep(told: Verdict) -> Verdict:
    """Add an attempt to the file; where the file cannot be written the verdict says so."""
    entry = {
        "exercise": told.exercise.name,
        "wall": told.exercise.wall,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "given": told.exercise.shown(told.given),
        "answer": told.exercise.shown(told.right),
        "error": told.error,
        "correct": told.correct,
        "misconception": told.misconception,
    }
    path = progress_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, json.dumps({"version": 1, "attempts": [*attempts(), entry]}, indent=1))
    except (OSError, InvalidInputError) as error:
        return dataclasses.replace(told, note=f"this attempt is not kept: {error}")
    return told


def _replace(path: Path, text: str) -> None:
    """Write a file as a whole, so that a reader never sees half of it."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def progress() -> dict[str, dict[str, Any]]:
    """For each exercise tried: how often, whether it was ever right, and whether at the first attempt."""
    found: dict[str, dict[str, Any]] = {}
    for entry in attempts():
        one = found.setdefault(
            entry["exercise"], {"tries": 0, "correct": False, "at_first": bool(entry.get("correct"))}
        )
        one["tries"] += 1
        one["correct"] = one["correct"] or bool(entry.get("correct"))
    return found


def table(entries: Sequence[dict[str, Any]] | None = None) -> str:
    """Attempts as CSV, one a line: what a student hands in."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(attempts() if entries is None else entries)
    return out.getvalue()


def export(path: Path | str) -> int:
    """Write the attempts to a CSV file; how many there were.

    Raises:
        InvalidInputError: the file cannot be written
    """
    entries = attempts()
    try:
        Path(path).write_text(table(entries), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written ({error.strerror})") from None
    return len(entries)
