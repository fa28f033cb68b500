"""The cache of keys and values: its design, its waste, moving it away (wall 5); and tokens drafted ahead (wall 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..machine.textbook import wiring
from ..physics import batching, roofline, storage
from ..physics import transformer as eq
from ..record import total
from ..units import Bytes, Count, Fraction, Seconds
from ..workloads.passes import cache_size
from ..workloads.transformer import shape as shape_of_model
from .base import ForwardModel
from .batching import generator
from .border import Border, shape_of
from .limits import Limit, binding
from .result import Question, Result
from .serving import ServingModel

MLA_HEADS = 2.25
"""Heads' worth of cache of multi-head latent attention: a latent of 4 and a rotary key of 1/2 head widths over two."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KVCacheResult(Result):
    """What the cached state of conversations weighs, wastes, and costs to move or to compute again."""

    bytes_per_token: Bytes
    session_cache: Bytes
    total_cache: Bytes
    paged_cache: Bytes
    page_fragmentation: Fraction
    reserved_cache: Bytes
    reservation_waste: Fraction
    mha_cache: Bytes
    gqa_cache: Bytes
    mqa_cache: Bytes
    mla_cache: Bytes
    memory_for_caches: Bytes
    max_sessions: Count
    offload_time: Seconds
    reload_time: Seconds
    recompute_time: Seconds
    feasible: bool

    @total
    def shared_saving(self) -> Bytes:
        """Bytes saved by keeping a common prefix once."""
        return self.total_cache - self.paged_cache

    @total
    def round_trip(self) -> Seconds:
        """Moving the cache of one session to host memory and back."""
        return self.offload_time + self.reload_time

    @total
    def mha_over_design(self) -> Count:
        """How many times larger the cache would be if every head kept its own keys and values."""
        return self.mha_cache / self.session_cache

    @total
    def recompute_over_reload(self) -> Count:
        """Above 1, reloading a paused session beats computing its prompt again."""
        return self.recompute_time / self.reload_time

    @property
    def bottleneck(self) -> Any:
        """The slower way to bring back a paused session: ``"Reload"`` or ``"Recompute"``."""
        inside = self.si
        parts = [np.broadcast_to(part, self.shape) for part in (inside.reload_time, inside.recompute_time)]
        return binding(("Reload", "Recompute"), tuple(parts))[0]

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        return (Limit("caches", self.si.paged_cache, self.si.memory_for_caches, "byte"),)


class KVCacheModel(ForwardModel):
    """Wall 5: what a conversation leaves in memory, by the design of attention and of the allocator."""

    walls = ((5, "Batching", "node"),)
    requires = ("workload", "hardware")
    produces = KVCacheResult
    misbeliefs = {
        "weights are what fills memory": "at long contexts and many users the cache is larger than the weights",
        "a paused user should keep the cache": "reloading takes milliseconds; memory held idle costs other users' slots",
        "grouped heads only save parameters": "the cache shrinks by the same factor, and with it every decode step",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        seq_len: Any,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        *,
        kv_precision: Any = None,
        page_size: Any = 16,
        reserved_len: Any = None,
        shared_prefix_len: Any = 0,
        link_bandwidth: Any = None,
    ) -> KVCacheResult:
        """Size, waste and movement of the caches of several sessions on one device.

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device, or a name
            seq_len: tokens of each session; may be an array
            batch_size: sessions kept at a time
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached when a prompt is computed again
            kv_precision: number format of the cache
            page_size: tokens in a page
            reserved_len: tokens an allocator without pages reserves; the model's longest context unless said
            shared_prefix_len: tokens of a prefix that all sessions share
            link_bandwidth: bandwidth to host memory, one direction, where the catalog does not know it

        Returns:
            Sizes (the same model with one head's cache for each head, group, or latent beside its own), sessions that
            fit, and the times to move one session away, to bring it back, and to compute it again.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = KVCacheModel().solve("Llama3_8B", "H100", seq_len=8192)
            >>> print(f"{answer.bytes_per_token.to('kB'):.1f~P}, {answer.mha_over_design:g} x")
            131.1 kB, 4 x
        """
        arguments = dict(model=model, hardware=hardware, seq_len=seq_len, batch_size=batch_size, precision=precision,
                         efficiency=efficiency, kv_precision=kv_precision, page_size=page_size,
                         reserved_len=reserved_len, shared_prefix_len=shared_prefix_len,
                         link_bandwidth=link_bandwidth)  # fmt: skip
        border = Border()
        network, machine = border.model(model), border.machine(hardware)
        number = border.format(precision)
        stored = None if kv_precision is None else border.format(kv_precision, "kv_precision")
        tokens, sessions = border.count("seq_len", seq_len), border.count("batch_size", batch_size)
        page = border.count("page_size", page_size)
        asked = None if reserved_len is None else border.count("reserved_len", reserved_len)
        prefix = border.count("shared_prefix_len", shared_prefix_len, least=0)
        if not isinstance(efficiency, str):  # what is measured has a word, which the serving model checks
            border.fraction("efficiency", efficiency)
        link = None
        if link_bandwidth is not None:
            link = border.quantity("link_bandwidth", link_bandwidth, "byte/second")
        border.close()
        if np.any(np.greater_equal(prefix, tokens)):
            border.problems.append("shared_prefix_len: expected less than seq_len")
        if asked is not None and np.any(np.greater(tokens, asked)):
            border.problems.append("reserved_len: expected at least seq_len")
        border.close()
        generator(type(self).__name__, network)
        arguments.update(model=network, hardware=machine)
        chip, m = wiring(machine, 0.0).chip.si, shape_of_model(network)
        value = (number.si.activation_bits / 8) if stored is None else stored.bytes_per_value()
        prefill = ServingModel().solve(network, machine, tokens, 1, precision, efficiency, kv_precision=kv_precision).si
        session = prefill.kv_cache_size
        padded, pages = batching.paged_tokens(tokens, page), np.floor(prefix / page) * page
        one = cache_size(m, padded, 1.0, value)[0]
        common = (
            one - cache_size(m, padded - pages, 1.0, value)[0]
        )  # what leaves a window is not kept, hence not shared
        paged = batching.shared_cache_size(one, common, sessions)
        room = prefill.memory_capacity - prefill.memory_per_device + session
        longest = asked if asked is not None else network.si.max_context or network.si.positions or tokens
        reserve = np.maximum(longest, tokens)
        layers = sum(kind.layers for kind in m.attention)
        width, heads = network.si.v_head_dim or network.si.head_dim, network.si.heads
        designs = [
            batching.attention_design_size(layers, kept, width, tokens, value)
            for kept in (heads, network.si.kv_heads, 1.0, MLA_HEADS)
        ]
        notes: tuple[str, ...] = ()
        if m.state_values or len(m.caches) > 1:
            notes += (f"{network.id} has windows or recurrent states; the designs are compared with full attention",)
        if link is None:
            link = np.nan if chip.host_bandwidth is None else chip.host_bandwidth
            if np.any(np.isnan(link)):
                notes += (f"the catalog does not know the host link of {machine.id}; pass link_bandwidth=",)
        moving = storage.transfer_time(session, link)
        return KVCacheResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (paged, session, room, moving, prefill.ttft, reserve))),
            notes=notes,
            bytes_per_token=session / tokens,
            session_cache=session,
            total_cache=one * sessions,
            paged_cache=paged,
            page_fragmentation=batching.wasted_share(tokens, padded),
            reserved_cache=cache_size(m, reserve, sessions, value)[0],
            reservation_waste=batching.wasted_share(tokens, reserve),
            mha_cache=designs[0],
            gqa_cache=designs[1],
            mqa_cache=designs[2],
            mla_cache=designs[3],
            memory_for_caches=np.maximum(room, 0.0),
            max_sessions=batching.resident_requests(room, one, common),
            offload_time=moving,
            reload_time=moving,
            recompute_time=roofline.roofline_time(prefill.prefill_compute, prefill.prefill_memory, 0.0),
            feasible=paged <= room,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpeculativeDecodingResult(Result):
    """Tokens drafted by a small model and verified by the served one."""

    draft_tokens: Count
    tokens_per_step: Count
    itl: Seconds
    plain_itl: Seconds
    verify_time: Seconds
    draft_time: Seconds
    speedup: Count
    optimal_draft_tokens: Count
    optimal_speedup: Count
    acceptance_rate: Fraction
    memory_needed: Bytes
    memory_capacity: Bytes
    feasible: bool

    @property
    def bottleneck(self) -> Any:
        """``"Drafting"`` or ``"Verifying"``."""
        inside = self.si
        parts = [np.broadcast_to(part, self.shape) for part in (inside.draft_time, inside.verify_time)]
        return binding(("Drafting", "Verifying"), tuple(parts))[0]

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Both models and their caches have to fit."""
        return (Limit("memory per device", self.si.memory_needed, self.si.memory_capacity, "byte"),)


class SpeculativeDecodingModel(ForwardModel):
    """Wall 4: decoding waits for memory, so several drafted tokens can be verified for the price of one."""

    walls = ((4, "Serving", "node"),)
    requires = ("workload", "hardware")
    produces = SpeculativeDecodingResult
    misbeliefs = {
        "longer drafts are better": "each further token is likelier to be thrown away, and costs a draft step all the same",
        "speculation speeds any load": "at large batches verification is bound by arithmetic, and drafts cost real work",
    }

    def solve(
        self,
        model: Any,
        draft_model: Any,
        hardware: Any,
        seq_len: Any = 2048,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        draft_acceptance_rate: Any = 0.7,
        draft_tokens: Any = None,
        *,
        max_draft_tokens: Any = 16,
        kv_precision: Any = None,
        tp_size: Any = 1,
    ) -> SpeculativeDecodingResult:
        """Speedup of drafting, and the best number of tokens to draft.

        Args:
            model: the served model
            draft_model: the small model that drafts
            hardware: a device, a node or a fleet, or a name
            seq_len: tokens of context; may be an array
            batch_size: sequences decoded together
            precision: number format of the weights of both
            efficiency: share of the arithmetic peak that is reached
            draft_acceptance_rate: probability that a drafted token is accepted
            draft_tokens: tokens drafted for each verification; the best number unless said
            max_draft_tokens: most tokens to draft when looking for the best number
            kv_precision: number format of the caches
            tp_size: tensor-parallel ranks

        Returns:
            Tokens of a step, times, speedup, the best number of drafts (0: drafting does not pay) and its speedup.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = SpeculativeDecodingModel().solve("Llama3_70B", "Llama3_8B", "MI300X", draft_acceptance_rate=0.8)
            >>> answer.feasible, answer.optimal_speedup > 1.5
            (True, True)
        """
        arguments = dict(model=model, draft_model=draft_model, hardware=hardware, seq_len=seq_len,
                         batch_size=batch_size, precision=precision, efficiency=efficiency,
                         draft_acceptance_rate=draft_acceptance_rate, draft_tokens=draft_tokens,
                         max_draft_tokens=max_draft_tokens, kv_precision=kv_precision, tp_size=tp_size)  # fmt: skip
        border = Border()
        most = border.count("max_draft_tokens", max_draft_tokens, most=256)
        asked = None if draft_tokens is None else border.count("draft_tokens", draft_tokens)
        accepted = border.fraction("draft_acceptance_rate", draft_acceptance_rate, closed=True)
        border.close()
        serving = ServingModel()
        options = dict(kv_precision=kv_precision, tp_size=tp_size)
        plain = serving.solve(model, hardware, seq_len, batch_size, precision, efficiency, **options)

        def drafted(count: Any) -> Any:
            return serving.solve(
                model, hardware, seq_len, batch_size, precision, efficiency, draft_model=draft_model,
                draft_acceptance_rate=accepted, draft_tokens=count, **options,
            )  # fmt: skip

        best, fastest = np.zeros(plain.shape), np.ones(plain.shape)
        for count in range(1, int(np.max(most)) + 1):
            gain = _speedup(plain.si, drafted(float(count)).si, accepted, float(count))
            better = gain > fastest
            best, fastest = np.where(better, float(count), best), np.where(better, gain, fastest)
        used = np.maximum(best, 1.0)[()] if asked is None else asked
        answer = drafted(used)
        inside = answer.si
        arguments.update(
            model=answer.question.arguments["model"],
            draft_model=answer.question.arguments["draft_model"],
            hardware=answer.question.arguments["hardware"],
        )
        return SpeculativeDecodingResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (inside.itl, fastest, used))),
            notes=answer.notes,
            draft_tokens=used,
            tokens_per_step=inside.tokens_per_step,
            itl=inside.itl,
            plain_itl=plain.si.itl,
            verify_time=inside.step_latency,
            draft_time=inside.draft_time,
            speedup=_speedup(plain.si, inside, accepted, used),
            optimal_draft_tokens=best[()],
            optimal_speedup=fastest[()],
            acceptance_rate=accepted,
            memory_needed=inside.memory_per_device,
            memory_capacity=inside.memory_capacity,
            feasible=inside.feasible,
        )


def _speedup(plain: Any, drafted: Any, accepted: Any, count: Any) -> Any:
    expected = eq.speculative_tokens(accepted, count)
    return batching.speculative_speedup(expected, plain.itl, drafted.step_latency, drafted.draft_time)
