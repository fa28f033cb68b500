"""A device with the efficiencies that kernels were measured to reach: operators and collectives to times.

Kernel names are choices: a stack (``vllm``, ``trtllm``, ``sglang``) runs its own kernels, and ``families`` overrides
one by name. A device that was never measured takes the fit of its generation, or of all devices, with a wider
interval; every such step is told in ``notes``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..catalog.efficiency import ANY, Family, Fit, family
from ..catalog.hardware import Device
from ..errors import InvalidInputError, MissingFactError, nearest, normalised
from ..physics import is_recording
from ..physics.choice import either, maximum
from ..physics.gemm import smooth_maximum
from ..physics.memory_kernels import gather_time, streaming_time
from ..units import Seconds
from . import collectives
from .chip import Chip, chip_of
from .exchange import NORMAL, exchange_operator
from .operators import Operator, Operators, Product, kv_bytes, numbers
from .products import Weights

STACKS = ("ideal", "vllm", "trtllm", "sglang")
EDGES_LIST = [10e-6, 100e-6]
EDGES = np.array(EDGES_LIST)
"""Times that part the three domains of a fit's ``sigma``."""
OUTSIDE = 0.25
"""Added in quadrature to sigma where a shape lies beyond what was measured."""
OTHER = 0.25
"""Added in quadrature to sigma for chips of other makers or much older generations, where no kernel was calibrated."""
CACHED = 4096


class Chosen(NamedTuple):
    """A fit for a device: its ``sigma`` in three domains of time, wider where another stood in, and notes on that."""

    fit: Fit
    sigma: tuple[float, ...]
    notes: tuple[str, ...]


class Timing(NamedTuple):
    """A predicted time, the standard deviation of its log error, and its speed of light."""

    time: Seconds
    sigma: Any
    notes: tuple[str, ...]
    floor: Seconds


class MeasuredMachine:
    """One device as kernels find it; all arguments may be arrays and broadcast."""

    __slots__ = (
        "_cache", "_fits", "_library", "_products", "_streamed", "_weights", "chip", "families", "operators",
        "rates", "stack",
    )  # fmt: skip

    def __init__(
        self,
        device: Device,
        stack: str = "ideal",
        families: Mapping[str, str] | None = None,
        library: Mapping[str, Family] | None = None,
    ) -> None:
        """A device under a software stack.

        Args:
            device: one entry of the hardware catalog
            stack: whose kernels: ``vllm``, ``trtllm``, ``sglang``, or ``ideal`` for a sound default of each family
            families: kernel by family, such as ``{"context_attention": "vllm_fa3/bf16/bf16"}``
            library: efficiency families that stand in for those of the catalog

        Raises:
            InvalidInputError: an unknown stack, family or kernel, or a stack of devices
        """
        if stack not in STACKS:
            near = nearest(str(stack), STACKS) or list(STACKS)
            raise InvalidInputError(f"stack: expected one of {', '.join(STACKS)}, found {stack!r}; nearest: {near[0]}")
        self.chip: Chip = chip_of(device)
        self.stack = stack
        self.families = dict(families or {})
        self._library = library
        for name, kernel in self.families.items():
            known = sorted({fit.kernel for fit in self._family(name).fits})
            if kernel not in known:
                raise InvalidInputError(f"kernel of {name}: expected one of {', '.join(known)}, found {kernel!r}")
        self.operators = Operators(self.chip)
        self._fits: dict[tuple[str, str, str | None], Chosen] = {}
        self._cache: dict[Any, Timing] = {}
        self._products: dict[str, tuple[Product, Chosen]] = {}
        self._weights: dict[Any, Weights] = {}
        self._streamed: Callable[[float, float], Timing] | None = None
        self.rates: dict[str, float] = {}  # peaks of formats, which passes fill in

    # -- dense and expert products -------------------------------------------------------------------------------

    def gemm(
        self, m: Any, n: Any, k: Any, precision: str = "bf16", weight_precision: str | None = None, count: Any = 1.0
    ) -> Timing:
        """``count`` products y[m, n] = x[m, k] W[n, k]; the kernels that quantise x belong to it."""
        key = (m, n, k, precision, weight_precision, count)
        if type(m) is type(n) is type(k) is type(count) is float and key in self._cache and not is_recording():
            return self._cache[key]  # a pass has looked ahead
        return self._timed(key, lambda: self.run(self.operators.gemm(*key[:5]), count))

    def conv(self, m: Any, n: Any, k: Any, precision: str = "bf16", count: Any = 1.0) -> Timing:
        """A convolution as an implicit product: m output pixels of a batch, n channels out, k = channels in x window."""
        timing = self.gemm(m, n, k, precision, count=count)
        told = "convolution timed as an implicit matrix product; no convolution was measured"
        return _wider(timing, 0.25, told)

    def moe(
        self, tokens: Any, hidden: Any, ffn: Any, experts: Any, topk: Any, tp: Any = 1.0, ep: Any = 1.0,
        precision: str = "bf16", imbalance: Any = 1.0, *, active: Any = None, gated: bool = True,
    ) -> Timing:  # fmt: skip
        """Experts of one rank; ``tokens`` are those of all expert-parallel ranks before top-k.

        ``imbalance`` is the load of the rank over the mean; ``active`` overrides how many of its experts are busy.
        """
        return self._timed(
            ("moe", tokens, hidden, ffn, experts, topk, tp, ep, precision, imbalance, active, gated),
            lambda: self.run(
                self.operators.moe(
                    tokens, hidden, ffn, experts, topk, tp, ep, precision, 3.0 if gated else 2.0, imbalance, active
                )
            ),
        )

    # -- attention -----------------------------------------------------------------------------------------------

    def context_attention(
        self, batch: Any, new_tokens: Any, cached_tokens: Any, heads: Any, kv_heads: Any, head_dim: Any,
        window: Any = None, kv_precision: str = "bf16", causal: bool = True,
    ) -> Timing:  # fmt: skip
        """Fused prefill attention of new tokens after cached ones, with the write of their keys and values."""
        # The name of a prefill kernel ends in the format of its arithmetic and that of its cache.
        parts = self.kernel("context_attention", kv_precision).split("/")
        arithmetic = parts[1] if len(parts) == 3 else "bf16"
        args = (batch, new_tokens, cached_tokens, heads, kv_heads, head_dim, window, kv_precision, arithmetic, causal)
        return self._timed(("context", *args), lambda: self.run(self.operators.context_attention(*args)))

    def generation_attention(
        self, batch: Any, context: Any, heads: Any, kv_heads: Any, head_dim: Any, window: Any = None,
        kv_precision: str = "bf16",
    ) -> Timing:  # fmt: skip
        """One new token of every sequence against its cached keys and values."""
        args = (batch, context, heads, kv_heads, head_dim, window, kv_precision)
        return self._timed(("generation", *args), lambda: self.run(self.operators.generation_attention(*args)))

    def mla_context(
        self, batch: Any, new_tokens: Any, cached_tokens: Any, heads: Any, head_dim: Any = 192.0,
        value_dim: Any = 128.0, kv_precision: str = "bf16",
    ) -> Timing:  # fmt: skip
        """Prefill of latent attention, with keys and values expanded for every head."""
        args = (batch, new_tokens, cached_tokens, heads, heads, head_dim, None, kv_precision, "bf16", True, value_dim)
        return self._timed(("mla_context", *args), lambda: self.run(self.operators.context_attention(*args)))

    def mla_generation(
        self, batch: Any, context: Any, heads: Any, kv_rank: Any = 512.0, rope_dim: Any = 64.0,
        kv_precision: str = "bf16",
    ) -> Timing:  # fmt: skip
        """One decode step of latent attention, every head against the one shared latent."""
        args = (batch, context, heads, 1.0, kv_rank + rope_dim, None, kv_precision, 0.0)
        return self._timed(("mla_generation", *args), lambda: self.run(self.operators.generation_attention(*args)))

    # -- kernels that move bytes ---------------------------------------------------------------------------------

    def elementwise(self, bytes: Any, count: Any = 1.0) -> Timing:
        """``count`` kernels that each stream so many bytes."""
        if type(bytes) is not float or type(count) is not float or self.chip.dispatch:
            return self._stream(bytes, count)
        if self._streamed is None:
            self._streamed = self._streamer()
        return self._streamed(bytes, count)

    def _streamer(self) -> Callable[[float, float], Timing]:
        """What :meth:`_stream` does for plain numbers, with all that is the same each time looked up: half of a pass."""
        fit, sigma, notes = self._fit("streaming", ANY)
        bandwidth, share, launch = self.chip.bandwidth, fit.values["memory"], fit.values["launch"]

        def run(moved: float, count: float) -> Timing:
            time = streaming_time(moved, bandwidth, share, launch) * count
            return tuple.__new__(Timing, (time, sigma[bisect_left(EDGES_LIST, time)], notes, moved / bandwidth * count))

        return run

    def norm(self, tokens: Any, hidden: Any, precision: str = "bf16", count: Any = 1.0) -> Timing:
        """A normalisation fused with the residual addition: two reads and two writes of the activations."""
        return self.elementwise(4.0 * tokens * hidden * kv_bytes(precision), count)

    def embedding(self, tokens: Any, hidden: Any, precision: str = "bf16", reuse: Any = 0.0) -> Timing:
        """A gather of rows from a table, and the write of the result."""
        fit, sigma, notes = self._fit("streaming", "gather")
        rows = numbers(tokens * hidden * kv_bytes(precision))
        p, bandwidth = fit.values, self.chip.bandwidth
        time = gather_time(rows, bandwidth, p["memory"], p["launch"], reuse) + rows / bandwidth
        return self._timing(time, 2 * rows / bandwidth, sigma, notes)

    def depthwise(self, flops: Any, bytes: Any, count: Any = 1.0) -> Timing:
        """A depthwise convolution, pooling or other kernel that streams and does a little vector arithmetic."""
        return self._stream(bytes, count, flops)

    def scan(self, flops: Any, bytes: Any, count: Any = 1.0) -> Timing:
        """A recurrence over tokens (state-space layer) in one fused kernel, by its FLOPs and bytes."""
        return self._stream(bytes, count, flops)

    def _stream(self, traffic: Any, count: Any, flops: Any = None) -> Timing:
        fit, sigma, notes = self._fit("streaming", ANY)
        p, traffic = fit.values, numbers(traffic)
        time = streaming_time(traffic, self.chip.bandwidth, p["memory"], p["launch"])
        floor = traffic / self.chip.bandwidth
        if flops is not None:
            flops, vector = numbers(flops), self.chip.peak("fp32")[0]
            floor = maximum(floor, flops / vector)
            time = maximum(time, p["launch"] + flops / (p["compute"] * vector))
        if self.chip.dispatch:
            time = smooth_maximum(time, self.chip.dispatch, 6.0)
        return self._timing(time * count, floor * count, sigma, notes)

    # -- collectives ---------------------------------------------------------------------------------------------

    def collective(
        self, kind: str, message_bytes: Any, ranks: Any, *, domain: str = "node", nodes: Any = 1,
        algorithm: str | None = None, link_bandwidth: float | None = None, link_latency: float | None = None,
    ) -> Timing:  # fmt: skip
        """A collective of ``ranks`` devices; ``message_bytes`` is the whole buffer of a rank (for p2p, what is sent).

        Args:
            kind: ``all_reduce``, ``all_gather``, ``reduce_scatter``, ``all_to_all`` or ``p2p``
            message_bytes: bytes
            ranks: devices that take part
            domain: ``node`` or ``rack`` (one scale-up fabric), or ``cross`` (``nodes`` nodes over a network)
            nodes: nodes, for ``cross``
            algorithm: kernel such as ``nccl``; by default that of the stack
            link_bandwidth: one direction of a device's link in the domain (its share of the network for ``cross``)
            link_latency: latency of one hop, added to what was measured inside a node
        """
        args = (kind, message_bytes, ranks, domain, nodes, algorithm, link_bandwidth, link_latency)
        return self._timed(("collective", *args), lambda: self._collective(*args))

    def _collective(
        self, kind: str, message: Any, ranks: Any, domain: str, nodes: Any, algorithm: str | None, link: Any,
        latency: Any,
    ) -> Timing:  # fmt: skip
        message, ranks = numbers(message), numbers(ranks)
        if domain == "cross":
            return self._across(kind, message, ranks, np.asarray(nodes, dtype=np.float64), algorithm, link, latency)
        if domain not in ("node", "rack"):
            raise InvalidInputError(f"domain: expected node, rack or cross, found {domain!r}")
        name = "all_gather" if kind == "p2p" else kind
        if name not in collectives.PASSES:
            raise InvalidInputError(f"collective: expected one of {', '.join(collectives.KINDS)}, found {kind!r}")
        fit, sigma, notes = self._fit(name, ANY, algorithm)
        wire = collectives.link_of(self.chip, link)
        extra = 0.0 if latency is None or latency == self.chip.link_latency else latency
        if kind == "p2p":
            latency_of = fit.values["latency"]
            fit, sigma, told = self._fit("p2p", ANY)
            notes, time = (*notes, *told), collectives.message_time(latency_of, fit.values["bulk"], message, wire)
        else:
            time = collectives.timer(fit.kernel)(fit.values, kind, message, ranks, wire)
        fastest = either(ranks > collectives.PAIR, min(wire.bandwidth, wire.beyond), wire.bandwidth)
        floor = collectives.wire_bytes(kind, message, ranks, wire.switch) / fastest
        time = time + extra * maximum(ranks - 1, 0.0)
        timing = self._timing(time, floor, sigma, notes)
        if kind == "p2p" or not np.any(ranks > 16):
            return timing
        return _wider(timing, np.where(ranks > 16, OUTSIDE, 0.0), "")

    def _across(
        self, kind: str, message: Any, ranks: Any, nodes: Any, algorithm: str | None, link: Any, latency: Any
    ) -> Timing:
        fit, sigma, notes = self._fit("network", ANY)
        if link is None:
            raise MissingFactError(
                "a collective across nodes needs link_bandwidth: the network of one device, one direction"
            )
        inside_ranks = np.maximum(ranks / nodes, 1.0)
        hop = fit.values["latency"] if latency is None else latency
        share = 1.0 if kind == "all_to_all" else inside_ranks
        sent = message if kind == "p2p" else collectives.wire_bytes(kind, message, nodes) / share
        steps = (
            np.minimum(2 * np.ceil(np.log2(np.maximum(nodes, 2.0))), 2 * (nodes - 1))
            if kind == "all_reduce"
            else nodes - 1
        )
        if kind == "p2p":
            steps = np.ones_like(nodes)
        # A rank alone on its node pays the library's own latency too; others pay it in the step inside the node.
        near = self._fit("all_gather" if kind == "p2p" else kind, ANY, algorithm)[0].values.get("latency", 0.0)
        own = np.where(inside_ranks > 1, 0.0, near) if kind != "p2p" else near
        across = np.where(nodes > 1, own + steps * hop + sent / (fit.values["bulk"] * link), 0.0)
        floor = np.where(nodes > 1, sent / link, 0.0)
        outer = self._timing(across, floor, sigma, (*notes, "network terms assumed, not fitted"))
        if kind == "p2p":
            return outer
        inner = self._collective(kind, message, inside_ranks, "node", 1, algorithm, None, None)
        alone = inside_ranks > 1
        inner_time = np.where(alone, inner.time, 0.0)
        total = inner_time + outer.time
        spread = np.sqrt((inner.sigma * inner_time) ** 2 + (outer.sigma * outer.time) ** 2) / np.maximum(total, 1e-30)
        floor = np.maximum(np.where(alone, inner.floor, 0.0), outer.floor)
        return Timing(_plain(total), _plain(spread), (*inner.notes, *outer.notes), _plain(floor))

    def exchange(
        self, phase: str, tokens: Any, hidden: Any, topk: Any, experts: Any, ranks: Any, nodes: Any = 1.0,
        network: Any = None, kernel: str = NORMAL, link_bandwidth: Any = None, most_nodes: Any = math.inf,
    ) -> Timing:  # fmt: skip
        """Tokens to the ranks of their experts or back: :func:`~mlsysim.machine.exchange.exchange_operator`."""
        args = (phase, tokens, hidden, topk, experts, ranks, nodes, network, kernel, link_bandwidth, most_nodes)
        return self._timed(
            ("exchange", *args), lambda: self.run(exchange_operator(self.chip, *args), kernel=f"{kernel}/{phase}")
        )

    # -- fits ----------------------------------------------------------------------------------------------------

    def _family(self, name: str) -> Family:
        if self._library is None:
            return family(name)
        if name not in self._library:
            raise MissingFactError(
                f"the given efficiencies have no family {name}; they have {', '.join(self._library)}"
            )
        return self._library[name]

    def kernel(self, name: str, variant: str = ANY) -> str:
        """The kernel that is run for a family and a variant (a precision)."""
        return self.families.get(name) or self._family(name).kernel(self.chip.generation, self.stack, variant)

    def _fit(self, name: str, variant: str, kernel: str | None = None) -> Chosen:
        """The fit of a family for this device."""
        key = (name, variant, kernel)
        found = self._fits.get(key)
        if found is None:
            entry = self._family(name)
            chosen = kernel or self.kernel(name, variant)
            # The latency of a collective is that of the node more than of the chip: no other generation stands in.
            near = self.chip.generations
            if name in collectives.PASSES or chosen.endswith("_eager"):  # launched from the host, so the host counts
                near = (collectives.scope_of(self.chip, chosen),)
            fit = entry.choose(self.chip.names, near, chosen)
            notes: tuple[str, ...] = ()
            wider = 0.0
            if not self.chip.names & {normalised(name) for name in fit.devices}:
                wider = fit.transfer if self.chip.architecture in fit.architectures else fit.far
                seen = ", ".join(fit.devices)
                told = (
                    f"{self.chip.id} was not measured; fitted on {seen}"
                    if seen
                    else "assumed efficiency, measured nowhere"
                )
                notes = (f"{name}: {told}",)
            if fit.kernel != chosen and normalised(fit.scope) not in self.chip.names:
                wider = float(np.hypot(wider, OUTSIDE))
                notes = (*notes, f"{name}: no fit of kernel {chosen}; that of {fit.kernel} stands in")
            if self.chip.generation == "other" and fit.source.kind == "fitted":
                wider = float(np.hypot(wider, OTHER))
                notes = (*notes, f"{name}: the form was fitted on NVIDIA devices")
            sigma = tuple(math.hypot(one, wider) if wider else one for one in fit.sigma)
            found = self._fits[key] = Chosen(fit, sigma, (*self.chip.notes, *notes))
        return found

    def run(self, operator: Operator, count: Any = 1.0, kernel: str | None = None) -> Timing:
        """An operator, ``count`` times; ``kernel`` names the kernel, else the stack does."""
        chosen = self._fit(operator.family, operator.precision, kernel)
        time, floor = operator.run(chosen.fit.values) * count, operator.floor * count
        notes = (*chosen.notes, *operator.notes) if operator.notes else chosen.notes
        timing, outside = self._timing(time, floor, chosen.sigma, notes), operator.outside
        return timing if outside is False or not np.any(outside) else _beyond(timing, operator.family, outside)

    def look_ahead(self, products: Iterable[tuple[Any, Any, Any, str]]) -> None:
        """Work out at once the products (m, n, k, precision) that :meth:`gemm` is about to be asked for, one by one."""
        if is_recording():
            return
        wanted: dict[str, dict[tuple[Any, ...], None]] = {}
        for m, n, k, precision in products:
            if not isinstance(m, float) or not isinstance(n, float):
                return  # arrays are worked out in blocks as they are
            key = (m, n, k, precision, None, 1.0)
            if key not in self._cache:
                wanted.setdefault(precision, {})[key] = None
        for precision, keys in wanted.items():
            product, chosen = self._product(precision)
            shapes = [key[:3] for key in keys]
            times = product.times(chosen.fit.values, shapes, self._weights)
            notes = (*chosen.notes, *product.notes)
            for key, (m, n, k), time in zip(keys, shapes, times, strict=True):
                timing = self._timing(time, product.floor(m, n, k), chosen.sigma, notes)
                outside = product.outside(m, n, k)
                self._keep(key, _beyond(timing, product.number.family, outside) if outside else timing)

    def _product(self, precision: str) -> tuple[Product, Chosen]:
        """Products in a format, and the fit of their kernel."""
        found = self._products.get(precision)
        if found is None:
            product = self.operators.product(precision)
            found = self._products[precision] = product, self._fit(product.number.family, product.name)
        return found

    def _timing(self, time: Any, floor: Any, sigma: tuple[float, ...], notes: tuple[str, ...]) -> Timing:
        if type(time) is not float or type(floor) is not float:
            time, floor = _plain(time), _plain(floor)
        if type(time) is float:  # the common case, without NumPy
            return tuple.__new__(Timing, (time, sigma[bisect_left(EDGES_LIST, time)], notes, floor))
        return Timing(time, np.take(sigma, np.searchsorted(EDGES, time)), notes, floor)

    def _timed(self, key: tuple[Any, ...], run: Callable[[], Timing]) -> Timing:
        """``run()``, remembered for plain numbers; an open ledger sees every equation at work."""
        if is_recording():
            return run()
        try:
            found = self._cache.get(key)
        except TypeError:  # an array has no hash; those answers are not kept
            return run()
        return self._keep(key, run()) if found is None else found

    def _keep(self, key: tuple[Any, ...], timing: Timing) -> Timing:
        if len(self._cache) >= CACHED:
            self._cache.clear()
        self._cache[key] = timing
        return timing


def _plain(value: Any) -> Any:
    """A float where there is one number, else the array."""
    if type(value) is float:
        return value
    array = np.asarray(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


def _beyond(timing: Timing, name: str, outside: Any) -> Timing:
    return _wider(timing, either(outside, OUTSIDE, 0.0), f"{name}: shapes beyond those measured")


def _wider(timing: Timing, extra: Any, note: str) -> Timing:
    plain = type(timing.sigma) is float and type(extra) is float
    sigma = math.hypot(timing.sigma, extra) if plain else _plain(np.hypot(timing.sigma, extra))
    notes = (*timing.notes, note) if note and note not in timing.notes else timing.notes
    return Timing(timing.time, sigma, notes, timing.floor)
