"""Differential privacy of noisy training, and how much data a fair verdict on a small group needs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..units import Count, Fraction
from . import equation

ORDERS = (*range(2, 65), 72, 80, 96, 128, 192, 256, 384, 512)
"""Orders of Renyi divergence that the accountant tries; integers, for which the divergence has a closed form."""


POINTS = 512
"""Points of a sweep whose sums over all orders are held in memory at once."""


@functools.cache
def _terms(orders: tuple[int, ...]) -> tuple[Any, ...]:
    """The terms of the sums of all orders in one row: order, index, logarithm of the binomial, and where each begins."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, max(orders) + 1)))])
    counts = np.array([order + 1 for order in orders])
    order = np.repeat(np.array(orders), counts)
    index = np.concatenate([np.arange(n) for n in counts])
    ways = logs[order] - logs[index] - logs[order - index]
    return order - index, index, ways, np.concatenate([[0], np.cumsum(counts)[:-1]]), counts


def _divergences(noise: Any, rate: Any, orders: tuple[int, ...]) -> Any:
    """Divergence of one step at each order, along a new last axis."""
    noise, rate = np.broadcast_arrays(np.asarray(noise, dtype=np.float64), np.asarray(rate, dtype=np.float64))
    if noise.size > POINTS:
        parts = [
            _divergences(noise.ravel()[i : i + POINTS], rate.ravel()[i : i + POINTS], orders)
            for i in range(0, noise.size, POINTS)
        ]
        return np.concatenate(parts).reshape(*noise.shape, len(orders))
    others, index, ways, starts, counts = _terms(orders)
    noise, rate = noise[..., None], rate[..., None]
    # A noise so small that a term overflows means no privacy: infinity is the right answer.
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        kept = np.where(others == 0, 0.0, others * np.log1p(-rate))
        taken = np.where(index == 0, 0.0, index * np.log(rate))
        terms = ways + kept + taken + (index * (index - 1.0)) / (2 * noise * noise)
        top = np.maximum.reduceat(terms, starts, axis=-1)
        spread = np.exp(terms - np.repeat(top, counts, axis=-1))
        total = np.where(np.isinf(top), top, top + np.log(np.add.reduceat(spread, starts, axis=-1)))
    return total / (np.array(orders) - 1.0)


@equation
def sampled_gaussian_divergence(noise: Count, rate: Fraction, order: Count) -> Count:
    r"""Renyi divergence of one step of the Gaussian mechanism on a Poisson sample of the data, at an integer order.

    .. math:: \epsilon_\alpha = \frac{1}{\alpha - 1} \ln \sum_{k=0}^{\alpha} \binom{\alpha}{k} (1 - q)^{\alpha - k} q^k
        \exp\frac{k^2 - k}{2 \sigma^2}

    Args:
        noise: standard deviation of the noise over the clipping norm, sigma > 0 [1]
        rate: probability that an example is in a batch, q from 0 to 1 [1]
        order: order of the divergence, alpha, an integer of at least 2; one number [1]

    Returns:
        Divergence of one step [1].

    Source:
        I. Mironov, K. Talwar and L. Zhang, Renyi differential privacy of the sampled Gaussian mechanism,
        arXiv:1908.10530, section 3.3, equation 9.

    Examples:
        >>> round(float(sampled_gaussian_divergence(2.0, 1.0, 8.0)), 6)  # the whole data: alpha / (2 sigma^2)
        1.0
    """
    return _divergences(noise, rate, (int(np.maximum(order, 2.0)),))[..., 0]


@equation
def privacy_loss(noise: Count, rate: Fraction, steps: Count, delta: Fraction, classic: Count = 0.0) -> Count:
    r"""Privacy loss epsilon of many steps of differentially private gradient descent: the least over all orders.

    .. math:: \epsilon = \min_\alpha\; T \epsilon_\alpha + \ln\frac{\alpha - 1}{\alpha} -
        \frac{\ln \delta + \ln \alpha}{\alpha - 1}

    Args:
        noise: standard deviation of the noise over the clipping norm, sigma > 0 [1]
        rate: probability that an example is in a batch, q [1]
        steps: steps of training, T [1]
        delta: probability with which the guarantee may fail [1]
        classic: 1 for the older and looser conversion, ln(1 / delta) / (alpha - 1) [1]

    Returns:
        Epsilon, at least 0 [1].

    Source:
        C. Canonne, G. Kamath and T. Steinke, The discrete Gaussian for differential privacy, NeurIPS 2020,
        arXiv:2004.00010, proposition 12; the older conversion: I. Mironov, CSF 2017, arXiv:1702.07476, proposition 3.

    Examples:
        >>> round(float(privacy_loss(1.3, 150 / 60000, 6000.0, 1e-5)), 4)  # MNIST, 15 epochs
        0.7242
    """
    orders = np.array(ORDERS, dtype=np.float64)
    noise, rate, steps, delta, classic = (np.asarray(x, dtype=np.float64) for x in (noise, rate, steps, delta, classic))
    with np.errstate(divide="ignore", invalid="ignore"):
        spent = steps[..., None] * _divergences(noise, rate, ORDERS)
        loose = -np.log(delta)[..., None] / (orders - 1)
        tight = np.log1p(-1 / orders) + loose - np.log(orders) / (orders - 1)
        return np.maximum(np.min(spent + np.where(classic[..., None] > 0.5, loose, tight), axis=-1), 0.0)


@equation
def noise_for_privacy(epsilon: Count, rate: Fraction, steps: Count, delta: Fraction) -> Count:
    r"""Least noise multiplier with which training stays within a privacy loss.

    .. math:: \sigma = \min \{ s : \epsilon(s, q, T, \delta) \le \epsilon \}

    Args:
        epsilon: privacy loss allowed, > 0 [1]
        rate: probability that an example is in a batch, q [1]
        steps: steps of training, T [1]
        delta: probability with which the guarantee may fail [1]

    Returns:
        Noise multiplier, by bisection to a part in a hundred million; infinite above ten thousand [1].

    Source:
        The inverse of ``privacy_loss``, which falls with the noise.

    Examples:
        >>> round(float(noise_for_privacy(0.7242234, 150 / 60000, 6000.0, 1e-5)), 3)
        1.3
    """
    low = np.full(np.broadcast(epsilon, rate, steps, delta).shape, np.log(0.05))
    high = np.full(low.shape, np.log(1e4))
    limit = high
    for _ in range(32):
        middle = (low + high) / 2
        enough = privacy_loss.__wrapped__(np.exp(middle), rate, steps, delta) <= epsilon  # type: ignore[attr-defined]
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(high < limit, np.exp(high), np.inf)[()]


@equation
def noisy_steps_factor(noise: Count, batch: Count, gradient_noise_scale: Count, effective_dimension: Count) -> Fraction:
    r"""How many more steps training takes when noise is added to its gradients.

    A step makes progress in proportion to 1 / (1 + variance over signal), both weighted with the curvature. Clipping
    at the typical norm of one example's gradient makes the added variance (1 + B) d sigma^2 / b^2 of the signal.

    .. math:: s = \frac{1 + B/b + (1 + B)\, d\, \sigma^2 / b^2}{1 + B/b}

    Args:
        noise: noise multiplier, sigma [1]
        batch: examples of a batch, b [1]
        gradient_noise_scale: batch at which sampling noise equals the signal, B [1]
        effective_dimension: trace of the curvature over its value along the gradient, d [1]

    Returns:
        Steps with noise over steps without; at least 1 [1].

    Source:
        S. McCandlish et al., An empirical model of large-batch training, arXiv:1812.06162, equations 2.6 to 2.8, with
        the covariance of the Gaussian mechanism of M. Abadi et al., arXiv:1607.00133, added to that of sampling.

    Examples:
        >>> float(noisy_steps_factor(0.0, 256.0, 900.0, 100.0))
        1.0
        >>> round(float(noisy_steps_factor(1.1, 256.0, 900.0, 100.0)), 3)
        1.368
    """
    sampled = 1 + gradient_noise_scale / batch
    return (sampled + (1 + gradient_noise_scale) * effective_dimension * noise**2 / batch**2) / sampled


@equation
def compounded_steps_factor(factor: Fraction) -> Fraction:
    r"""How many more steps private training takes once the further steps are paid for with further noise.

    Many small steps spend privacy as one Gaussian mechanism does: the variance that is needed grows with their number.

    .. math:: s = 1 + (s_1 - 1) s \;\Rightarrow\; s = \frac{1}{2 - s_1}, \quad \infty \text{ if } s_1 \ge 2

    Args:
        factor: steps with the noise of the original number of steps over steps without, s_1 [1]

    Returns:
        Steps with privacy over steps without; infinite where the noise outruns the progress [1].

    Source:
        The fixed point of ``noisy_steps_factor``; composition: M. Abadi et al., arXiv:1607.00133, theorem 1
        (sigma grows as the square root of the steps).

    Examples:
        >>> float(compounded_steps_factor(1.5))
        2.0
    """
    with np.errstate(divide="ignore"):
        return np.divide(1.0, np.maximum(2 - factor, 0.0))


@equation
def ghost_clipping_factor(backward: Fraction = 2.0, passes: Count = 2.0) -> Fraction:
    r"""Work of a step that clips the gradient of every example, over that of a plain step.

    Norms come from one backward pass, the clipped sum from a second.

    .. math:: r = \frac{1 + p\, b}{1 + b}

    Args:
        backward: work of a backward pass over that of a forward pass, b [1]
        passes: backward passes of a private step, p [1]

    Returns:
        Ratio of work [1].

    Source:
        X. Li et al., Large language models can be strong differentially private learners, ICLR 2022, arXiv:2110.05679,
        section 4 (ghost clipping: two backward passes).

    Examples:
        >>> round(ghost_clipping_factor(), 4)
        1.6667
    """
    return (1 + passes * backward) / (1 + backward)


@equation
def samples_for_margin(share: Fraction, margin: Fraction, z: Count = 1.959964) -> Count:
    r"""Examples that pin a rate down to a margin.

    .. math:: n = \frac{z^2 p (1 - p)}{m^2}

    Args:
        share: rate that is measured, such as the accuracy, p [1]
        margin: half-width of its confidence interval, m [1]
        z: standard score; 1.96 for 95 % [1]

    Returns:
        Examples [1].

    Source:
        W. G. Cochran, Sampling techniques, 3rd ed., Wiley 1977, section 4.4.

    Examples:
        >>> round(samples_for_margin(0.5, 0.05))  # Cochran's familiar 384
        384
    """
    return z**2 * share * (1 - share) / margin**2


@equation
def wilson_margin(share: Fraction, samples: Count, z: Count = 1.959964) -> Fraction:
    r"""Half-width of the Wilson interval of a rate measured on few examples.

    .. math:: m = \frac{z}{1 + z^2/n} \sqrt{\frac{p (1 - p)}{n} + \frac{z^2}{4 n^2}}

    Args:
        share: rate observed, p [1]
        samples: examples it was observed on, n [1]
        z: standard score; 1.96 for 95 % [1]

    Returns:
        Half-width [1].

    Source:
        E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212, doi:10.1080/01621459.1927.10502953.

    Examples:
        >>> round(float(wilson_margin(0.5, 384.15)), 3)
        0.05
    """
    return z / (1 + z**2 / samples) * np.sqrt(share * (1 - share) / samples + z**2 / (4 * samples**2))


@equation
def data_for_subgroup(samples: Count, prevalence: Fraction) -> Count:
    r"""Examples to collect at random until a rare group has enough of its own, on average.

    .. math:: n = \frac{n_g}{f}

    Args:
        samples: examples of the group that are needed, n_g [1]
        prevalence: share of the group in what is collected, f [1]

    Returns:
        Examples [1].

    Source:
        Mean of the negative binomial distribution.

    Examples:
        >>> data_for_subgroup(384.0, 0.01)
        38400.0
    """
    return samples / prevalence
