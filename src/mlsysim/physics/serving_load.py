"""A server under load: what a step costs its host, how prefills delay decoding, how long a first token waits."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, Count, Fraction, PerSecond, Seconds
from . import equation


@equation
def engine_step_time(kernels: Seconds, launches: Count, gap: Seconds, host: Seconds = 0.0) -> Seconds:
    r"""Time of one step of a serving engine.

    Kernels run one after the other with a gap between each two (dependent launches within a graph, small kernels that
    no list of operators names); the scheduler and the sampler add a fixed time.

    .. math:: t = t_k + n g + h

    Args:
        kernels: sum of the kernels' own times, t_k [s]
        launches: kernels that are launched, n [1]
        gap: between two kernels, g [s]
        host: of the scheduler and sampler for one step, h [s]

    Returns:
        Time [s].

    Source:
        V. Srivatsa et al., Can scheduling overhead dominate LLM inference performance?, blog of the MLSys group,
        University of California San Diego (2024), for host time per step; a linear cost of dependent
        launches as in NVIDIA, Constant time launch for straight-line CUDA graphs (2024).

    Examples:
        >>> engine_step_time(5e-3, 300.0, 3e-6, 1e-3)
        0.0069
    """
    return kernels + launches * gap + host


@equation
def side_by_side_time(first: Seconds, second: Seconds, first_floor: Seconds, second_floor: Seconds) -> Seconds:
    r"""Time of two pieces of work that run on two streams of one device at the same time.

    Neither ends sooner than it would alone, and both together move no more bytes and do no more arithmetic a second
    than the device can. What one leaves idle the other uses; a lower bound that short kernels come close to.

    .. math:: t = \max(t_1, t_2, f_1 + f_2)

    Args:
        first: time alone, t_1 [s]
        second: time alone, t_2 [s]
        first_floor: the same at the speed of light of the device, f_1 [s]
        second_floor: the same for the second, f_2 [s]

    Returns:
        Time [s]; at most the sum where the floors are.

    Source:
        S. Williams, A. Waterman and D. Patterson, Roofline, Communications of the ACM 52 (2009) 65-76, for the floors; vLLM pull
        request 26440 (2025) for shared experts beside routed ones on a stream of their own.

    Examples:
        >>> float(side_by_side_time(50e-6, 20e-6, 10e-6, 5e-6))  # both are short and leave the device idle
        5e-05
        >>> round(float(side_by_side_time(50e-6, 20e-6, 45e-6, 15e-6)), 9)  # both are near its bandwidth
        6e-05
    """
    return np.maximum(np.maximum(first, second), first_floor + second_floor)


@equation
def stalled_token_time(step: Seconds, running: Count, share: Fraction, prefill: Seconds, output: Count) -> Seconds:
    r"""Mean time per output token where prefills of other requests stall decoding.

    In a closed loop every other request that decodes passes through one prefill a cycle, during which this one waits.

    .. math:: t = t_s + \max(B - 1, 0)\, \phi\, s / o

    Args:
        step: decode step with the requests that decode at one time, t_s [s]
        running: requests that are served together, B [1]
        share: of its time in the server that a request decodes, phi [1]
        prefill: of one request, s [s]
        output: tokens that a request generates, o [1]

    Returns:
        Time per output token [s].

    Source:
        A. Agrawal et al., Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve, OSDI 2024, section 3
        (generation stalls), as a balance over one cycle of a closed loop.

    Examples:
        >>> round(float(stalled_token_time(0.01, 11.0, 1.0, 0.1, 1000.0)), 6)  # ten others, a tenth of a second each, over 1000 tokens
        0.011
    """
    return step + np.maximum(running - 1, 0.0) * share * prefill / output


@equation
def first_token_time(
    fixed: Seconds, prefill: Seconds, step: Seconds, steps: Count, burst: Fraction, running: Count, shared: Seconds
) -> Seconds:
    r"""Mean time to first token of a request that finds a place at once.

    A fixed time of the server, its own prefill, steps that it waits to be scheduled and to be sent back, and the
    prefills before its own where requests arrive together.

    .. math:: t = f + p + \kappa t_s + b \max(B - 1, 0)\, s / 2

    Args:
        fixed: of the server, outside the engine, f [s]
        prefill: of the request alone, p [s]
        step: decode step, t_s [s]
        steps: that it waits for, kappa [1]
        burst: weight of all requests arriving at the same time, b [1]
        running: requests that are served together, B [1]
        shared: prefill of one request when several are batched, s [s]

    Returns:
        Time [s].

    Source:
        Mean position in a batch arrival, (B - 1) / 2: L. Kleinrock, Queueing Systems, volume 1 (1975), chapter 4.

    Examples:
        >>> round(float(first_token_time(0.02, 0.1, 0.01, 5.0, 0.2, 11.0, 0.1)), 6)
        0.27
    """
    return fixed + prefill + steps * step + burst * np.maximum(running - 1, 0.0) / 2 * shared


@equation
def prefill_pass_time(rate: PerSecond, alone: Seconds, batched: Seconds, most: Count) -> Seconds:
    r"""Time of a pass over the prompts that gathered while the pass before it ran.

    A pass over ``k`` prompts takes ``alone`` and a slope for each further one. Prompts that arrive during a pass make up the
    next, ``k = rate * pass``, at least one and at most as many as fit.

    .. math:: t = s_1 + (k - 1) d, \quad d = \frac{m s_m - s_1}{m - 1}, \quad k = \frac{\lambda (s_1 - d)}{1 - \lambda d}

    Args:
        rate: prompts a second at the worker, lambda [1/s]
        alone: pass of one prompt, s_1 [s]
        batched: time a prompt when as many are batched as fit, s_m [s]
        most: prompts that fit in a pass, m [1]

    Returns:
        Time [s].

    Source:
        N. T. J. Bailey, On queueing processes with bulk service, Journal of the Royal Statistical Society B 16 (1954)
        80-87, for service of all that wait at once; its mean in balance.

    Examples:
        >>> float(prefill_pass_time(1.0, 0.1, 0.05, 4.0))  # no other prompt meets it
        0.1
        >>> round(float(prefill_pass_time(15.0, 0.1, 0.05, 4.0)), 6)  # two in a pass
        0.133333
    """
    slope = (most * batched - alone) / np.maximum(most - 1, 1e-9)
    gathered = rate * (alone - slope) / np.maximum(1 - rate * slope, 1e-9)
    return alone + (np.clip(gathered, 1.0, np.maximum(most, 1.0)) - 1) * np.where(np.greater(most, 1), slope, 0.0)


@equation
def prefill_queue_time(rate: PerSecond, passed: Seconds, batched: Seconds, most: Count) -> Seconds:
    r"""Mean wait of a prompt before its pass: the rest of the pass that runs, and the passes that others fill.

    .. math:: w = \frac{\rho_1}{2} t + \frac{\rho}{2 (1 - \rho)} s_m, \quad \rho_1 = \min(\lambda t, 1), \quad \rho = \lambda s_m

    Args:
        rate: prompts a second at the worker, lambda [1/s]
        passed: of a pass with the prompts that gather, t [s]
        batched: time a prompt when as many are batched as fit, s_m [s]
        most: prompts that fit in a pass, m [1]

    Returns:
        Time [s]; very long where more arrive than the worker can take in.

    Source:
        Residual of a fixed service and the wait of M/D/1: L. Kleinrock, Queueing Systems, volume 1 (1975), chapter 5.

    Examples:
        >>> round(float(prefill_queue_time(5.0, 0.1, 0.1, 1.0)), 6)  # M/D/1 at half load: half a service
        0.05
    """
    residual = np.where(np.greater(most, 1), np.minimum(rate * passed, 1.0) / 2 * passed, 0.0)
    load = np.minimum(rate * batched, 1 - 1e-9)
    return residual + load / (2 * (1 - load)) * batched


@equation
def slot_wait(asked: Count, running: Count, residence: Seconds) -> Seconds:
    r"""Mean wait for a place where more requests are in flight than the cache can hold.

    By Little's law on the queue of a closed loop whose server holds at most ``running``: places come free at
    ``running / residence``.

    .. math:: w = \frac{\max(C - B, 0)}{B} r

    Args:
        asked: requests in flight, C [1]
        running: that the server holds, B [1]
        residence: of one request in the server, r [s]

    Returns:
        Time [s].

    Source:
        J. D. C. Little, A proof for the queuing formula L = lambda W, Operations Research 9 (1961) 383-387.

    Examples:
        >>> round(float(slot_wait(64.0, 32.0, 10.0)), 6)
        10.0
    """
    return np.maximum(asked - running, 0.0) / running * residence


@equation
def cache_pool(capacity: Bytes, share: Fraction, weights: Bytes, reserve: Bytes, of_free: Fraction = 0.0) -> Bytes:
    r"""Memory that an engine sets aside for the cache of one device.

    Some engines take their share of the whole memory, others of what the weights leave free.

    .. math:: m = \max((1 - a)(u c - w - r) + a u (c - w - r), 0)

    Args:
        capacity: of the device, c [byte]
        share: of it that the engine may use, u [1]
        weights: on the device, w [byte]
        reserve: for activations and graphs, r [byte]
        of_free: 1 where the share is one of the free memory, 0 where it is one of all, a [1]

    Returns:
        Bytes for the cache [byte].

    Source:
        W. Kwon et al., Efficient memory management for large language model serving with PagedAttention, SOSP 2023,
        section 4 and figure 1.

    Examples:
        >>> round(float(cache_pool(80e9, 0.9, 16e9, 3e9)) / 1e9, 1)
        53.0
        >>> round(float(cache_pool(80e9, 0.9, 16e9, 3e9, 1.0)) / 1e9, 1)
        54.9
    """
    of_all = share * capacity - weights - reserve
    free = share * (capacity - weights - reserve)
    return np.maximum((1 - of_free) * of_all + of_free * free, 0.0)


@equation
def burst_wait_tail(burst: Fraction, running: Count, shared: Seconds, tail: Fraction = 0.01) -> Seconds:
    r"""Wait that a share ``tail`` of requests exceeds, where a share of them arrives together.

    A request that comes in a burst stands anywhere among the others with equal chance; one that comes alone does not
    wait.

    .. math:: w = \max(1 - q / b, 0)\, \max(B - 1, 0)\, s

    Args:
        burst: share of requests that arrive together, b [1]
        running: requests that are served together, B [1]
        shared: prefill of one request when several are batched, s [s]
        tail: share that waits longer, q [1]

    Returns:
        Time [s].

    Source:
        Quantile of a mixture of a uniform position in a batch arrival (L. Kleinrock, Queueing Systems, volume 1, 1975,
        chapter 4) and of none.

    Examples:
        >>> round(float(burst_wait_tail(0.2, 11.0, 0.1)), 6)
        0.95
    """
    return np.maximum(1 - tail / np.maximum(burst, 1e-12), 0.0) * np.maximum(running - 1, 0.0) * shared
