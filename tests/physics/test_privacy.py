"""The privacy accountant against values that others publish; sample sizes against textbooks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.physics import privacy


@pytest.mark.parametrize(
    ("examples", "batch", "noise", "epochs", "delta", "classic", "improved"),
    [(60000, 150, 1.3, 15, 1e-5, 0.941870567, 0.7242234026109595),
     (100000, 100, 1.0, 30, 1e-7, 1.70928734, 1.4154988495444845)],
)  # fmt: skip
def test_epsilon_matches_the_values_in_tensorflow_privacys_tests(
    examples, batch, noise, epochs, delta, classic, improved
):
    # compute_dp_sgd_privacy_test.py, before and after the conversion of Canonne, Kamath and Steinke was adopted
    rate, steps = batch / examples, epochs * examples / batch
    assert privacy.privacy_loss(noise, rate, steps, delta, 1.0) == pytest.approx(classic, rel=1e-6)
    assert privacy.privacy_loss(noise, rate, steps, delta) == pytest.approx(improved, rel=1e-6)


@given(st.floats(0.5, 20), st.integers(2, 64))
@settings(max_examples=40, deadline=None)
def test_the_whole_data_is_the_plain_gaussian_mechanism_mironov_2017_corollary_3(noise, order):
    found = privacy.sampled_gaussian_divergence(noise, 1.0, float(order))
    assert found == pytest.approx(order / (2 * noise**2), rel=1e-9)


@given(st.floats(0.5, 10), st.floats(1e-4, 0.5), st.integers(1, 10**5), st.floats(1.01, 3))
@settings(max_examples=60, deadline=None)
def test_more_noise_fewer_steps_and_rarer_draws_are_more_private(noise, rate, steps, more):
    base = privacy.privacy_loss(noise, rate, steps, 1e-5)
    assert privacy.privacy_loss(noise * more, rate, steps, 1e-5) <= base * (1 + 1e-12)
    assert privacy.privacy_loss(noise, rate / more, steps, 1e-5) <= base * (1 + 1e-12)
    assert privacy.privacy_loss(noise, rate, steps * more, 1e-5) >= base * (1 - 1e-12)
    assert privacy.privacy_loss(noise, rate, steps, 1e-5, 1.0) >= base * (1 - 1e-12)


@given(st.floats(0.2, 20), st.floats(1e-4, 0.1), st.integers(10, 10**5))
@settings(max_examples=25, deadline=None)
def test_noise_for_a_budget_spends_it(epsilon, rate, steps):
    noise = privacy.noise_for_privacy(epsilon, rate, steps, 1e-5)
    assert privacy.privacy_loss(noise, rate, steps, 1e-5) <= epsilon * (1 + 1e-9)
    assert privacy.privacy_loss(noise * 0.99, rate, steps, 1e-5) >= epsilon * (1 - 1e-6)


def test_arrays_are_answered_element_by_element():
    noise = np.array([0.8, 1.3, 4.0])
    together = privacy.privacy_loss(noise, 0.01, 1000.0, 1e-5)
    assert together == pytest.approx([privacy.privacy_loss(one, 0.01, 1000.0, 1e-5) for one in noise])


@pytest.mark.parametrize(("successes", "samples", "low", "high"), [(5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)])
def test_wilson_interval_matches_the_usual_example(successes, samples, low, high):
    margin = privacy.wilson_margin(successes / samples, float(samples))
    assert 2 * margin == pytest.approx(high - low, abs=2e-4)


@given(st.floats(0.01, 0.99), st.integers(50, 10**6))
def test_the_wilson_interval_tends_to_the_normal_one(share, samples):
    normal = 1.959964 * np.sqrt(share * (1 - share) / samples)
    needed = privacy.samples_for_margin(share, normal)
    assert needed == pytest.approx(samples, rel=1e-9)
    if samples * min(share, 1 - share) > 1000:
        assert privacy.wilson_margin(share, float(samples)) == pytest.approx(normal, rel=1e-2)
