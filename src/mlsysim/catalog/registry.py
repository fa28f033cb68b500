"""Find entries by name: ``Hardware.Cloud.H100``, ``Hardware["h100-sxm"]``, ``Hardware.search("h100")``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CatalogError, InvalidInputError, UnknownEntryError, nearest, normalised
from . import yaml_file
from .load import from_file
from .spec import Spec, stack

DATA = Path(__file__).parent / "data"
Names = list[str]
PLAIN_HEAD = re.compile(r"\Aid: (\w+)\nname: [^\n]*\n(?:aliases: \[([^\]\"'#\n{}&*]*)\])?\n?(?!aliases)")


class Registry:
    """All entries of a kind. Nothing is read before somebody asks; then only the file asked for, where possible."""

    def __init__(
        self, kind: str, families: Mapping[str, str], choose: Callable[[str, Mapping[str, Any], str], type]
    ) -> None:
        self.kind = kind
        self.families = families
        self._choose = choose
        self._roots: list[Path] = [DATA / kind]
        self._loaded: dict[Path, Spec] = {}
        self._added: dict[str, Spec] = {}
        self._stems: dict[str, tuple[str, Path]] | None = None
        self._names: dict[str, tuple[str, Path]] | None = None

    # -- look up -----------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        """The entry of that id or alias, ignoring case, hyphens and underscores."""
        if isinstance(name, Spec):
            return name
        if not isinstance(name, str):
            raise InvalidInputError(f"{self.kind}: expected a name, found {type(name).__name__}")
        key = normalised(name)
        if key in self._added:
            return self._added[key]
        found = self._files().get(key) if "." not in name else None
        if found is not None:
            spec = self._load(*found)
            if normalised(spec.id) == key:
                return spec
        index = self._index()
        found = index.get(normalised(name, True)) or index.get(key)
        if found is None:
            raise UnknownEntryError(f"{self._singular} entry", name, nearest(name, self._spelled()))
        return self._load(*found)

    def __getattr__(self, name: str) -> Any:
        """A family (``Hardware.Cloud``) or an entry (``Hardware.H100``)."""
        if name.startswith("_"):
            raise AttributeError(name)
        for folder, public in self.families.items():
            if public == name:
                return Family(self, folder, public)
        return self[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The entry of that name, or the default."""
        return self[name] if name in self else default  # noqa: SIM401

    def __contains__(self, name: object) -> bool:
        """Whether there is an entry of that name."""
        return isinstance(name, str) and (normalised(name) in self._added or normalised(name) in self._index())

    def search(self, text: str) -> list[Any]:
        """Entries whose id, name or an alias contains the text."""
        wanted = normalised(text)
        return [s for s in self if any(wanted in normalised(n) for n in (s.id, s.name, *s.aliases))]

    def stack(self, names: Sequence[str | Spec]) -> Any:
        """Several entries as one that holds arrays, to sweep over them."""
        if isinstance(names, (str, Spec)):
            raise InvalidInputError("stack: expected a list of names, found one name")
        return stack([name if isinstance(name, Spec) else self[name] for name in names])

    def list(self, sort_by: str | None = None, *, reverse: bool = False, family: str | None = None) -> list[Any]:
        """Every entry, sorted by id, or by a field such as ``"memory_bandwidth"``; unknown values come last."""
        entries = [spec for spec in self if family is None or spec.family == family]
        if sort_by is None:
            return sorted(entries, key=lambda spec: normalised(spec.id), reverse=reverse)
        keyed = [(_sort_key(spec, sort_by), spec) for spec in entries]
        known = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=reverse)
        return [spec for _, spec in known] + [spec for key, spec in keyed if key is None]

    def __iter__(self) -> Iterator[Any]:
        """Every entry."""
        seen = set()
        for family, path in sorted(set(self._index().values()), key=lambda found: found[1]):
            spec = self._load(family, path)
            seen.add(normalised(spec.id))
            yield self._added.get(normalised(spec.id), spec)
        yield from (spec for spec in dict.fromkeys(self._added.values()) if normalised(spec.id) not in seen)

    def __len__(self) -> int:
        """How many entries there are."""
        return sum(1 for _ in self)

    def __dir__(self) -> Sequence[str]:
        """Families, ids and methods, for completion."""
        return [*self.families.values(), *self.ids(), "add", "get", "list", "search", "stack"]

    def __repr__(self) -> str:
        """How many entries in which families."""
        return f"<{self.kind}: {len(set(self._index().values()))} entries in {', '.join(self.families.values())}>"

    def ids(self, family: str | None = None) -> Names:
        """Ids of all entries, or of one family."""
        return [spec.id for spec in self if family is None or spec.family == family]

    # -- add ---------------------------------------------------------------------------------------------------

    def add(self, entry: Spec | str | Path) -> Any:
        """Add an entry of your own, a YAML file, or a folder of files; an entry of the same id is replaced.

        Returns:
            the entry, or the list of entries of a folder
        """
        if isinstance(entry, Spec):
            for name in (entry.id, entry.name, *entry.aliases):
                self._added[normalised(name)] = entry
            return entry
        path = Path(entry)
        if os.path.isdir(path):
            files = sorted(p for p in path.rglob("*") if p.suffix in {".yaml", ".yml"})
            if not files:
                raise CatalogError(f"{path}: no YAML file in this folder")
            specs = [self.read(file) for file in files]  # read all before any is added: all or nothing
            return [self.add(spec) for spec in specs]
        return self.add(self.read(path))

    def read(self, path: Path | str) -> Any:
        """The entry in a YAML file, checked, not added."""
        path = Path(path)
        family = path.parent.name if path.parent.name in self.families else next(iter(self.families))
        return from_file(path, family, lambda facts, label: self._choose(family, facts, label))

    # -- files -------------------------------------------------------------------------------------------------

    @property
    def _singular(self) -> str:
        words = {"models": "model", "formats": "number format", "systems": "system"}
        words |= {"scenarios": "scenario", "personas": "persona"}
        return words.get(self.kind, self.kind)

    def _files(self) -> dict[str, tuple[str, Path]]:
        if self._stems is None:
            self._stems = {
                normalised(path.stem): (family, path)
                for root in self._roots
                for family in self.families
                for path in sorted((root / family).glob("*.yaml"))
            }
        return self._stems

    def _index(self) -> dict[str, tuple[str, Path]]:
        if self._names is None:
            self._names = {}
            loose: dict[str, tuple[str, Path]] = {}
            for family, path in self._files().values():
                for name in _names_in(path):
                    self._names.setdefault(normalised(name, True), (family, path))
                    loose.setdefault(normalised(name), (family, path))
            for key, found in loose.items():  # "opt-1.3b" is not "opt-13b", yet "llama31-8b" is "llama-3.1-8b"
                self._names.setdefault(key, found)
        return self._names

    def _spelled(self) -> Names:
        added = [name for spec in self._added.values() for name in (spec.id, *spec.aliases)]
        return [name for _, path in self._files().values() for name in _names_in(path)] + added

    def _load(self, family: str, path: Path) -> Spec:
        if path not in self._loaded:
            self._loaded[path] = from_file(path, family, lambda facts, label: self._choose(family, facts, label))
        return self._loaded[path]


class Family:
    """The entries of one family: ``Hardware.Cloud``."""

    def __init__(self, registry: Registry, folder: str, public: str) -> None:
        self._registry, self._folder, self._public = registry, folder, public

    def __getattr__(self, name: str) -> Any:
        """An entry by id or alias."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        """An entry by id or alias; one of another family is not found here."""
        try:
            spec = self._registry[name]
        except UnknownEntryError as error:
            raise UnknownEntryError(error.kind, name, error.near) from None
        if spec.family not in (self._folder, "user"):
            home = self._registry.families.get(spec.family, spec.family)
            raise UnknownEntryError(f"entry of {self._public}", name, [f"{home}.{spec.id}"])
        return spec

    def list(self, sort_by: str | None = None, *, reverse: bool = False) -> list[Any]:
        """The entries of this family, sorted."""
        return self._registry.list(sort_by, reverse=reverse, family=self._folder)

    def __iter__(self) -> Iterator[Any]:
        """The entries of this family."""
        return iter(self.list())

    def __len__(self) -> int:
        """How many."""
        return len(self.list())

    def __dir__(self) -> Sequence[str]:
        """Ids, for completion."""
        return [*self._registry.ids(self._folder), "list"]

    def __repr__(self) -> str:
        """Name and size."""
        return f"<{self._registry.kind}.{self._public}: {len(self)} entries>"


def _names_in(path: Path) -> list[str]:
    """Id, name and aliases in the head of a file, without reading the values."""
    text = path.read_text(encoding="utf-8").split("\nsources:", 1)[0]
    plain = PLAIN_HEAD.search(text)
    if plain is not None:  # one line of unquoted names, which needs no YAML parser
        return [plain[1], *(name.strip() for name in (plain[2] or "").split(",") if name.strip())]
    head = yaml_file.parse(text, str(path))
    aliases = head.get("aliases") or []
    return [str(name) for name in (head.get("id", path.stem), *aliases) if name]


def _sort_key(spec: Spec, field: str) -> Any:
    value: Any = spec.si
    for part in field.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            if part.startswith("peak_"):
                value = value.peaks.get(part.removeprefix("peak_"))
            elif not hasattr(type(spec), part):
                raise UnknownEntryError(
                    "field", field, nearest(field, [f for f in dir(type(spec)) if f[0] != "_"])
                ) from None
            else:
                value = None
        if value is None:
            return None
    return None if isinstance(value, float) and np.isnan(value) else value
