"""Diffusion models: latents, tokens, and the cost of denoising them."""

from __future__ import annotations

from ..units import Count, Flop, Fraction
from . import equation


@equation
def latent_values(
    height: Count,
    width: Count,
    channels: Count = 4.0,
    downsampling: Count = 8.0,
    frames: Count = 1.0,
    temporal: Count = 1.0,
) -> Count:
    r"""Values of the latent that an autoencoder makes of a picture or a clip.

    A causal video autoencoder keeps the first frame and compresses the others in time.

    .. math:: n = C \frac{H}{f} \frac{W}{f} \left(1 + \frac{F - 1}{t}\right)

    Args:
        height: rows of pixels, H [1]
        width: columns of pixels, W [1]
        channels: channels of the latent, C [1]
        downsampling: pixels per latent position along a side, f [1]
        frames: frames; 1 for a picture, F [1]
        temporal: frames per latent frame, t [1]

    Returns:
        Values of one sample [1].

    Source:
        R. Rombach et al., High-resolution image synthesis with latent diffusion models, CVPR 2022, arXiv:2112.10752,
        section 3.1; in time: L. Yu et al., MAGVIT-v2, arXiv:2310.05737.

    Examples:
        >>> latent_values(512.0, 512.0)  # Stable Diffusion 1: 64 x 64 x 4, a 48th of the 786432 pixel values
        16384.0
    """
    return channels * (height / downsampling) * (width / downsampling) * (1 + (frames - 1) / temporal)


@equation
def patch_tokens(height: Count, width: Count, patch: Count, frames: Count = 1.0, temporal_patch: Count = 1.0) -> Count:
    r"""Tokens of a picture, a latent or a clip cut into square patches.

    .. math:: T = \frac{H}{p} \frac{W}{p} \frac{F}{p_t}

    Args:
        height: rows of the picture or latent, H [1]
        width: columns, W [1]
        patch: side of a patch, p [1]
        frames: frames of the picture or latent, F [1]
        temporal_patch: frames of a patch, p_t [1]

    Returns:
        Tokens of one sample [1].

    Source:
        W. Peebles and S. Xie, Scalable diffusion models with transformers, ICCV 2023, arXiv:2212.09748, section 3.2.

    Examples:
        >>> patch_tokens(32.0, 32.0, 2.0)  # DiT/2 on 256 x 256 pixels
        256.0
    """
    return (height / patch) * (width / patch) * (frames / temporal_patch)


@equation
def dit_block_parameters(hidden: Count, ffn_ratio: Count = 4.0, modulations: Count = 6.0, bias: Count = 1.0) -> Count:
    r"""Weights of one block of a diffusion transformer with adaptive layer norm (adaLN-Zero).

    Attention takes four square matrices, the MLP two of the given ratio, and the modulation one square matrix for each
    shift, scale and gate. The norms have no weights of their own.

    .. math:: n = d^2 (4 + 2 r + k) + b\, d (5 + r + k)

    Args:
        hidden: width of the model, d [1]
        ffn_ratio: width of the MLP over that of the model, r [1]
        modulations: shifts, scales and gates made from the condition, k; 0 for a plain block [1]
        bias: 1 if matrices have biases, 0 if not, b [1]

    Returns:
        Parameters [1].

    Source:
        W. Peebles and S. Xie, arXiv:2212.09748, section 3.2 and figure 3.

    Examples:
        >>> 28 * dit_block_parameters(1152.0) / 1e6  # the blocks of DiT-XL/2, which has 675 M in all
        669.344256
    """
    return hidden * (hidden * (4 + 2 * ffn_ratio + modulations) + bias * (5 + ffn_ratio + modulations))


@equation
def dit_flops(
    tokens: Count,
    hidden: Count,
    layers: Count,
    ffn_ratio: Count = 4.0,
    modulations: Count = 6.0,
    samples: Count = 1.0,
    multiply_add: Flop = 2.0,
) -> Flop:
    r"""FLOPs of one pass through the blocks of a diffusion transformer.

    Attention is not causal; the modulation is computed once a sample, not once a token. Patch embedding and the last
    layer are not counted.

    .. math:: W = m\, B L \left[(4 + 2 r) T d^2 + 2 T^2 d + k d^2\right]

    Args:
        tokens: tokens of one sample, T [1]
        hidden: width of the model, d [1]
        layers: blocks, L [1]
        ffn_ratio: width of the MLP over that of the model, r [1]
        modulations: shifts, scales and gates of a block, k [1]
        samples: samples in the pass, B [1]
        multiply_add: FLOPs of one multiply-add, m; 2 by convention (the paper's "Gflops" are multiply-adds) [flop]

    Returns:
        Work [flop].

    Source:
        W. Peebles and S. Xie, arXiv:2212.09748, table 4.

    Examples:
        >>> dit_flops(256.0, 1152.0, 28.0) / 2e9  # DiT-XL/2 at 256 x 256 pixels: the paper prints 118.6
        118.6...
    """
    per_sample = hidden * (hidden * ((4 + 2 * ffn_ratio) * tokens + modulations) + 2 * tokens * tokens)
    return multiply_add * samples * layers * per_sample


@equation
def network_passes(steps: Count, guided_share: Fraction = 1.0, order: Count = 1.0) -> Count:
    r"""Passes through the denoising network for one sample.

    Classifier-free guidance runs a second pass, without the condition, in each guided step. A model distilled to
    need no guidance has a guided share of 0.

    .. math:: k = S\, o\, (1 + g)

    Args:
        steps: denoising steps, S [1]
        guided_share: share of the steps with classifier-free guidance, g from 0 to 1 [1]
        order: network evaluations of the sampler per step, o; 1 for DDIM, Euler and multistep solvers, 2 for Heun [1]

    Returns:
        Passes [1].

    Source:
        J. Ho and T. Salimans, Classifier-free diffusion guidance, arXiv:2207.12598; guidance in a part of the steps:
        T. Kynkäänniemi et al., arXiv:2404.07724.

    Examples:
        >>> network_passes(50.0)
        100.0
        >>> network_passes(4.0, 0.0)  # distilled
        4.0
    """
    return steps * order * (1 + guided_share)


@equation
def generation_flops(passes: Count, per_pass: Flop, decoder: Flop = 0.0, text_encoder: Flop = 0.0) -> Flop:
    r"""FLOPs to make one sample: denoise the latent, then decode it; the prompt is encoded once.

    .. math:: W = k W_n + W_d + W_t

    Args:
        passes: passes through the denoising network, k [1]
        per_pass: FLOPs of one pass, W_n [flop]
        decoder: FLOPs of the autoencoder's decoder, W_d [flop]
        text_encoder: FLOPs of the text encoders, for the prompt and the empty prompt, W_t [flop]

    Returns:
        Work [flop].

    Source:
        R. Rombach et al., arXiv:2112.10752, section 3.

    Examples:
        >>> generation_flops(100.0, 0.8e12, 2.5e12) / 1e12
        82.5
    """
    return passes * per_pass + decoder + text_encoder
