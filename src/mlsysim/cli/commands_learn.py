"""Exercises in the terminal: predict, then compare."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import Output, OutputOption, _chosen, app

if TYPE_CHECKING:
    from ..learn import Exercise, Verdict

MISSED = 3
"""Exit code where a prediction is not the answer."""


@app.command()
def learn(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="An exercise; all of them unless said.", show_default=False)
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option("--answer", "-a", help='Your prediction, as "5 ms", "25 %" or "yes".', show_default=False),
    ] = None,
    hint: Annotated[bool, typer.Option("--hint", help="Where to start.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="After an answer: where the number comes from.")] = False,
    wall: Annotated[int | None, typer.Option(help="Only the exercises of one wall.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="Exercises of your own, a YAML file.", show_default=False)] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write your attempts to a CSV file and stop.", show_default=False)
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of such a file and stop.")] = False,
    output: OutputOption = None,
) -> None:
    """Exercises: predict a number, then compare it with the one that is computed.

    Exit codes: 0 right, or nothing was asked; 1 input that makes no sense; 2 usage; 3 not the answer.
    """
    from .. import learn as lessons

    chosen = _chosen(context, output)
    if schema:
        print(json.dumps(lessons.json_schema(), indent=2))
        return
    if export is not None:
        count = lessons.export(export)
        print(f"{count} attempt{'' if count == 1 else 's'} of {lessons.progress_file()} written to {export}")
        return
    if name is None:
        if answer is not None or hint or explain:
            raise typer.BadParameter("--answer, --hint and --explain are about one exercise; name it", context)
        items = lessons.exercises() if file is None else list(lessons.read(file).values())
        if file is not None:
            for item in items:
                item.verify()
        _list([item for item in items if wall is None or item.wall == wall], lessons.progress(), chosen)
        return
    task = lessons.exercise(name, file)
    if answer is None:
        _ask(task, hint, chosen)
        return
    _tell(task.check(answer), explain, chosen)


def _list(items: list[Exercise], done: dict[str, dict[str, Any]], output: Output) -> None:
    rows = [(item.name, item.wall, item.title, _state(done.get(item.name))) for item in items]
    if output is Output.json:
        print(json.dumps([dict(zip(("name", "wall", "title", "state"), row, strict=True)) for row in rows], indent=2))
    elif output is Output.csv:
        print("name,wall,title,state")
        print("\n".join(f'{name},{number},"{title}",{state}' for name, number, title, state in rows))
    elif output is Output.markdown:
        print("| exercise | wall | title | state |\n|---|---:|---|---|")
        print("\n".join(f"| {name} | {number} | {title} | {state} |" for name, number, title, state in rows))
    else:
        for name, number, title, state in rows:
            print(f"{number:>2}  {name:<22}{title:<40}{state}".rstrip())
        right = sum(state.startswith("right") for *_, state in rows)
        print(f'\n{right} of {len(rows)} right; mlsysim learn NAME asks, mlsysim learn NAME --answer "5 ms" compares')


def _state(done: dict[str, Any] | None) -> str:
    if done is None:
        return ""
    tries = f"{done['tries']} {'try' if done['tries'] == 1 else 'tries'}"
    return f"right, {tries}" if done["correct"] else tries


def _ask(task: Exercise, hint: bool, output: Output) -> None:
    if output is Output.json:
        document = {"name": task.name, "wall": task.wall, "title": task.title, "question": task.question,
                    "wanted": task.wanted, "hint": task.hint if hint else None}  # fmt: skip
        print(json.dumps(document, indent=2))
        return
    print(_wrapped(str(task)))
    if hint:
        print(_wrapped(f"\nHint: {task.hint}" if task.hint else "\nNo hint here."))


def _tell(told: Verdict, explain: bool, output: Output) -> None:
    if output is Output.json:
        document = told.to_dict()
        print(json.dumps({**document, "explain": told.explain()} if explain else document, indent=2))
    else:
        print(_wrapped(str(told)))
        if explain:
            print(f"\n{told.explain()}")
    if not told.correct:
        raise typer.Exit(MISSED)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.fill(line, 100) for line in text.split("\n"))
