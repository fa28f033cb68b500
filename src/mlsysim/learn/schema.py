"""JSON Schema of a file of exercises, for editors."""

from __future__ import annotations

from typing import Any

from ..catalog.walls import all_walls
from ..solvers import list_available
from .exercises import ASK, NEEDED


def json_schema() -> dict[str, Any]:
    """The schema of a file of exercises.

    Examples:
        >>> json_schema()["required"]
        ['exercises']
    """
    text = {"type": "string"}
    ask: dict[str, Any] = {
        "resolver": {"enum": list_available(), "description": "who is asked"},
        "equation": {**text, "description": "module.name of mlsysim.physics, instead of a resolver"},
        "arguments": {"type": "object", "description": "as in the call; Hardware.H100.memory_bandwidth is looked up"},
        "field": {**text, "description": "the field of the resolver's answer"},
        "times": {"type": "number", "description": "multiply the number"},
    }
    over = {"type": ["object", "string"], "description": "divide by this; what is not said is as above",
            "properties": ask}  # fmt: skip
    asked = {**ask, "over": over}
    assert tuple(asked) == ASK
    whole = {"type": "object", "additionalProperties": False, "properties": asked}
    wrong = {
        "type": "object",
        "required": ["because"],
        "additionalProperties": False,
        "properties": {**ask, "over": over, "because": text, "says": {"type": ["string", "boolean"]}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "exercises of mlsysim",
        "type": "object",
        "required": ["exercises"],
        "additionalProperties": False,
        "properties": {
            "exercises": {
                "type": "object",
                "propertyNames": {"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
                "additionalProperties": {
                    "type": "object",
                    "required": list(NEEDED),
                    "additionalProperties": False,
                    "properties": {
                        "wall": {"type": "integer", "minimum": 1, "maximum": len(all_walls())},
                        "title": text,
                        "question": {
                            **text,
                            "description": "may name arguments: {seq_len}, {hardware.memory.bandwidth:TB/s}",
                        },
                        "ask": whole,
                        "unit": {**text, "description": "unit of the answer, as GB, ms or %"},
                        "tolerance": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.05},
                        "choices": {"type": "array", "items": text, "description": "words, where the answer is one"},
                        "hint": text,
                        "why": {**text, "description": "the reasoning; may name {answer} and {answer.field:unit}"},
                        "wrong": {"type": "array", "items": wrong},
                    },
                },
            }
        },
    }
