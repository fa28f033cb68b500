import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.diffusion import (
    dit_block_parameters,
    dit_flops,
    generation_flops,
    latent_values,
    network_passes,
    patch_tokens,
)


@pytest.mark.parametrize(
    ("pixels", "layers", "hidden", "patch", "giga"),
    [
        (256, 28, 1152, 2, 118.6),  # XL/2
        (512, 28, 1152, 2, 524.6),
        (256, 12, 384, 2, 6.06),  # S/2
        (256, 12, 768, 2, 23.01),  # B/2
        (256, 24, 1024, 2, 80.71),  # L/2
        (256, 28, 1152, 4, 29.05),  # XL/4
        (256, 28, 1152, 8, 7.39),  # XL/8
    ],
)
def test_work_matches_the_gflops_of_peebles_2023(pixels, layers, hidden, patch, giga):
    """The paper counts multiply-adds; embedding and last layer, not counted here, are under 3 % of it."""
    tokens = patch_tokens(pixels / 8, pixels / 8, float(patch))
    assert dit_flops(tokens, float(hidden), float(layers)) / 2e9 == pytest.approx(giga, rel=0.03)


def test_dit_xl_has_675_million_parameters():
    """Embedders, labels, the last layer and a fixed position table come on top of 28 blocks: 675 129 632 in all."""
    d = 1152
    step = 256 * d + d + d * d + d
    patches, labels, positions = 16 * d + d, 1001 * d, 256 * d
    last = 2 * d * d + 2 * d + 32 * d + 32
    assert 28 * dit_block_parameters(float(d)) + step + patches + labels + positions + last == 675_129_632


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ((512.0, 512.0), 64 * 64 * 4),  # Stable Diffusion 1
        ((1024.0, 1024.0), 128 * 128 * 4),  # SDXL
        ((1024.0, 1024.0, 16.0), 128 * 128 * 16),  # Stable Diffusion 3
        ((480.0, 720.0, 16.0, 8.0, 49.0, 4.0), 60 * 90 * 16 * 13),  # CogVideoX: 49 frames become 13
    ],
)
def test_latents_of_published_models(shape, values):
    assert latent_values(*shape) == values


@given(patch=st.sampled_from([1.0, 2.0, 4.0, 8.0]), frames=st.integers(1, 64).map(float))
def test_halving_the_patch_quadruples_the_tokens(patch, frames):
    tokens = patch_tokens(64.0, 64.0, patch, frames)
    assert patch_tokens(64.0, 64.0, patch / 2, frames) == 4 * tokens
    assert tokens * patch**2 == 64 * 64 * frames


@given(steps=st.floats(1, 1000), share=st.floats(0, 1))
def test_guidance_costs_between_nothing_and_a_second_pass(steps, share):
    assert steps <= network_passes(steps, share) <= 2 * steps
    assert network_passes(steps, share, 2.0) == pytest.approx(2 * network_passes(steps, share))


@given(passes=st.floats(1, 100), each=st.floats(0, 1e15), decoder=st.floats(0, 1e15), text=st.floats(0, 1e15))
def test_work_is_the_sum_of_its_parts(passes, each, decoder, text):
    whole = generation_flops(passes, each, decoder, text)
    assert whole == pytest.approx(generation_flops(passes, each) + decoder + text)


@given(tokens=st.integers(1, 4096).map(float), samples=st.floats(1, 64))
def test_more_tokens_cost_more_than_proportionally(tokens, samples):
    one = dit_flops(tokens, 1152.0, 28.0, modulations=0.0)
    assert dit_flops(2 * tokens, 1152.0, 28.0, modulations=0.0) > 2 * one
    assert dit_flops(tokens, 1152.0, 28.0, modulations=0.0, samples=samples) == pytest.approx(samples * one)
