"""The commands of mlsysim with all their arguments and options, read from the program itself."""

from __future__ import annotations

from typing import Any

import typer

from mlsysim.cli.app import app


def commands() -> str:
    """A section for every command, subcommands below their own."""
    group: Any = typer.main.get_command(app)
    parts = []
    for name in sorted(group.commands):
        command = group.commands[name]
        parts.append(section(f"mlsysim {name}", command, "##"))
        for inner in sorted(getattr(command, "commands", {})):
            parts.append(section(f"mlsysim {name} {inner}", command.commands[inner], "###"))
    return "\n\n".join(parts)


def section(title: str, command: Any, level: str) -> str:
    """One command: what it does, how it is called, a table of what it takes."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    call = " ".join([title, *(named(parameter) for parameter in arguments)])
    text = " ".join((command.help or "").split())
    rows = [row(parameter) for parameter in command.params if "--help" not in parameter.opts]
    table = "\n".join(["| | default | |", "|---|---|---|", *rows]) if rows else ""
    return f"{level} {title}\n\n{text}\n\n```text\n{call}\n```\n\n{table}".rstrip()


def named(parameter: Any) -> str:
    """An argument as the usage line writes it."""
    return f"[{parameter.name.upper()}]" if not parameter.required else str(parameter.name.upper())


def row(parameter: Any) -> str:
    """One argument or option."""
    names = parameter.opts if parameter.param_type_name == "option" else [named(parameter)]
    told = ", ".join(f"`{name}`" for name in sorted(names, key=len, reverse=True))
    default = getattr(parameter, "default", None)
    if callable(default) or default in (None, (), [], False) or "Ellipsis" in repr(default):
        shown = "required" if parameter.required else ""
    else:
        shown = f"`{getattr(default, 'value', default)}`"
    text = " ".join((getattr(parameter, "help", "") or "").split()).replace("|", "\\|")
    return f"| {told} | {shown} | {text} |"
