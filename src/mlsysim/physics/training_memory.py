"""Memory of training: parameters, gradients, optimizer states, and the activations kept for the backward pass.

The coefficients of activations are counts of stored values; sizes of a value and of a dropout mask are arguments, so
that nothing is multiplied by a width twice.
"""

from __future__ import annotations

import numpy as np

from ..units import Bytes, Count, Fraction
from . import equation


@equation
def training_state_size(
    parameters: Count,
    weights: Bytes = 2.0,
    gradients: Bytes = 2.0,
    master: Bytes = 4.0,
    first_moment: Bytes = 4.0,
    second_moment: Bytes = 4.0,
) -> Bytes:
    r"""Memory of parameters, gradients and optimizer states. The defaults are mixed-precision Adam: 16 bytes in all.

    Plain SGD has no moments and momentum SGD one; an optimizer with 8-bit moments has one byte each.

    .. math:: M = N (\beta_w + \beta_g + \beta_c + \beta_m + \beta_v)

    Args:
        parameters: trainable parameters held, N [1]
        weights: working copy, beta_w [byte]
        gradients: gradients, beta_g; 4 where they are accumulated in full precision [byte]
        master: full-precision copy of the weights, beta_c; 0 if there is none [byte]
        first_moment: momentum, beta_m [byte]
        second_moment: variance, beta_v [byte]

    Returns:
        Size [byte].

    Source:
        S. Rajbhandari et al., ZeRO: memory optimizations toward training trillion parameter models, SC 2020,
        arXiv:1910.02054, section 3.1.

    Examples:
        >>> training_state_size(7.5e9) / 1e9  # figure 1
        120.0
    """
    return parameters * (weights + gradients + master + first_moment + second_moment)


@equation
def optimizer_state_size(
    parameters: Count, master: Bytes = 4.0, first_moment: Bytes = 4.0, second_moment: Bytes = 4.0
) -> Bytes:
    r"""Memory of the optimizer alone. The defaults are mixed-precision Adam: 12 bytes.

    .. math:: M = N (\beta_c + \beta_m + \beta_v)

    Args:
        parameters: trainable parameters held, N [1]
        master: full-precision copy of the weights, beta_c; 0 if there is none [byte]
        first_moment: momentum, beta_m [byte]
        second_moment: variance, beta_v [byte]

    Returns:
        Size [byte].

    Source:
        S. Rajbhandari et al., ZeRO, SC 2020, arXiv:1910.02054, section 3.1.

    Examples:
        >>> optimizer_state_size(8.03e9) / 1e9
        96.36
    """
    return parameters * (master + first_moment + second_moment)


@equation
def zero_state_size(weights: Bytes, gradients: Bytes, optimizer: Bytes, shards: Count, stage: Count) -> Bytes:
    r"""Memory of one rank's training state when data-parallel ranks share it out (ZeRO, FSDP).

    Stage 1 shards the optimizer states, stage 2 gradients too, stage 3 parameters too.

    .. math:: M = \frac{M_w}{d^{[z \ge 3]}} + \frac{M_g}{d^{[z \ge 2]}} + \frac{M_o}{d^{[z \ge 1]}}

    Args:
        weights: size of the parameters before sharding, M_w [byte]
        gradients: size of the gradients before sharding, M_g [byte]
        optimizer: size of the optimizer states before sharding, M_o [byte]
        shards: ranks that share, d [1]
        stage: ZeRO stage, z from 0 to 3 [1]

    Returns:
        Size on one rank [byte].

    Source:
        S. Rajbhandari et al., ZeRO, SC 2020, arXiv:1910.02054, figure 1.

    Examples:
        >>> np.round(zero_state_size(15e9, 15e9, 90e9, 64.0, np.array([0.0, 1.0, 2.0, 3.0])) / 1e9, 1)  # figure 1
        array([120. ,  31.4,  16.6,   1.9])
    """
    return (
        weights / np.where(stage >= 3, shards, 1.0)
        + gradients / np.where(stage >= 2, shards, 1.0)
        + optimizer / np.where(stage >= 1, shards, 1.0)
    )


@equation
def layer_activation_size(
    sequence: Count,
    samples: Count,
    hidden: Count,
    heads: Count,
    tensor: Count = 1.0,
    sequence_shards: Count = 1.0,
    value: Bytes = 2.0,
    mask: Bytes = 1.0,
) -> Bytes:
    r"""Activations of one transformer layer kept for the backward pass, nothing recomputed.

    A GPT layer with a 4 h MLP, dropout and plain attention: 16 values and 2 masks for each token and channel, of which
    4 values and the masks sit outside the tensor-parallel part; 2 values and a mask for each attention score. In two
    bytes that is the published s b h (34 + 5 a s / h).

    .. math:: M = s b h \left(\frac{4 \beta + 2 \mu}{q} + \frac{12 \beta}{t}\right) + \frac{a s^2 b}{t} (2 \beta + \mu)

    Args:
        sequence: tokens of a sequence, s [1]
        samples: sequences of a micro-batch, b [1]
        hidden: width of the residual stream, h [1]
        heads: attention heads, a [1]
        tensor: tensor-parallel ranks, t [1]
        sequence_shards: ranks that share the rest, q; t with sequence parallelism, 1 without [1]
        value: bytes of a stored value, beta [byte]
        mask: bytes of one element of a dropout mask, mu; 0 without dropout [byte]

    Returns:
        Size on one rank [byte].

    Source:
        V. Korthikanti et al., Reducing activation recomputation in large transformer models, MLSys 2023,
        arXiv:2205.05198, equations 1, 2 and 4.

    Examples:
        >>> layer_activation_size(2048.0, 1.0, 12288.0, 96.0) / (2048 * 12288)  # GPT-3: 34 + 80
        114.0
    """
    scores = heads * sequence * sequence * samples * (2 * value + mask) / tensor
    return scores + sequence * samples * hidden * ((4 * value + 2 * mask) / sequence_shards + 12 * value / tensor)


@equation
def selective_activation_size(
    sequence: Count,
    samples: Count,
    hidden: Count,
    tensor: Count = 1.0,
    sequence_shards: Count = 1.0,
    value: Bytes = 2.0,
    mask: Bytes = 1.0,
) -> Bytes:
    r"""Activations of one transformer layer kept when the attention scores are recomputed.

    Fused attention (FlashAttention), which never stores them, keeps the same up to one statistic a row.

    .. math:: M = s b h \left(\frac{4 \beta + 2 \mu}{q} + \frac{12 \beta}{t}\right)

    Args:
        sequence: tokens of a sequence, s [1]
        samples: sequences of a micro-batch, b [1]
        hidden: width of the residual stream, h [1]
        tensor: tensor-parallel ranks, t [1]
        sequence_shards: ranks that share the rest, q; t with sequence parallelism, 1 without [1]
        value: bytes of a stored value, beta [byte]
        mask: bytes of one element of a dropout mask, mu; 0 without dropout [byte]

    Returns:
        Size on one rank [byte].

    Source:
        V. Korthikanti et al., MLSys 2023, arXiv:2205.05198, section 5 and table 2.

    Examples:
        >>> 32 * selective_activation_size(2048.0, 1.0, 4096.0) / 1e9  # 34 s b h for 32 layers
        9.126805504
    """
    return sequence * samples * hidden * ((4 * value + 2 * mask) / sequence_shards + 12 * value / tensor)


@equation
def full_recompute_activation_size(
    sequence: Count, samples: Count, hidden: Count, sequence_shards: Count = 1.0, value: Bytes = 2.0
) -> Bytes:
    r"""Activations of one transformer layer kept when all of it is recomputed: its input.

    .. math:: M = \frac{s b h \beta}{q}

    Args:
        sequence: tokens of a sequence, s [1]
        samples: sequences of a micro-batch, b [1]
        hidden: width of the residual stream, h [1]
        sequence_shards: ranks that share the input, q; 1 if each keeps all of it [1]
        value: bytes of a stored value, beta [byte]

    Returns:
        Size on one rank [byte].

    Source:
        V. Korthikanti et al., MLSys 2023, arXiv:2205.05198, table 2.

    Examples:
        >>> 32 * full_recompute_activation_size(2048.0, 1.0, 4096.0)  # 2 s b h for 32 layers
        536870912.0
    """
    return sequence * samples * hidden * value / sequence_shards


@equation
def gated_layer_activation_size(
    tokens: Count,
    hidden: Count,
    heads: Count,
    kv_heads: Count,
    head_dim: Count,
    ffn: Count,
    tensor: Count = 1.0,
    sequence_shards: Count = 1.0,
    value: Bytes = 2.0,
) -> Bytes:
    r"""Activations of a layer with grouped-query fused attention and a gated MLP, without dropout, nothing recomputed.

    Kept are the inputs of both norms, of the attention and of the MLP; queries, keys, values and the attention's
    output; the gate, the up projection and their product.

    .. math:: M = T \beta \left(\frac{4 h}{q} + \frac{2 a d + 2 a_{kv} d + 3 f}{t}\right)

    Args:
        tokens: tokens of a micro-batch, T [1]
        hidden: width of the residual stream, h [1]
        heads: query heads, a [1]
        kv_heads: key-value heads, a_kv [1]
        head_dim: width of a head, d [1]
        ffn: width of the MLP, or of all experts that a token visits, f [1]
        tensor: tensor-parallel ranks, t [1]
        sequence_shards: ranks that share the rest, q; t with sequence parallelism, 1 without [1]
        value: bytes of a stored value, beta [byte]

    Returns:
        Size on one rank [byte].

    Source:
        The counting rule of V. Korthikanti et al., arXiv:2205.05198, section 4.1, for the layer of H. Touvron et al.,
        Llama 2, arXiv:2307.09288.

    Examples:
        >>> gated_layer_activation_size(2048.0, 4096.0, 32.0, 8.0, 128.0, 14336.0) / 1e6  # Llama-3-8B
        285.2...
    """
    inside = head_dim * (2 * heads + 2 * kv_heads) + 3 * ffn
    return tokens * value * (4 * hidden / sequence_shards + inside / tensor)


@equation
def head_activation_size(
    tokens: Count, hidden: Count, vocab: Count, tensor: Count = 1.0, value: Bytes = 2.0, logit: Bytes = 4.0
) -> Bytes:
    r"""Activations of the last norm, the output head and the loss.

    .. math:: M = \frac{T}{t} (2 h \beta + V \lambda)

    Args:
        tokens: tokens of a micro-batch, T [1]
        hidden: width of the residual stream, h [1]
        vocab: vocabulary size, V [1]
        tensor: tensor-parallel ranks that share it, t [1]
        value: bytes of a stored value, beta [byte]
        logit: bytes of a stored logit, lambda [byte]

    Returns:
        Size on one rank of the last pipeline stage [byte].

    Source:
        V. Korthikanti et al., MLSys 2023, arXiv:2205.05198, section 4.3: 4 s b h / t (1 + v / h).

    Examples:
        >>> head_activation_size(2048.0, 4096.0, 128256.0) / 1e9  # the logits outweigh many layers
        1.084...
    """
    return tokens / tensor * (2 * hidden * value + vocab * logit)


@equation
def in_flight_microbatches(stages: Count, microbatches: Count, stage: Count = 0.0) -> Count:
    r"""Micro-batches whose activations a pipeline stage holds at once under the 1F1B schedule.

    .. math:: k = \min(m, p - i)

    Args:
        stages: pipeline stages, p [1]
        microbatches: micro-batches of a step, m [1]
        stage: which stage, i; 0 is the first and holds the most [1]

    Returns:
        Micro-batches [1].

    Source:
        D. Narayanan et al., Efficient large-scale language model training on GPU clusters using Megatron-LM, SC 2021,
        arXiv:2104.04473, section 2.2.

    Examples:
        >>> in_flight_microbatches(8.0, 16.0, np.array([0.0, 7.0]))
        array([8., 1.])
    """
    return np.minimum(microbatches, stages - stage)


@equation
def interleaved_activation_factor(stages: Count, chunks: Count) -> Count:
    r"""How much more the first stage holds under the interleaved schedule than under 1F1B.

    .. math:: r = 1 + \frac{p - 1}{p\, v}

    Args:
        stages: pipeline stages, p [1]
        chunks: model chunks of each stage, v; 1F1B itself has no such factor [1]

    Returns:
        Ratio [1].

    Source:
        V. Korthikanti et al., MLSys 2023, arXiv:2205.05198, section 4.2.3.

    Examples:
        >>> interleaved_activation_factor(8.0, 2.0)
        1.4375
    """
    return 1 + (stages - 1) / (stages * chunks)


@equation
def cached_blocks_size(allocated: Bytes, fragmentation: Fraction, spare: Bytes) -> Bytes:
    r"""Memory that an allocator reserves beyond what it has handed out, and gives back where the device is full.

    Blocks of other sizes than are asked for stay cached. Before it gives up, the allocator frees those of them that are
    unused and asks the device again, so that they take what is left and no more.

    .. math:: M = \min(f A, \max(R, 0))

    Args:
        allocated: memory handed out at the peak, A [byte]
        fragmentation: share of it that is cached beside it where there is room, f [1]
        spare: capacity less all that must be there, R [byte]

    Returns:
        Size [byte].

    Source:
        PyTorch documentation, CUDA semantics, memory management; C. Guo et al., GMLake, ASPLOS 2024, arXiv:2401.08156.

    Examples:
        >>> cached_blocks_size(70e9, 0.15, np.array([20e9, 4e9, -1e9])) / 1e9
        array([10.5,  4. ,  0. ])
    """
    return np.minimum(fragmentation * allocated, np.maximum(spare, 0.0))


@equation
def lora_parameters(inputs: Count, outputs: Count, rank: Count, matrices: Count = 1.0) -> Count:
    r"""Trainable parameters of low-rank adapters.

    .. math:: n = k\, r (i + o)

    Args:
        inputs: input features of an adapted matrix, i [1]
        outputs: output features, o [1]
        rank: rank of the adapter, r [1]
        matrices: matrices adapted, over all layers, k [1]

    Returns:
        Parameters [1].

    Source:
        E. J. Hu et al., LoRA: low-rank adaptation of large language models, ICLR 2022, arXiv:2106.09685, section 5.1.

    Examples:
        >>> lora_parameters(12288.0, 12288.0, 8.0, 2 * 96.0) / 1e6  # queries and values of GPT-3
        37.748736
    """
    return matrices * rank * (inputs + outputs)


@equation
def adapter_state_size(
    frozen: Count, trainable: Count, frozen_value: Bytes = 2.0, trainable_state: Bytes = 16.0
) -> Bytes:
    r"""Training state when most weights are frozen: they need neither gradients nor optimizer states.

    .. math:: M = N_f \beta_f + N_t \beta_t

    Args:
        frozen: frozen parameters, N_f [1]
        trainable: trainable parameters, N_t [1]
        frozen_value: bytes of a frozen weight, beta_f; about 0.5 for 4-bit weights (QLoRA) [byte]
        trainable_state: bytes of weight, gradient and optimizer of a trainable one, beta_t [byte]

    Returns:
        Size [byte].

    Source:
        E. J. Hu et al., LoRA, ICLR 2022, arXiv:2106.09685, section 4.2; T. Dettmers et al., QLoRA, arXiv:2305.14314.

    Examples:
        >>> adapter_state_size(8e9, 42e6) / 1e9
        16.672
    """
    return frozen * frozen_value + trainable * trainable_state
