"""Fitted efficiencies: what kernels reach on the chips where they were measured, and what stands in elsewhere.

One file a family (``gemm_bf16``, ``generation_attention``, ``all_reduce``...). A family has a few parameters with a
physical meaning and a number of fits, each for one kernel on one device, on one generation of devices, or on any.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CatalogError, UnknownEntryError, nearest, normalised
from . import yaml_file
from .source import KINDS, Source

FOLDER = Path(__file__).parent / "data" / "efficiency"
ANY = "any"
KEYS = {
    "scope",
    "kernel",
    "devices",
    "architectures",
    "n",
    "source",
    "median",
    "p90",
    "sigma",
    "transfer",
    "far",
    "values",
}

MEANING: Mapping[str, str] = {
    "launch": "fixed time of the kernel on the chip, in seconds; no host time",
    "compute": "share of the peak that the inner loop sustains",
    "memory": "share of the memory bandwidth that a stream sustains",
    "overlap": "sharpness of the overlap less one: 0 adds up, large takes the maximum",
    "feed": "bandwidth from the shared cache to one core, in 64 bytes a clock",
    "wave": "prologue and epilogue of one round of tiles, or of one tile of queries, in seconds",
    "write": "threads a clock of one core of the kernel that writes new keys and values into the cache",
    "split": "extra time to join a split dimension, in seconds",
    "join": "extra time for each further piece of a split sequence, in seconds",
    "alone": "cost of a round where a head shares its keys with no other, over that of a group",
    "swaps": "1 where a kernel splits a sequence and serves a group at once only if heads share keys and no window is set",
    "reach": "share of the last cache in which data that are read again can live",
    "quantise": "fixed time of the kernel that quantises the activations, in seconds",
    "quantise_memory": "share of the bandwidth that the quantising kernel sustains",
    "quantise_row": "time that each row adds to the quantising kernel, in seconds",
    "unaligned": "host time added where rows are no multiple of four, in seconds",
    "columns": "columns of the tile of a kernel that takes its tile from the rows; 0 where it chooses among tiles",
    "narrow": "columns of that tile where all rows fit the lower one",
    "turn": "most rows that get the lower tile",
    "splits": "most pieces that a kernel splits the inner dimension, or the cached keys, into",
    "eager": "least time between two launches from the host, in seconds; only where rows were timed so",
    "softmax": "share of the exponentials that do not overlap with the products",
    "balance": "sharpness less one between the average load and the longest row",
    "diagonal": "extra blocks a row of blocks costs: prologue, masked diagonal, epilogue",
    "rows": "queries of one tile",
    "pack": "1 where a kernel fills a tile with the heads that share keys, else 0",
    "wide": "exponent, plus one, in the width of a head over 128: of the efficiency, or of the cost of a decode round",
    "windowed": "1 where a kernel skips keys outside the window, 0 where it only masks them",
    "cache_gain": "how much faster a cache hit is than memory, less one",
    "stream": "bandwidth that one core can draw, over its equal share",
    "smooth": "share of the rounding of the last round of tiles that is recovered",
    "row": "time to permute and join one token-expert pair, or to copy one token, in seconds",
    "token": "passes over the activations of all tokens, local or not",
    "empty": "time of a grouped kernel for each expert of the rank, busy or not, in seconds",
    "slot": "passes over a buffer of all token-expert pairs, local or not",
    "shares": "largest group of heads that a decode kernel serves with one read of the keys",
    "least": "smallest rows of an expert tile; rows of the lower tile of a product",
    "most": "largest rows of an expert tile; rows of the higher tile of a product",
    "latency": "latency of the low-latency protocol with two ranks, in seconds",
    "growth": "growth of the latency with every further rank",
    "low": "share of the link under the low-latency protocol",
    "bulk_latency": "latency of the bulk protocol with two ranks, in seconds",
    "bulk_growth": "growth of that latency with every further rank",
    "bulk": "share of the link under the bulk protocol",
    "middle": "share of the link under the protocol in between",
    "bridge": "share of a PCIe link that is left when more than a pair of devices share the bridges of the host",
    "once_latency": "latency of an all-reduce in one step with two ranks, in seconds",
    "once_growth": "growth of that latency with every further rank",
    "once": "share of the link when every rank reads all others at once",
    "twice_latency": "latency of an all-reduce in two steps with two ranks, in seconds",
    "twice_growth": "growth of that latency with every further rank",
    "twice": "share of the link in two steps",
    "far_latency": "further latency of an exchange that leaves the node, in seconds",
    "across": "share of the network that an exchange reaches",
    "channel": "bytes a second through the few cores that copy for an exchange",
    "each": "bytes a second through the cores that an exchange deals out to one expert",
    "host": "least time between two all-reduces launched from the host, in seconds",
    "products": "share of the peak that dense products of a network reach in full rounds",
    "partial": "rounds of tiles lost to rounds that are not full",
    "tail": "reads and writes of its output after a convolution, for normalisation and activation not fused with it",
    "passes": "bytes that a normalisation, joining or pooling moves, over those it must; below 1 where it is fused",
    "depthwise": "share of the memory bandwidth that depthwise convolutions sustain",
    "attention": "share of the peak that the attention of a network reaches",
    "vector": "share of the vector peak that depthwise convolutions reach",
    "intake": "bytes that one core takes in a clock",
    "cached": "share of the memory bandwidth at which a decoding step reads the cache",
    "score": "bytes that attention moves for each pair of a query and a key, where its parts are not fused",
    "expand": "passes over the weights before the products of a piece of a prompt: read, written and read in 16 bits",
    "gap": "time between two kernels that a host launches one by one, in seconds",
    "logit": "bytes that sampling moves for each logit",
    "layer": "time that each layer adds to a step outside its kernels, in seconds",
    "idle": "power of a chip that waits, as a share of its design power",
    "arithmetic": "power of arithmetic at the peak, as a share of the design power less idle power",
    "traffic": "power of memory traffic at the full bandwidth, as a share of the design power less idle power",
}
"""What every parameter means; a file may use no other."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """Parameters of one kernel, with what they were fitted on and how well they fit.

    ``sigma`` is the standard deviation of the log of measured over predicted, for times below 10 us, below 100 us and
    above. On a device that the fit has not seen, ``transfer`` is added in quadrature where the device has the same
    architecture as those seen, and ``far`` where it has another.
    """

    family: str
    scope: str
    kernel: str
    devices: tuple[str, ...]
    architectures: tuple[str, ...]
    n: int
    source: Source
    median: float | None
    p90: float | None
    sigma: tuple[float, float, float]
    transfer: float
    far: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """The fits of one family and the kernels that a stack runs by default on a generation of devices."""

    id: str
    name: str
    fits: tuple[Fit, ...]
    kernels: Mapping[str, Mapping[str, str]]
    note: str = ""

    def kernel(self, generation: str, stack: str, variant: str) -> str:
        """The kernel that a stack runs for a variant (a precision); ``any`` where the family does not know."""
        for scope in (generation, ANY):
            named = self.kernels.get(scope, {})
            for key in (f"{stack}/{variant}", f"{stack}/{ANY}"):
                if key in named:
                    return named[key]
        return ANY

    def choose(self, names: frozenset[str], generations: tuple[str, ...], kernel: str) -> Fit:
        """The nearest fit: of this device; of this kernel on its generation, on a related one, on any device; of any kernel.

        Args:
            names: names of the device, as lookups compare them
            generations: its generation, then related ones, the nearest first
            kernel: name of the kernel
        """
        return _choose(self, names, generations, kernel)


@functools.lru_cache(maxsize=4096)
def _choose(family: Family, names: frozenset[str], generations: tuple[str, ...], kernel: str) -> Fit:
    places = (*generations, ANY)

    def rank(fit: Fit) -> int | None:
        here, same = normalised(fit.scope) in names, fit.kernel == kernel
        if fit.kernel not in (kernel, ANY) or not (here or fit.scope in places):
            return None
        if here:
            return 0 if same else 1
        return 2 + (0 if same else len(places)) + places.index(fit.scope)

    ranked = [(found, number) for number, fit in enumerate(family.fits) if (found := rank(fit)) is not None]
    if not ranked:
        raise CatalogError(
            f"efficiency/{family.id}: no fit of kernel {kernel} for {generations[0]} devices, and none for any"
        )
    return family.fits[min(ranked)[1]]


_added: list[tuple[Path, str]] = []
KEPT: list[dict[Any, Any]] = []
"""What others keep that rests on the families; emptied when those change."""


def families() -> Mapping[str, Family]:
    """Every family, by id."""
    return {
        name: family(name)
        for name in sorted({path.stem for path in FOLDER.rglob("*.yaml")} | {own for _, own in _added})
    }


@functools.cache
def family(name: str) -> Family:
    """A family by name, with what was added to it.

    Raises:
        UnknownEntryError: no such family
    """
    files = {path.stem: path for path in FOLDER.rglob("*.yaml")}
    found = read(files[name]) if name in files else None
    for path, own in reversed(_added):
        if own != name:
            continue
        extra = read(path)
        if found is None:
            found = extra
            continue
        kernels = {scope: {**found.kernels.get(scope, {}), **named} for scope, named in extra.kernels.items()}
        found = Family(
            id=found.id,
            name=found.name,
            fits=(*extra.fits, *found.fits),
            kernels={**found.kernels, **kernels},
            note=found.note,
        )
    if found is None:
        raise UnknownEntryError("efficiency family", name, nearest(name, list(files)))
    return found


def add(path: Path | str) -> Family:
    """Add a file of your own, such as one written by ``calibrate_device``; its fits go before those of the catalog."""
    extra = read(Path(path))
    _added.append((Path(path), extra.id))
    _changed()
    return extra


def forget() -> None:
    """Drop every file that was added."""
    _added.clear()
    _changed()


def _changed() -> None:
    family.cache_clear()
    _choose.cache_clear()
    for kept in KEPT:
        kept.clear()


def read(path: Path) -> Family:
    """The family in a file.

    Raises:
        CatalogError: a key is missing or unknown, or a number makes no sense
    """
    raw = yaml_file.read(path)
    label = f"efficiency/{path.name}"
    for key in ("id", "name", "sources", "fits"):
        if key not in raw:
            raise CatalogError(f"{label}: key {key!r} is missing")
    sources = {key: _source(value, f"{label}: sources.{key}") for key, value in dict(raw["sources"]).items()}
    fits = tuple(_fit(raw["id"], item, sources, f"{label}: fits[{number}]") for number, item in enumerate(raw["fits"]))
    kernels = {
        str(scope): {str(k): str(v) for k, v in named.items()} for scope, named in (raw.get("kernels") or {}).items()
    }
    return Family(id=str(raw["id"]), name=str(raw["name"]), fits=fits, kernels=kernels, note=str(raw.get("note") or ""))


def _source(raw: Any, where: str) -> Source:
    if not isinstance(raw, dict) or raw.get("kind") not in KINDS or not raw.get("title"):
        raise CatalogError(f"{where}: expected a title and a kind")
    wanted = "reason" if raw["kind"] in {"derived", "assumed"} else "url"
    if not raw.get(wanted):
        raise CatalogError(f"{where}: a {raw['kind']} source needs a {wanted}")
    return Source(**{name: str(text) for name, text in raw.items()})


def _fit(owner: str, raw: Any, sources: Mapping[str, Source], where: str) -> Fit:
    if not isinstance(raw, dict) or not {"scope", "kernel", "source", "sigma", "values"} <= raw.keys():
        raise CatalogError(f"{where}: expected scope, kernel, source, sigma and values")
    for key in raw:
        if key not in KEYS:
            raise CatalogError(f"{where}: unknown key {key!r}")
    if raw["source"] not in sources:
        raise CatalogError(f"{where}: names no known source, found {raw['source']!r}")
    values = {str(key): _number(value, f"{where}: values.{key}") for key, value in raw["values"].items()}
    for key in values:
        if key not in MEANING:
            raise CatalogError(f"{where}: values.{key}: unknown parameter")
    sigma: Sequence[Any] = raw["sigma"] if isinstance(raw["sigma"], list) else [raw["sigma"]] * 3
    if len(sigma) != 3:
        raise CatalogError(f"{where}: sigma: expected one number or three")
    low, mid, high = (_number(value, f"{where}: sigma") for value in sigma)
    return Fit(
        family=owner,
        scope=str(raw["scope"]),
        kernel=str(raw["kernel"]),
        devices=tuple(str(name) for name in raw.get("devices") or ()),
        architectures=tuple(str(name) for name in raw.get("architectures") or ()),
        n=int(raw.get("n") or 0),
        source=sources[raw["source"]],
        median=None if raw.get("median") is None else _number(raw["median"], f"{where}: median"),
        p90=None if raw.get("p90") is None else _number(raw["p90"], f"{where}: p90"),
        sigma=(low, mid, high),
        transfer=_number(raw.get("transfer", 0.0), f"{where}: transfer"),
        far=_number(raw.get("far", raw.get("transfer", 0.0)), f"{where}: far"),
        values=values,
    )


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= float(value) < 1e12:
        raise CatalogError(f"{where}: expected a number of at least 0, found {value!r}")
    return float(value)
