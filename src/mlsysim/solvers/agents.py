"""Agents that call a model many times over a growing context, and what looking things up costs (wall 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Infra
from ..catalog.infra import Price
from ..errors import MissingFactError
from ..machine.textbook import peak_in
from ..physics import agents, cost, memory, roofline
from ..record import total
from ..units import Bytes, Count, Dollars, Flop, Fraction, PerSecond, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .limits import Limit
from .result import Question, Result
from .serving import ServingModel, ServingResult

HOUR = 3600.0
MOST_TURNS = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AgentLoopResult(Result):
    """One trajectory: what is sent, how long it takes, what it costs, with and without a prefix cache."""

    turns: Count
    prompt_tokens_sent: Count
    fresh_prompt_tokens: Count
    output_tokens: Count
    final_context: Count
    prefill_time_uncached: Seconds
    prefill_time_cached: Seconds
    decode_time: Seconds
    tool_time: Seconds
    cost_uncached: Dollars
    cost_cached: Dollars
    success: Fraction
    uses_cache: bool
    feasible: bool
    last_turn: ServingResult

    @total
    def latency_uncached(self) -> Seconds:
        """The whole trajectory when every turn reads its prompt anew."""
        return memory.sum_of_times(self.prefill_time_uncached, self.decode_time, self.tool_time)

    @total
    def latency_cached(self) -> Seconds:
        """The whole trajectory when the prefix stays in the cache."""
        return memory.sum_of_times(self.prefill_time_cached, self.decode_time, self.tool_time)

    @total
    def latency(self) -> Seconds:
        """The whole trajectory as asked, with or without the cache."""
        return self.latency_cached if self.uses_cache else self.latency_uncached

    @total
    def cost(self) -> Dollars:
        """Cost of the trajectory as asked; NaN where no price was given."""
        return self.cost_cached if self.uses_cache else self.cost_uncached

    @total
    def cache_speedup(self) -> Fraction:
        """Time without the cache over time with it."""
        return self.latency_uncached / self.latency_cached

    @total
    def reread_share(self) -> Fraction:
        """Share of the prompt tokens that earlier turns have sent before."""
        return 1 - self.fresh_prompt_tokens / self.prompt_tokens_sent

    @total
    def cost_per_success(self) -> Dollars:
        """Cost of one trajectory that ends well, failed ones included."""
        return (self.cost_cached if self.uses_cache else self.cost_uncached) / self.success

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit at the last turn."""
        return self.last_turn.limits


class AgentLoopModel(ForwardModel):
    """Wall 4: a loop sends all that came before at every turn; its prompts grow with the square of its length."""

    walls = ((4, "Serving", "node"),)
    requires = ("workload", "hardware")
    produces = AgentLoopResult
    misbeliefs = {
        "twice the turns, twice the cost": "without a prefix cache the tokens read grow with the square of the turns",
        "the answer is what costs": "an agent reads tens of tokens for each that it writes",
        "ninety-five per cent a step is reliable": "over twenty steps it is one in three",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        turns: Any = 10,
        prompt_tokens: Any = 2000,
        output_tokens: Any = 200,
        tool_tokens: Any = 500,
        *,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        prefix_cache: Any = True,
        tool_time: Any = "0 s",
        price: Any = None,
        usd_per_device_hour: Any = None,
        step_success: Any = 1.0,
        kv_precision: Any = None,
        tp_size: Any = 1,
    ) -> AgentLoopResult:
        """Tokens, time, memory and cost of a trajectory.

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device, a node, or a name
            turns: calls of the model
            prompt_tokens: tokens of the first prompt
            output_tokens: tokens that the model writes in a turn
            tool_tokens: tokens that a tool or a person adds after it
            batch_size: trajectories served together
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached, in (0, 1]
            prefix_cache: keep keys and values of all earlier turns
            tool_time: waiting time between turns
            price: an API entry of ``Infra.Pricing``, to be billed by the token
            usd_per_device_hour: cost of one device for an hour, to be billed by time
            step_success: probability that a turn goes well; the trajectory needs them all
            kv_precision: number format of the cache
            tp_size: tensor-parallel ranks

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = AgentLoopModel().solve("Llama3_8B", "H100", turns=4, prompt_tokens=1000, tool_tokens=300)
            >>> answer.prompt_tokens_sent, answer.fresh_prompt_tokens
            (7000.0, 2500.0)
        """
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        border = Border()
        network, machine, number = border.model(model), border.machine(hardware), border.format(precision)
        many = border.count("turns", turns, most=MOST_TURNS)
        prompt = border.count("prompt_tokens", prompt_tokens)
        written = border.count("output_tokens", output_tokens)
        added = border.count("tool_tokens", tool_tokens, least=0)
        batch, eta = border.count("batch_size", batch_size), border.fraction("efficiency", efficiency)
        ranks = border.count("tp_size", tp_size)
        wait = border.quantity("tool_time", tool_time, "second", zero=True)
        sure = border.fraction("step_success", step_success)
        border.flag("prefix_cache", prefix_cache)
        bill = None if price is None else border.entry("price", price, Price, Infra)
        rate = None if usd_per_device_hour is None else border.number("usd_per_device_hour", usd_per_device_hour)
        if bill is not None and (bill.si.price_input is None or bill.si.price_output is None):
            border.problems.append(f"price: {bill.id} is no price of tokens")
        if price is not None and rate is not None:
            border.problems.append("price, usd_per_device_hour: expected one of them")
        border.close()
        arguments.update(model=network, hardware=machine, precision=number, price=bill)
        same = dict(batch_size=batch, precision=number, efficiency=eta, kv_precision=kv_precision, tp_size=ranks)
        growth = written + added
        final = ServingModel().solve(network, machine, prompt + growth * (many - 1) + written, **same)
        asked = (np.asarray(x) for x in (many, prompt, written, added, batch, eta, wait, sure))
        shape = shape_of(np.empty(final.shape), *asked)
        index = np.arange(float(np.max(many))).reshape(-1, *(1 for _ in shape))
        live = index < many
        context = prompt + growth * index
        known = np.where(index == 0, 0.0, context - np.maximum(added, 1.0))  # at least one token is read to go on
        cold = ServingModel().solve(network, machine, context, **same)
        warm = ServingModel().solve(network, machine, context, cached_prefix_len=known, **same)
        middle = ServingModel().solve(network, machine, np.ceil(context + written / 2), **same)

        def over_turns(each: Any) -> Any:
            return np.sum(np.where(live, each, 0.0), axis=0)[()]

        uncached, cached = over_turns(cold.si.ttft), over_turns(warm.si.ttft)
        decoding = over_turns(middle.si.itl * written)
        sent = agents.trajectory_tokens(prompt, growth, many)
        fresh = agents.fresh_tokens(prompt, growth, many)
        paused = wait * (many - 1)
        notes = final.notes
        dear = cheap = np.nan
        if bill is not None:
            dear = agents.token_bill(sent, 0.0, many * written, bill.si.price_input, 0.0, bill.si.price_output)
            again = bill.si.price_cached
            if again is None:
                again, notes = bill.si.price_input, (*notes, f"{bill.id} has no price for cached tokens")
            cheap = agents.token_bill(
                fresh, sent - fresh, many * written, bill.si.price_input, again, bill.si.price_output
            )
        elif rate is not None:
            busy = (uncached + decoding, cached + decoding)
            dear, cheap = (cost.cloud_cost(ranks, rate / HOUR, time) / batch for time in busy)
        return AgentLoopResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=notes,
            turns=many,
            prompt_tokens_sent=sent,
            fresh_prompt_tokens=fresh,
            output_tokens=many * written,
            final_context=prompt + growth * (many - 1) + written,
            prefill_time_uncached=uncached,
            prefill_time_cached=cached,
            decode_time=decoding,
            tool_time=paused,
            cost_uncached=dear,
            cost_cached=cheap,
            success=sure**many,
            uses_cache=bool(prefix_cache),
            feasible=final.si.feasible,
            last_turn=final,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RetrievalResult(Result):
    """Looking up passages by vectors, and reading them."""

    index: str
    index_size: Bytes
    memory_capacity: Bytes
    scanned_vectors: Count
    scan_flops: Flop
    scan_compute: Seconds
    scan_memory: Seconds
    scan_overhead: Seconds
    queries: Count
    added_context: Count
    added_ttft: Seconds
    added_cache: Bytes
    feasible: bool

    @total
    def search_time(self) -> Seconds:
        """Time of one batch of queries: the roofline of the scan."""
        return roofline.roofline_time(self.scan_compute, self.scan_memory, self.scan_overhead)

    @total
    def queries_per_second(self) -> PerSecond:
        """Queries a second."""
        return self.queries / self.search_time

    @total
    def added_latency(self) -> Seconds:
        """Search, and the longer prompt; NaN for the prompt where no model was given."""
        return memory.sum_of_times(self.search_time, self.added_ttft, 0.0)

    @property
    def bottleneck(self) -> Any:
        """``"Memory"`` or ``"Compute"``: what the scan waits for."""
        inside = self.si
        bound = np.where(np.greater(inside.scan_compute, inside.scan_memory), "Compute", "Memory")
        return np.broadcast_to(bound, self.shape) if self.shape else str(bound)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        return (Limit("memory", self.si.index_size, self.si.memory_capacity, "byte"),)


class RetrievalModel(ForwardModel):
    """Wall 4: scanning vectors is bound by memory bandwidth; the passages found lengthen every prompt."""

    walls = ((4, "Serving", "node"),)
    requires = ("hardware",)
    produces = RetrievalResult
    misbeliefs = {
        "search is the slow part": "reading the passages that were found often takes longer than finding them",
        "an index is smaller than the data": "a graph holds all vectors and its links besides",
    }

    def solve(
        self,
        hardware: Any,
        vectors: Any,
        dimension: Any = 768,
        queries: Any = 1,
        *,
        index: Any = "flat",
        precision: Any = "fp32",
        lists: Any = 4096,
        probes: Any = 32,
        code_parts: Any = 64,
        links: Any = 32,
        visited: Any = 1000,
        top_k: Any = 5,
        passage_tokens: Any = 200,
        model: Any = None,
        model_hardware: Any = None,
        prompt_tokens: Any = 500,
        batch_size: Any = 1,
    ) -> RetrievalResult:
        """Memory and time of a vector search, and the cost of the context it adds.

        Args:
            hardware: the device that searches, or its name
            vectors: vectors stored
            dimension: their length
            queries: queries answered together
            index: ``"flat"`` (every vector), ``"ivf"`` (some lists), ``"pq"`` (codes of some lists) or ``"hnsw"`` (a graph)
            precision: number format of a component
            lists: lists of an inverted index
            probes: lists that a query looks at
            code_parts: bytes of a product code
            links: links of a vertex of the graph
            visited: vectors that a query visits in the graph
            top_k: passages that are added to the prompt
            passage_tokens: tokens of a passage
            model: the model that reads them
            model_hardware: the device that it runs on; the searching one unless said
            prompt_tokens: tokens of the prompt without them
            batch_size: prompts read together

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = RetrievalModel().solve("H100", 1e7, 768, precision="fp16")
            >>> answer.bottleneck, round(answer.index_size.to("GB").magnitude, 2)
            ('Memory', 15.36)
        """
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        border = Border()
        device, number = border.device(hardware), border.format(precision)
        stored, length = border.count("vectors", vectors, most=1e15), border.count("dimension", dimension)
        asked = border.count("queries", queries)
        kind = border.choice("index", index, ("flat", "ivf", "pq", "hnsw"))
        cells, looked = border.count("lists", lists), border.count("probes", probes)
        parts, edges = border.count("code_parts", code_parts), border.count("links", links)
        seen = border.count("visited", visited)
        found, each = border.count("top_k", top_k, least=0), border.count("passage_tokens", passage_tokens)
        reader = None if model is None else border.model(model)
        runs_on = device if model_hardware is None else border.machine(model_hardware, "model_hardware")
        prompt, batch = border.count("prompt_tokens", prompt_tokens), border.count("batch_size", batch_size)
        if kind in ("ivf", "pq") and border.agree() and np.any(np.greater(looked, cells)):
            border.problems.append("probes: expected at most lists")
        border.close()
        arguments.update(hardware=device, precision=number, index=kind, model=reader)
        value = number.bytes_per_value()
        size = agents.vector_store_size(stored, length, value)
        scanned, row = stored, length * value
        notes: tuple[str, ...] = ()
        if kind in ("ivf", "pq"):
            scanned = stored * agents.probed_share(looked, cells) + cells
        if kind == "pq":
            size = agents.product_code_size(stored, parts)
            row = parts * 1.0
            notes += ("a code costs one table look-up and addition a part, counted as a multiply-add each",)
        if kind == "hnsw":
            size = size + agents.graph_links_size(stored, edges)
            scanned = np.minimum(seen, stored)
            notes += ("a walk through a graph waits for memory at every hop; the roofline is a lower bound",)
        flops = agents.vector_scan_flops(scanned, parts if kind == "pq" else length, asked)
        # Queries of a batch share one pass over a flat store; elsewhere each looks at lists or vertices of its own.
        read = scanned * row if kind == "flat" else np.minimum(scanned * row * asked, size)
        peak = _peak(device, number)
        compute, moved = roofline.compute_time(flops, peak), roofline.memory_time(read, device.si.memory_bandwidth)
        added, later, cache = found * each, np.nan, np.nan
        if reader is not None:
            short = ServingModel().solve(reader, runs_on, prompt, batch)
            long = ServingModel().solve(reader, runs_on, prompt + added, batch)
            later = long.si.ttft - short.si.ttft
            cache = long.si.kv_cache_size - short.si.kv_cache_size
            notes += long.notes
        capacity = device.si.memory_capacity
        return RetrievalResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(x) for x in (size, flops, read, added, later, cache, capacity, batch))),
            notes=notes,
            index=kind,
            index_size=size,
            memory_capacity=capacity,
            scanned_vectors=scanned,
            scan_flops=flops,
            scan_compute=compute,
            scan_memory=moved,
            scan_overhead=device.si.dispatch_latency,
            queries=asked,
            added_context=added,
            added_ttft=later,
            added_cache=cache,
            feasible=size <= capacity,
        )


def _peak(device: Any, number: Any) -> Any:
    """The peak that distances are computed at; any the device has where the format's own is not known."""
    try:
        return peak_in(device, number)[0]
    except MissingFactError:
        return device.compute.si.peak_flops
