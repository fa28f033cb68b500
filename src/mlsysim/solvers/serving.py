"""A generative model behind an endpoint: time to first token, time between tokens, memory (wall 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..catalog import textbook
from ..catalog.models import Transformer
from ..errors import InvalidInputError
from ..physics import energy, memory, roofline
from ..physics import transformer as eq
from ..physics.choice import floor, maximum, minimum
from ..record import total
from ..units import Bytes, Count, Fraction, JoulesPerToken, PerSecond, Seconds, TokensPerSecond
from ..workloads.passes import cache_size, decode_attention, prefill_attention, read_weights, weight_bytes
from ..workloads.transformer import Shape, shape
from . import plan as plans
from .base import ForwardModel
from .border import shape_of
from .limits import Limit, binding
from .result import Question, Result
from .serving_question import Asked, asked_of
from .serving_setting import Setting, setting_of

PARTS = ("Compute", "Memory", "Network", "Overhead")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServingResult(Result):
    """Both phases of a request, and the memory of the group that serves it."""

    batch: Count
    devices: Count
    prefill_compute: Seconds
    prefill_memory: Seconds
    prefill_communication: Seconds
    prefill_overhead: Seconds
    kv_transfer: Seconds
    decode_compute: Seconds
    decode_memory: Seconds
    decode_communication: Seconds
    decode_overhead: Seconds
    draft_time: Seconds
    tokens_per_step: Count
    model_weights_size: Bytes
    draft_weights_size: Bytes
    kv_cache_size: Bytes
    activation_size: Bytes
    memory_per_device: Bytes
    memory_capacity: Bytes
    prefill_memory_per_device: Bytes
    prefill_memory_capacity: Bytes
    max_batch_size: Count
    prompt_cache_hit_ratio: Fraction
    energy_per_token: JoulesPerToken
    feasible: bool

    @total
    def ttft(self) -> Seconds:
        """Time to first token: the prompt's roofline, launches, collectives, and moving the cache to the decoder."""
        exposed = memory.sum_of_times(self.prefill_overhead, self.prefill_communication, self.kv_transfer)
        return roofline.roofline_time(self.prefill_compute, self.prefill_memory, exposed)

    @total
    def step_latency(self) -> Seconds:
        """One decode step of the served model (it verifies the draft's tokens where there is one)."""
        exposed = memory.sum_of_times(self.decode_overhead, self.decode_communication, 0.0)
        return roofline.roofline_time(self.decode_compute, self.decode_memory, exposed)

    @total
    def itl(self) -> Seconds:
        """Inter-token latency: a step and its drafting over the tokens it yields."""
        return memory.shared_time(self.step_latency, self.draft_time, self.tokens_per_step)

    @total
    def throughput(self) -> TokensPerSecond:
        """Generated tokens a second of the whole group."""
        return self.batch / self.itl

    @total
    def tokens_per_sec(self) -> PerSecond:
        """Generated tokens a second, as a plain rate."""
        return self.batch / self.itl

    @total
    def total_memory_required(self) -> Bytes:
        """Weights, caches and working memory of the whole decoding group."""
        return self.memory_per_device * self.devices

    @total
    def memory_utilization(self) -> Fraction:
        """Memory needed on one device over memory there is."""
        return self.memory_per_device / self.memory_capacity

    @property
    def prefill_bottleneck(self) -> Any:
        """What prefill waits for most."""
        return self._parts("prefill")[0]

    @property
    def decode_bottleneck(self) -> Any:
        """What decoding waits for most."""
        return self._parts("decode")[0]

    @property
    def bottleneck(self) -> Any:
        """What decoding waits for most; prefill has its own."""
        return self._parts("decode")[0]

    @property
    def margin(self) -> Any:
        """How many times longer the bottleneck of decoding takes than the next part."""
        return self._parts("decode")[1]

    def _parts(self, phase: str) -> tuple[Any, Any]:
        inside = self.si
        names = ("compute", "memory", "communication", "overhead")
        parts = [np.broadcast_to(getattr(inside, f"{phase}_{name}"), self.shape) for name in names]
        return binding(PARTS, tuple(parts))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit, for one device of the group."""
        inside = self.si
        found = [Limit("memory per device", inside.memory_per_device, inside.memory_capacity, "byte")]
        if inside.prefill_memory_per_device is not inside.memory_per_device:
            needed, there = inside.prefill_memory_per_device, inside.prefill_memory_capacity
            found.append(Limit("memory per prefill device", needed, there, "byte"))
        return tuple(found)


class ServingModel(ForwardModel):
    """Wall 4: prefill is bound by arithmetic, decoding by memory bandwidth; both must fit in memory."""

    walls = ((4, "Serving", "node"),)
    requires = ("workload", "hardware")
    produces = ServingResult
    misbeliefs = {
        "tokens per second describe a service": "users feel TTFT and ITL; the same throughput hides very different ones",
        "quantisation speeds decoding only": "8-bit arithmetic speeds prefill too; weight-only 4-bit does not",
        "more FLOP/s make chat faster": "decoding at small batch reads every weight for each token; bandwidth decides",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        seq_len: Any,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        decode_hardware: Any = None,
        network_bandwidth: Any = "100 GB/s",
        draft_model: Any = None,
        draft_acceptance_rate: Any = 0.7,
        cached_prefix_len: Any = 0,
        *,
        draft_tokens: Any = None,
        kv_precision: Any = None,
        tp_size: Any = 1,
        pp_size: Any = 1,
        ep_size: Any = 1,
        stack: str = "ideal",
        attention_dp: Any = None,
    ) -> ServingResult:
        """Prefill and decode of a batch of requests on one group of devices, by the roofline or by measured kernels.

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device (or a stack of them), a node, a fleet, or a name; it prefills, and decodes too unless
                ``decode_hardware`` is given
            seq_len: tokens of each prompt, which is also the context of the decode step; may be an array
            batch_size: requests served together by the group; may be an array
            precision: number format of the weights; arithmetic follows where the chip has it
            efficiency: share of the arithmetic peak that is reached, in (0, 1]; or ``"measured"``, operator by operator
            decode_hardware: what decodes, when prefill and decode are disaggregated
            network_bandwidth: link that carries the cache from prefill to decode, one direction
            draft_model: a small model that drafts tokens, for speculative decoding
            draft_acceptance_rate: probability that a drafted token is accepted, in [0, 1]
            cached_prefix_len: tokens of the prompt whose cache is already there
            draft_tokens: tokens drafted for each verification
            kv_precision: number format of the cache; 16 bits unless said (32 for fp32 weights)
            tp_size: tensor-parallel ranks
            pp_size: pipeline stages
            ep_size: expert-parallel ranks; attention is data-parallel over them
            stack: whose kernels and host, where measured: ``ideal`` (no host), ``vllm``, ``sglang`` or ``trtllm``
            attention_dp: data-parallel ranks of attention among the ``tp_size * ep_size``, where measured

        Returns:
            TTFT, ITL, throughput, memory, energy, with ``feasible``, ``limits``, ``bottleneck`` and ``margin``.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            InvalidPlanError: a split that the model or the machine cannot have
            UnsupportedWorkloadError: the model does not generate tokens
            MissingFactError: the catalog lacks a peak or a link that the answer needs

        Examples:
            >>> answer = ServingModel().solve("Llama3_8B", "H100", seq_len=2048)
            >>> answer.feasible, answer.decode_bottleneck, answer.prefill_bottleneck
            (True, 'Memory', 'Compute')
        """
        arguments = dict(model=model, hardware=hardware, seq_len=seq_len, batch_size=batch_size, precision=precision,
                         efficiency=efficiency, decode_hardware=decode_hardware, network_bandwidth=network_bandwidth,
                         draft_model=draft_model, draft_acceptance_rate=draft_acceptance_rate,
                         cached_prefix_len=cached_prefix_len, draft_tokens=draft_tokens, kv_precision=kv_precision,
                         tp_size=tp_size, pp_size=pp_size, ep_size=ep_size)  # fmt: skip
        if isinstance(efficiency, str) and efficiency.lower() == "measured":
            from .serving_measured import measured_answer

            return measured_answer(type(self), arguments | {"stack": stack, "attention_dp": attention_dp})
        if not isinstance(stack, str) or stack != "ideal" or attention_dp is not None:
            raise InvalidInputError("stack, attention_dp: expected with efficiency='measured' only")
        asked, network, machine, decoder, draft = asked_of(arguments)
        arguments.update(
            model=network, hardware=machine, decode_hardware=None if decoder is machine else decoder, draft_model=draft
        )
        return solve_textbook(Question(type(self), arguments), network, machine, decoder, draft, asked)


class _Step(NamedTuple):
    """Parts of the time of one decode step."""

    compute: Seconds
    memory: Seconds
    communication: Seconds
    overhead: Seconds


def solve_textbook(question: Question, model: Any, machine: Any, decoder: Any, draft: Any, q: Asked) -> ServingResult:
    """Both phases by the roofline of the whole model."""
    assumed, s = textbook(), setting_of(model, machine, decoder, q.number, q.stored)
    here, there, m = s.here, s.there, s.model
    valid = plans.check(q.plan, model, here)
    if there is not here:
        valid = np.logical_and(valid, plans.check(q.plan, model, there))
    new = memory.uncached_tokens(q.tokens, q.cached)
    single, masked = plans.alone(q.plan), isinstance(valid, np.ndarray) and valid.ndim > 0
    peak, decode_peak = s.peak, s.decode_peak
    kept, read = cache_size(m, q.tokens, q.batch, s.value)

    # Prefill: micro-batches fill the pipeline, so its stages overlap except while it fills and drains.
    chips = q.plan.chips
    micro = 1.0 if single else np.minimum(q.plan.pp, q.batch)
    passes = micro + q.plan.pp - 1
    flops = memory.sum_of_flops(eq.linear_flops(m.active, new * q.batch), prefill_attention(m, new, q.cached, q.batch))
    moved = memory.sum_of_bytes(
        _weights_read(m, q.plan, s.weight, s.weights, new * q.batch / micro, single),
        kept if single else kept * plans.kv_share(q.plan, m),
        0.0,
    )
    prefill = _Step(
        roofline.compute_time(flops, peak if single else peak * chips * micro / passes, q.eta),
        roofline.memory_time(moved if single else moved * passes / (q.plan.pp * micro), s.chip.memory_bandwidth),
        0.0 if single else plans.communication(q.plan, m, here, new * q.batch, s.activation),
        s.chip.dispatch_latency,
    )
    transfer = 0.0 if there is here else roofline.memory_time(kept, q.network)

    # Decode: with a draft, one pass of the served model verifies all drafted tokens and adds one.
    drafted = 0.0 if draft is None else (assumed.drafted_tokens if q.drafted is None else q.drafted)
    step = _decode(m, s, s.weights, read, q, drafted + 1.0, single, assumed)
    per_step, draft_time, draft_weights, draft_cache = 1.0, 0.0, 0.0, 0.0
    if draft is not None:
        small = shape(draft)
        draft_weights = weight_bytes(draft, s.weight)
        small_kept, small_read = cache_size(small, q.tokens, q.batch, s.value)
        one = _decode(small, s, draft_weights, small_read, q, 1.0, single, assumed)
        exposed = memory.sum_of_times(one.overhead, one.communication, 0.0)
        draft_time = drafted * roofline.roofline_time(one.compute, one.memory, exposed)
        per_step = eq.speculative_tokens(q.acceptance, drafted)
        draft_cache = small_kept * plans.kv_share(q.plan, small)
        draft_cache = draft_cache + plans.weight_share(q.plan, small, draft_weights)

    # Memory of one device. Working memory is that of one prefill pass, which the server bounds.
    held = s.weights if single else plans.weight_share(q.plan, m, s.weights)
    working = eq.prefill_activation_size(
        minimum(maximum(new * q.batch, q.batch), maximum(assumed.prefill_chunk, q.batch)),
        m.hidden,
        m.widest / q.plan.tp,
        s.activation,
    )
    caches = kept if single else kept * plans.kv_share(q.plan, m)
    used = memory.sum_of_bytes(held, caches, working)
    if draft is not None:
        used = memory.sum_of_bytes(used, draft_cache, 0.0)
    capacity = s.decode_chip.memory_capacity
    fits = used <= capacity
    prefill_used, prefill_capacity = used, capacity
    if there is not here:
        prefill_used, prefill_capacity = memory.sum_of_bytes(held, caches, working), s.chip.memory_capacity
        fits = fits & (prefill_used <= prefill_capacity)
    answer_shape = shape_of(
        q.tokens,
        q.batch,
        q.eta,
        q.cached,
        q.acceptance,
        chips,
        q.network,
        peak,
        decode_peak,
        capacity,
        prefill_capacity,
    )
    most = floor(maximum(capacity - held - working - draft_cache, 0.0) * q.batch / maximum(caches, 1e-300))
    return ServingResult(
        question=question,
        shape=answer_shape,
        notes=_notes(s, model, q),
        batch=q.batch,
        devices=chips,
        prefill_compute=prefill.compute,
        prefill_memory=prefill.memory,
        prefill_communication=prefill.communication,
        prefill_overhead=prefill.overhead,
        kv_transfer=transfer,
        decode_compute=step.compute,
        decode_memory=step.memory,
        decode_communication=step.communication,
        decode_overhead=step.overhead,
        draft_time=draft_time,
        tokens_per_step=per_step,
        model_weights_size=s.weights,
        draft_weights_size=draft_weights,
        kv_cache_size=kept,
        activation_size=working,
        memory_per_device=used,
        memory_capacity=capacity,
        prefill_memory_per_device=prefill_used,
        prefill_memory_capacity=prefill_capacity,
        max_batch_size=np.where(valid, most, 0.0) if masked else most,
        prompt_cache_hit_ratio=q.cached / q.tokens,
        energy_per_token=_energy(s, step, q, read, drafted, draft_time, per_step, single, assumed),
        feasible=np.logical_and(fits, valid) if masked else fits,
    )


def _weights_read(m: Shape, plan: plans.Plan, weight: Bytes, weights: Bytes, tokens: Count, single: bool) -> Bytes:
    """Bytes of weights, of ``weight`` bytes each, that one chip reads in a pass over all stages."""
    if not m.routed:
        return weights if single else weights / plan.tp
    read = read_weights(m, weight, tokens)
    if single:
        return read
    always = eq.weight_size(m.parameters - m.routed, weight)
    return always / plan.tp + (read - always) / (plan.tp * plan.ep)


def _decode(
    m: Shape, s: Setting, weights: Bytes, read: Bytes, q: Asked, tokens: Count, single: bool, assumed: Any
) -> _Step:
    """One decode pass in which every sequence adds ``tokens``; pipeline stages work on different sequences."""
    batch = q.batch if single else q.batch / np.minimum(q.plan.pp, q.batch)
    ranks = q.plan.tp * q.plan.ep
    linear = eq.linear_flops(m.active, batch * tokens)
    flops = memory.sum_of_flops(linear, decode_attention(m, q.tokens, batch, tokens))
    cache = read
    if not single:
        cache = cache_size(m, q.tokens, batch, s.value)[1] * plans.kv_share(q.plan, m) * q.plan.pp
    moved = memory.sum_of_bytes(_weights_read(m, q.plan, s.weight, weights, batch * tokens, single), cache, 0.0)
    return _Step(
        roofline.compute_time(flops, s.decode_peak if single else s.decode_peak * ranks, q.eta),
        roofline.memory_time(moved, s.decode_chip.memory_bandwidth),
        0.0 if single else plans.communication(q.plan, m, s.there, batch * tokens, s.activation),
        memory.launch_time(m.layers, assumed.layer_overhead),
    )


def _energy(
    s: Setting, step: _Step, q: Asked, read: Bytes, drafted: Count, draft_time: Seconds, per_step: Count, single: bool,
    assumed: Any,
) -> Any:  # fmt: skip
    """Energy of all chips of the group for one generated token; drafting is charged at idle power and its share of time."""
    m, (idle, per_flop, tdp) = s.model, s.power
    exposed = memory.sum_of_times(step.overhead, step.communication, draft_time)
    time = roofline.roofline_time(step.compute, step.memory, exposed)
    flops = eq.linear_flops(m.active, q.batch * (drafted + 1.0)) / q.plan.chips
    moved = memory.sum_of_bytes(
        _weights_read(m, q.plan, s.weight, s.weights, q.batch, single) / q.plan.pp,
        read * plans.kv_share(q.plan, m),
        0.0,
    )
    joules = energy.chip_energy(time, idle, flops, per_flop, moved, assumed.memory_energy, tdp)
    return joules * q.plan.chips / (q.batch * per_step)


def _notes(s: Setting, model: Transformer, q: Asked) -> tuple[str, ...]:
    found = list(s.notes)
    if s.here.notes and not plans.alone(q.plan):
        found += [note for group in (s.here, s.there) for note in group.notes]
    tokens = q.tokens if type(q.tokens) is float else np.max(q.tokens)
    if s.longest is not None and tokens > s.longest:
        found.append(f"{tokens:g} tokens exceed the {s.longest:g} that {model.id} was made for")
    found += s.remarks
    return tuple(dict.fromkeys(found)) if found else ()
