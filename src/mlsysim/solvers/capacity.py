"""How many replicas a traffic needs to meet its objectives (wall 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..machine.textbook import wiring
from ..physics import cost, queueing
from ..record import total
from ..units import Count, DollarsPerToken, Fraction, PerSecond, Plain, Seconds
from .base import BaseSolver
from .batching import generator
from .border import Border
from .limits import Limit
from .result import Question, Result
from .slots import at, largest, latency, pace
from .tail import milliseconds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServingCapacityResult(Result):
    """Replicas, the limit on active requests of each, and the service they give together."""

    required_replicas: Count
    batch_size: Count
    devices_per_replica: Count
    qps_target: PerSecond
    qps_capacity: PerSecond
    per_replica_qps_capacity: PerSecond
    utilization: Fraction
    target_p99_latency: Seconds
    estimated_p99_latency: Seconds
    p99_ttft: Seconds
    token_gap: Seconds
    full_token_gap: Seconds
    base_request_latency: Seconds
    slo_violation_probability: Fraction
    feasible: bool
    cost_per_token: DollarsPerToken | None = None

    @total
    def devices(self) -> Count:
        """Chips of all replicas."""
        return self.required_replicas * self.devices_per_replica

    @total
    def cost_per_million_tokens_usd(self) -> Plain:
        """Cost of a million generated tokens in USD, idle slots included."""
        return None if self.cost_per_token is None else self.cost_per_token * 1e6

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to be met."""
        return (Limit("p99 latency", self.si.estimated_p99_latency, self.si.target_p99_latency, "second"),)


class ServingCapacityModel(BaseSolver):
    """Wall 7: replicas bought for the tail, not for the mean."""

    walls = ((7, "Tail Latency", "node"),)
    requires = ("workload", "hardware")
    produces = ServingCapacityResult
    misbeliefs = {
        "divide traffic by the throughput of a benchmark": "at full throughput the queue has no end; the tail needs room",
        "too slow means too few replicas": "a batch that is too large is too slow on any number of them; lower it first",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        qps: Any,
        target_p99_latency_ms: Any,
        max_seq_len: Any = 2048,
        mean_request_tokens: Any = None,
        output_tokens: Any = 128,
        max_batch_size: Any = 32,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        max_replicas: Any = 1024,
        service_time_cv: Any = 1.0,
        *,
        ttft_slo_ms: Any = None,
        itl_slo_ms: Any = None,
        price_per_hour: Any = None,
        kv_precision: Any = None,
        tp_size: Any = 1,
        pp_size: Any = 1,
    ) -> ServingCapacityResult:
        """The fewest replicas that meet all objectives at a traffic, and the limit on active requests to run them with.

        The limit is the largest up to ``max_batch_size`` that fits in memory and at which a full replica still keeps the
        objectives; then replicas are added until the wait for a slot leaves p99 within them (M/G/c over all slots).

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device, a node or a fleet, or a name
            qps: requests a second; may be an array
            target_p99_latency_ms: objective for p99 from arrival to last token, in milliseconds or with a unit
            max_seq_len: longest sequence, prompt and output: every slot must have room for it
            mean_request_tokens: tokens of a request, prompt and output, on average; ``max_seq_len`` unless said
            output_tokens: tokens generated for each request
            max_batch_size: largest limit on the active requests of a replica
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached
            max_replicas: most replicas
            service_time_cv: coefficient of variation of the time that the requests ahead hold their slots
            ttft_slo_ms: objective for p99 of the time to the first token
            itl_slo_ms: objective for the mean gap between tokens in a full replica
            price_per_hour: price of one chip in USD an hour, or with a unit; the catalog's cloud price unless said
            kv_precision: number format of the cache
            tp_size: tensor-parallel ranks of a replica
            pp_size: pipeline stages of a replica

        Returns:
            Replicas (infinitely many where none suffice), the limit chosen, latencies, utilisation, and the cost of a
            token where a price is known.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = ServingCapacityModel().solve("Llama3_8B", "H100", qps=20, target_p99_latency_ms=3000)
            >>> answer.feasible, answer.batch_size < 32
            (True, True)
        """
        arguments = dict(model=model, hardware=hardware, qps=qps, target_p99_latency_ms=target_p99_latency_ms,
                         max_seq_len=max_seq_len, mean_request_tokens=mean_request_tokens, output_tokens=output_tokens,
                         max_batch_size=max_batch_size, precision=precision, efficiency=efficiency,
                         max_replicas=max_replicas, service_time_cv=service_time_cv, ttft_slo_ms=ttft_slo_ms,
                         itl_slo_ms=itl_slo_ms, price_per_hour=price_per_hour, kv_precision=kv_precision,
                         tp_size=tp_size, pp_size=pp_size)  # fmt: skip
        border = Border()
        network, machine = border.model(model), border.machine(hardware)
        rate = border.number("qps", qps, least=1e-12, most=1e12)
        target = milliseconds(border, "target_p99_latency_ms", target_p99_latency_ms)
        longest = border.count("max_seq_len", max_seq_len)
        output = border.count("output_tokens", output_tokens)
        tokens = longest if mean_request_tokens is None else border.count("mean_request_tokens", mean_request_tokens)
        most = border.count("max_batch_size", max_batch_size, most=65_536)
        replicas = border.count("max_replicas", max_replicas, most=1e7)
        cv = border.number("service_time_cv", service_time_cv, most=100.0)
        first = np.inf if ttft_slo_ms is None else milliseconds(border, "ttft_slo_ms", ttft_slo_ms)
        gap = np.inf if itl_slo_ms is None else milliseconds(border, "itl_slo_ms", itl_slo_ms)
        if not isinstance(efficiency, str):  # what is measured has a word, which the serving model checks
            border.fraction("efficiency", efficiency)
        price = None
        if isinstance(price_per_hour, str) or hasattr(price_per_hour, "units"):
            price = border.quantity("price_per_hour", price_per_hour, "USD/second")
        elif price_per_hour is not None:
            price = border.number("price_per_hour", price_per_hour) / 3600.0
        if np.ndim(most) or np.ndim(replicas):
            border.problems.append("max_batch_size and max_replicas: expected one whole number, found an array")
        border.close()
        if np.any(np.greater(tokens, longest)):
            border.problems.append("mean_request_tokens: expected at most max_seq_len")
        if np.any(np.greater_equal(output, tokens)):
            border.problems.append("output_tokens: expected less than the tokens of a request, which has a prompt too")
        border.close()
        generator(type(self).__name__, network)
        arguments.update(model=network, hardware=machine)
        running = pace(
            network, machine, tokens - output, output, int(most), precision, efficiency, rate, target, cv, first, gap,
            room=longest, tp_size=tp_size, pp_size=pp_size, kv_precision=kv_precision,
        )  # fmt: skip
        shape = running.rates.shape[1:]
        gaps = (running.stays - running.prefill) / output
        batch, index = largest(running, (running.stays <= target) & (gaps <= gap) & (running.prefill <= first))
        slots = np.maximum(batch, 1.0)
        single = at(running.rates, index)

        def met(count: Any) -> Any:
            """Whether so many replicas keep every objective."""
            _, wait, p99 = latency(running, rate, count, slots, cv)
            return (p99 <= target) & (wait + running.prefill <= first) & (rate < count * single)

        low, high = np.zeros(shape), np.full(shape, replicas)
        enough = (batch > 0) & met(high)
        for _ in range(int(np.ceil(np.log2(replicas))) + 1):
            middle = np.maximum(np.floor((low + high) / 2), 1.0)
            good = met(middle)
            low, high = np.where(good, low, middle), np.where(good, middle, high)
        now, wait, p99 = latency(running, rate, high, slots, cv)
        price = price if price is not None else wiring(machine, 0.0).chip.si.cloud_price
        each = None
        if price is not None:
            each = np.where(enough, cost.cost_per_token(price * running.devices * high, rate * output), np.nan)[()]
        return ServingCapacityResult(
            question=Question(type(self), arguments),
            shape=np.broadcast_shapes(shape, np.shape(0.0 if price is None else price)),
            notes=running.notes + (() if price is not None else ("no price known: pass price_per_hour= for a cost",)),
            required_replicas=np.where(enough, high, np.inf)[()],
            batch_size=np.where(batch > 0, batch, 0.0)[()],
            devices_per_replica=running.devices,
            qps_target=rate,
            qps_capacity=high * single,
            per_replica_qps_capacity=single,
            utilization=queueing.server_utilisation(rate, 1 / single, high),
            target_p99_latency=target,
            estimated_p99_latency=p99,
            p99_ttft=wait + running.prefill,
            token_gap=(now.stay - running.prefill) / output,
            full_token_gap=at(gaps, index),
            base_request_latency=running.stays[0],
            slo_violation_probability=queueing.wait_tail(target - now.late_stay, rate, now.stay, high * slots, cv),
            feasible=enough[()],
            cost_per_token=each,
        )
