"""Requests that join and leave a batch at every step, their cache in pages (wall 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..catalog.models import Transformer
from ..physics import batching, roofline
from ..record import total
from ..units import Bytes, Count, Fraction, Plain, Seconds
from ..workloads.transformer import shape as shape_of_model
from . import plan as plans
from .base import ForwardModel
from .border import Border, shape_of, unsupported
from .limits import Limit
from .result import Question, Result
from .serving import ServingModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContinuousBatchingResult(Result):
    """A replica full of requests, against the same replica with static batches."""

    throughput_tokens_per_sec: Plain
    max_active_requests: Count
    ttft: Seconds
    itl: Seconds
    mean_token_gap: Seconds
    worst_token_gap: Seconds
    page_fragmentation: Fraction
    paged_kv_cache_size: Bytes
    kv_bytes_saved_by_sharing: Bytes
    static_throughput_tokens_per_sec: Plain
    static_max_active_requests: Count
    static_fragmentation: Fraction
    memory_for_caches: Bytes
    request_cache: Bytes
    decode_compute: Seconds
    decode_memory: Seconds
    feasible: bool

    @total
    def speedup_vs_static(self) -> Count:
        """Tokens a second over those of static batches; unknown where not one static request fits."""
        static = self.static_throughput_tokens_per_sec
        return np.where(static > 0, self.throughput_tokens_per_sec / np.where(static > 0, static, 1.0), np.nan)[()]

    @total
    def memory_fragmentation(self) -> Fraction:
        """Share of the handed-out pages that holds nothing."""
        return self.page_fragmentation

    @total
    def memory_fragmentation_pct(self) -> Plain:
        """The same in per cent."""
        return self.page_fragmentation * 100

    @property
    def bottleneck(self) -> Any:
        """What a decode step of the full replica waits for."""
        inside = self.si
        named = np.where(inside.decode_compute > inside.decode_memory, "Compute", "Memory")
        return np.broadcast_to(named, self.shape) if self.shape else str(named)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit on each device: the cache of one request at least."""
        inside = self.si
        return (Limit("cache of one request", inside.request_cache, inside.memory_for_caches, "byte"),)


class ContinuousBatchingModel(ForwardModel):
    """Wall 5: the cache of the active requests fills what memory the weights leave."""

    walls = ((5, "Batching", "node"),)
    requires = ("workload", "hardware")
    produces = ContinuousBatchingResult
    misbeliefs = {
        "a request waits for the whole batch's prefill": "requests enter one by one; each waits for its own",
        "reserving the longest sequence is safe": "it leaves most of the cache empty; pages waste half a page a request",
        "long prompts only hurt themselves": "a prefill stalls every active request, unless it is cut into chunks",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        seq_len: Any,
        max_batch_size: Any = 1,
        page_size: Any = 16,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        *,
        mean_request_tokens: Any = None,
        output_tokens: Any = None,
        length_spread: Any = None,
        shared_prefix_len: Any = 0,
        prefill_chunk_tokens: Any = None,
        kv_precision: Any = None,
        tp_size: Any = 1,
        pp_size: Any = 1,
    ) -> ContinuousBatchingResult:
        """Throughput of a replica whose slots are always full, and what static batches would give.

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device, a node or a fleet, or a name
            seq_len: longest sequence, prompt and output; static batches reserve all of it; may be an array
            max_batch_size: most requests active at a time
            page_size: tokens in a page of the cache
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached
            mean_request_tokens: tokens that a request really keeps, on average; all of ``seq_len`` unless said
            output_tokens: tokens generated for each request; with it, throughput pays for prefills
            length_spread: half of the range of output lengths over their mean, for static batches
            shared_prefix_len: tokens of a prefix that all requests share and that is kept once
            prefill_chunk_tokens: tokens of a prompt that are processed along with a decode step; all at once unless said
            kv_precision: number format of the cache
            tp_size: tensor-parallel ranks
            pp_size: pipeline stages

        Returns:
            Active requests, tokens a second, TTFT of one request, gaps between tokens, waste, static baseline.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = ContinuousBatchingModel().solve("Llama3_8B", "H100", 2048, max_batch_size=64)
            >>> answer.max_active_requests, print(f"{answer.ttft.to('ms'):.1f~P} {answer.itl.to('ms'):.2f~P}")
            68.8 ms 10.24 ms
            (64.0, None)
        """
        arguments = dict(model=model, hardware=hardware, seq_len=seq_len, max_batch_size=max_batch_size,
                         page_size=page_size, precision=precision, efficiency=efficiency,
                         mean_request_tokens=mean_request_tokens, output_tokens=output_tokens,
                         length_spread=length_spread, shared_prefix_len=shared_prefix_len,
                         prefill_chunk_tokens=prefill_chunk_tokens, kv_precision=kv_precision, tp_size=tp_size,
                         pp_size=pp_size)  # fmt: skip
        border = Border()
        network, machine = border.model(model), border.machine(hardware)
        longest = border.count("seq_len", seq_len)
        most = border.count("max_batch_size", max_batch_size)
        if not isinstance(efficiency, str):  # what is measured has a word, which the serving model checks
            border.fraction("efficiency", efficiency)
        page = border.count("page_size", page_size)
        tokens = longest if mean_request_tokens is None else border.count("mean_request_tokens", mean_request_tokens)
        output = None if output_tokens is None else border.count("output_tokens", output_tokens)
        spread = Defaults["Operations"].si.length_spread
        if length_spread is not None:
            spread = border.fraction("length_spread", length_spread, closed=True)
        prefix = border.count("shared_prefix_len", shared_prefix_len, least=0)
        chunk = longest if prefill_chunk_tokens is None else border.count("prefill_chunk_tokens", prefill_chunk_tokens)
        plan = plans.Plan(border.count("tp_size", tp_size), border.count("pp_size", pp_size), 1.0)
        border.close()
        if np.any(np.greater(tokens, longest)):
            border.problems.append("mean_request_tokens: expected at most seq_len")
        if np.any(np.greater_equal(prefix, tokens)) and np.any(np.greater(prefix, 0)):
            border.problems.append("shared_prefix_len: expected less than the tokens of a request")
        if output is not None and np.any(np.greater_equal(output, tokens)):
            border.problems.append("output_tokens: expected less than the tokens of a request, which has a prompt too")
        border.close()
        generator(type(self).__name__, network)
        arguments.update(model=network, hardware=machine)
        options = dict(kv_precision=kv_precision, tp_size=tp_size, pp_size=pp_size)
        serving = ServingModel()

        # Memory of one device: weights and one prefill stay; the rest is for caches.
        prompt = tokens if output is None else tokens - output
        first = serving.solve(network, machine, prompt, 1, precision, efficiency, 
                              cached_prefix_len=np.minimum(prefix, prompt), **options)  # fmt: skip
        sizes = first.si
        share = plans.kv_share(plan, shape_of_model(network))
        room = sizes.memory_capacity - sizes.memory_per_device + sizes.kv_cache_size * share

        def cache(length: Any) -> Any:
            """Cache of one sequence on one device."""
            found = serving.solve(network, machine, np.maximum(length, 1.0), 1, precision, efficiency, **options)
            return found.si.kv_cache_size * share

        padded, pages = batching.paged_tokens(tokens, page), np.floor(prefix / page) * page
        request = cache(padded)
        common = request - cache(padded - pages)  # what leaves a sliding window is not kept, hence not shared
        active = np.minimum(batching.resident_requests(room, request, common), most)
        fits = active >= 1
        running = np.maximum(active, 1.0)
        held = batching.shared_cache_size(request, common, active)

        # Time: a decode step of all, and the prefill of each request that enters.
        step = serving.solve(network, machine, tokens, running, precision, efficiency, **options).si
        itl, gap = step.step_latency, step.step_latency
        if output is not None:
            gap = batching.residence_time(step.step_latency, sizes.ttft, running, output) / output
        last = serving.solve(network, machine, prompt, 1, precision, efficiency,
                             cached_prefix_len=np.maximum(prompt - chunk, 0.0), **options).si  # fmt: skip
        worst = roofline.roofline_time(
            step.decode_compute + last.prefill_compute,
            np.maximum(step.decode_memory, last.prefill_memory),
            step.decode_overhead + last.prefill_overhead + step.decode_communication + last.prefill_communication,
        )
        rate = batching.slot_capacity(gap, running)  # each slot yields one token a gap

        # Static batches reserve the longest sequence and run until their longest member is done.
        reserved = cache(longest)
        static = np.minimum(batching.resident_requests(room, reserved, 0.0), most)
        waiting = serving.solve(network, machine, tokens, np.maximum(static, 1.0), precision, efficiency, **options).si
        static_gap = waiting.step_latency
        if output is not None:
            static_gap = batching.residence_time(static_gap, sizes.ttft, np.maximum(static, 1.0), output) / output
        useful = batching.static_batch_share(np.maximum(static, 1.0), spread)
        static_rate = batching.slot_capacity(static_gap, np.maximum(static, 1.0)) * useful
        return ContinuousBatchingResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (rate, static_rate, held, worst, spread))),
            notes=first.notes
            + (() if output is not None else ("decoding only: pass output_tokens= to count prefills",)),
            throughput_tokens_per_sec=where_it_fits(fits, rate, 0.0),
            max_active_requests=active,
            ttft=sizes.ttft,
            itl=where_it_fits(fits, itl, np.nan),
            mean_token_gap=where_it_fits(fits, gap, np.nan),
            worst_token_gap=where_it_fits(fits, worst, np.nan),
            page_fragmentation=batching.wasted_share(tokens, padded),
            paged_kv_cache_size=held / share,
            kv_bytes_saved_by_sharing=(request * active - held) / share,
            static_throughput_tokens_per_sec=where_it_fits(static >= 1, static_rate, 0.0),
            static_max_active_requests=static,
            static_fragmentation=batching.wasted_share(tokens, longest),
            memory_for_caches=room,
            request_cache=request,
            decode_compute=step.decode_compute,
            decode_memory=step.decode_memory,
            feasible=fits,
        )


def where_it_fits(fits: Any, value: Any, otherwise: float) -> Any:
    """The value where something fits; the same object where everything does, so that its origin stays known."""
    return value if np.all(fits) else np.where(fits, value, otherwise)[()]


def generator(solver: str, model: Any) -> None:
    """Refuse a model that does not generate tokens one by one."""
    if not isinstance(model, Transformer) or model.architecture != "transformer":
        raise unsupported(solver, model, "models that generate tokens one by one")
