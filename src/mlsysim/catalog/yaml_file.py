"""Read one YAML file that a stranger may have written: small, flat, without tricks, every fault told in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import CatalogError

LARGEST = 1 << 20
DEEPEST = 24

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML 1.2 numbers and booleans; a key that stands twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    # YAML 1.1 reads `no` as false and 175e9 as a text; keep only what YAML 1.2 says.
    kept: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for letter, rules in _Base.yaml_implicit_resolvers.items():
        kept[letter] = [rule for rule in rules if not rule[0].endswith((":bool", ":float", ":int", ":merge"))]
    number = re.compile(r"^[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\.(?:inf|nan))$")
    for letter in "+-.0123456789":
        kept.setdefault(letter, []).insert(0, ("tag:yaml.org,2002:float", number))
        kept[letter].insert(0, ("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d+$")))
    for letter in "tTfF":
        kept.setdefault(letter, []).insert(0, ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$")))
    return kept


_Loader.yaml_implicit_resolvers = _resolvers()


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        CatalogError: the path is no readable text file, or the YAML is malformed, empty, not a mapping, repeats a key,
            uses anchors, or is too large or too deep.
    """
    if os.path.isdir(path):
        raise CatalogError(f"{path}: is a folder; expected a YAML file")
    try:
        with path.open("rb") as file:  # a device such as /dev/zero has no size, and no end
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise CatalogError(f"{path}: is larger than {LARGEST} bytes; expected a small YAML file")
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise CatalogError(f"{path}: is not a text file; expected YAML in UTF-8") from None
    except (OSError, ValueError) as error:  # no such file, no permission, or a name that no file can have
        raise CatalogError(f"{str(path)[:200]}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return parse(text, str(path))


def parse(text: str, label: str) -> dict[str, Any]:
    """The mapping in a YAML text; ``label`` names it in messages."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Base):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise CatalogError(f"{label}: line {_line(event)}: anchors and aliases are not allowed")
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                if depth > DEEPEST:
                    raise CatalogError(f"{label}: is nested deeper than {DEEPEST} levels")
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
        loader = _Loader(text)
        try:
            data = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise CatalogError(f"{label}: {where}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # control characters, impossible dates, odd keys
        raise CatalogError(f"{label}: is not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(data, dict):
        found = "an empty file" if data is None else type(data).__name__
        raise CatalogError(f"{label}: expected a YAML mapping, found {found}")
    return data


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
