"""Scaling laws against the papers they come from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.catalog import Defaults
from mlsysim.physics import scaling

BUDGET = st.floats(18, 27).map(lambda power: 10**power)
LAWS = st.sampled_from(["Chinchilla", "Epoch"])


def terms(law):
    fit = Defaults[law].si
    return fit.parameter_scale, fit.token_scale, fit.parameter_exponent, fit.token_exponent


@pytest.mark.parametrize(
    ("parameters", "flops", "tokens"),
    [(400e6, 2.21e19, 9.2e9), (1e9, 1.62e20, 27.1e9), (10e9, 2.46e22, 410.1e9), (67e9, 1.71e24, 4.1e12),
     (175e9, 1.26e25, 12.0e12)],
)  # fmt: skip
def test_optimum_matches_hoffmann_2022_table_a3_approach_3(parameters, flops, tokens):
    best = scaling.law_optimal_parameters(flops, *terms("Chinchilla"))
    assert best == pytest.approx(parameters, rel=0.07)
    assert scaling.affordable_tokens(flops, best) == pytest.approx(tokens, rel=0.07)


def test_refit_agrees_with_twenty_tokens_a_parameter_besiroglu_2024():
    # "consistent with the ratio of 20 tokens per parameter used to train Chinchilla"; exponent a = 0.5126
    best = scaling.law_optimal_parameters(5.76e23, *terms("Epoch"))
    assert scaling.affordable_tokens(5.76e23, best) / best == pytest.approx(20, rel=0.15)
    ten = scaling.law_optimal_parameters(5.76e24, *terms("Epoch"))
    assert np.log10(ten / best) == pytest.approx(0.5126, abs=5e-4)


def test_serving_moves_13b_to_7b_sardana_2024_figure_1():
    # 13B and 2 trillion served tokens: a 7B model of the same loss saves 1.7e22 FLOPs, 17 %
    law, fit = terms("Chinchilla"), Defaults["Chinchilla"].si
    budgets = np.logspace(22, 24, 20001)
    budget = budgets[np.argmin(np.abs(scaling.law_optimal_parameters(budgets, *law) - 13e9))]
    tokens = scaling.affordable_tokens(budget, 13e9)
    loss = scaling.fitted_loss(13e9, tokens, fit.irreducible, *law)
    small = scaling.tokens_for_loss(7e9, loss, fit.irreducible, *law)
    before, after = scaling.lifetime_flops(13e9, tokens, 2e12), scaling.lifetime_flops(7e9, small, 2e12)
    assert before - after == pytest.approx(1.7e22, rel=0.1)
    assert 1 - after / before == pytest.approx(0.17, abs=0.015)
    assert scaling.lifetime_optimal_parameters(loss, 2e12, fit.irreducible, *law) == pytest.approx(7e9, rel=0.1)


@given(BUDGET, LAWS, st.floats(-0.5, 0.5))
@settings(max_examples=60, deadline=None)
def test_no_other_size_beats_the_optimum(budget, law, shift):
    fit, best = Defaults[law].si, scaling.law_optimal_parameters(budget, *terms(law))
    other = best * np.exp(shift)

    def loss(size):
        return scaling.fitted_loss(size, scaling.affordable_tokens(budget, size), fit.irreducible, *terms(law))

    assert loss(other) >= loss(best) * (1 - 1e-12)


@given(BUDGET, LAWS, st.floats(8, 15).map(lambda power: 10**power), st.floats(-1, 1))
@settings(max_examples=60, deadline=None)
def test_no_other_size_of_the_same_loss_has_a_cheaper_life(budget, law, served, shift):
    fit, law = Defaults[law].si, terms(law)
    size = scaling.law_optimal_parameters(budget, *law)
    loss = scaling.fitted_loss(size, scaling.affordable_tokens(budget, size), fit.irreducible, *law)
    best = scaling.lifetime_optimal_parameters(loss, served, fit.irreducible, *law)
    assert best <= size * (1 + 1e-6)

    def cost(parameters):
        tokens = scaling.tokens_for_loss(parameters, loss, fit.irreducible, *law)
        return scaling.lifetime_flops(parameters, tokens, served)

    assert cost(best * np.exp(shift)) >= cost(best) * (1 - 1e-9)
