"""The same question with something changed: ``batch_size=32``, ``memory_bandwidth=2x``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from ..catalog.hardware import Device
from ..catalog.load import fields_of
from ..errors import InvalidInputError, MLSysimError, alternatives, nearest, told

FACTOR = re.compile(r"^\s*(\d+(?:\.\d+)?|\.\d+)\s*[xX]\s*$")
NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


def changed(answer: Any, changes: Iterable[str]) -> Any:
    """The answer to the same question with ``name=value`` changes: arguments of the solver, or facts of the device.

    Raises:
        InvalidInputError: a change that is none, or an unknown name, all of them at once

    Examples:
        >>> from mlsysim import Engine
        >>> faster = changed(Engine.solve("Llama3_8B", "H100"), ["memory_bandwidth=2x"])
        >>> f"{faster.latency.to('ms').magnitude:.3f}"
        '2.767'
    """
    question = answer.question
    arguments = dict(question.arguments)
    allowed = [
        name for name in inspect.signature(question.resolver.solve).parameters if name not in ("self", "raise_errors")
    ]
    device = arguments["hardware"]
    facts = list(fields_of(Device)) + [key for key in device.facts] if isinstance(device, Device) else []
    problems: list[str] = []
    own: dict[str, float | str] = {}
    for change in changes:
        name, mark, text = (part.strip() for part in change.partition("="))
        if not mark or not name or not text:
            problems.append(f"{told(change)}: expected NAME=VALUE, as batch_size=32")
        elif name in allowed:
            try:
                arguments[name] = _scaled(arguments.get(name), text)
            except InvalidInputError as error:
                problems.append(f"{name}: {error}")
        elif name in facts:
            factor = FACTOR.match(text)
            if factor and name not in device.facts:
                problems.append(f"{name}: {device.id} has none in the catalog to multiply")
            elif factor:
                fact = device.fact(name)
                own[name] = f"{float(fact.value) * float(factor[1])!r} {fact.unit}".strip()
            else:
                own[name] = float(text) if NUMBER.match(text) else text
        else:
            near = nearest(name, [*allowed, *facts])
            problems.append(
                f"no option or fact named {told(name)}" + (f"; did you mean {alternatives(near)}?" if near else "")
            )
    if problems:
        raise InvalidInputError(problems)
    if own:
        from .border import Border

        border = Border()
        machine = border.device(arguments["hardware"])
        border.close()
        try:
            arguments["hardware"] = machine.replace(**own)
        except MLSysimError as error:
            raise InvalidInputError(str(error)) from None
    return question.resolver().solve(**arguments)


def _scaled(old: Any, text: str) -> Any:
    factor = FACTOR.match(text)
    if factor:
        if not isinstance(old, (int, float)) or isinstance(old, bool):
            raise InvalidInputError(f"expected a value, found the factor {text}")
        return type(old)(old * float(factor[1]))
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if NUMBER.match(text):
        value = float(text)
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    return text
