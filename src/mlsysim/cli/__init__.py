"""The command line: parse, ask a solver, show. No arithmetic."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from .app import run

    run()
