"""Convolutional and dense layers: shapes, weights, multiply-adds, FLOPs and bytes.

A published count of a convolutional network is usually of multiply-adds; ``multiply_add_flops`` turns it into FLOPs.
"""

from __future__ import annotations

import numpy as np

from ..units import Bytes, Count, Flop, Fraction
from . import equation


@equation
def output_size(size: Count, kernel: Count, stride: Count = 1.0, padding: Count = 0.0, dilation: Count = 1.0) -> Count:
    r"""Output positions of a convolution or a pooling along one dimension.

    .. math:: o = \left\lfloor \frac{i + 2 p - d (k - 1) - 1}{s} \right\rfloor + 1

    Args:
        size: input positions, i [1]
        kernel: kernel width, k [1]
        stride: step of the kernel, s [1]
        padding: zeros added on each side, p [1]
        dilation: spacing of the kernel's elements, d [1]

    Returns:
        Output positions [1].

    Source:
        V. Dumoulin and F. Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285,
        relationships 6 and 15.

    Examples:
        >>> float(output_size(224.0, 7.0, 2.0, 3.0))  # first layer of ResNet
        112.0
    """
    return np.floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1


@equation
def transposed_output_size(
    size: Count, kernel: Count, stride: Count = 1.0, padding: Count = 0.0, extra: Count = 0.0
) -> Count:
    r"""Output positions of a transposed convolution along one dimension.

    .. math:: o = s (i - 1) + k - 2 p + a

    Args:
        size: input positions, i [1]
        kernel: kernel width, k [1]
        stride: upsampling factor, s [1]
        padding: padding of the convolution it undoes, p [1]
        extra: positions added on one side, a [1]

    Returns:
        Output positions [1].

    Source:
        V. Dumoulin and F. Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285,
        relationship 14.

    Examples:
        >>> transposed_output_size(32.0, 4.0, 2.0, 1.0)
        64.0
    """
    return stride * (size - 1) + kernel - 2 * padding + extra


@equation
def conv2d_parameters(
    in_channels: Count,
    out_channels: Count,
    kernel_height: Count,
    kernel_width: Count,
    groups: Count = 1.0,
    bias: Count = 0.0,
) -> Count:
    r"""Weights of a two-dimensional convolution. Depthwise: as many groups as input channels.

    .. math:: n = C_o \left(k_h k_w \frac{C_i}{g} + b\right)

    Args:
        in_channels: input channels, C_i [1]
        out_channels: output channels, C_o [1]
        kernel_height: kernel height, k_h [1]
        kernel_width: kernel width, k_w [1]
        groups: groups of channels that do not mix, g [1]
        bias: 1 if every output channel has a bias, 0 if not, b [1]

    Returns:
        Parameters [1].

    Source:
        A. Krizhevsky, I. Sutskever and G. E. Hinton, ImageNet classification with deep convolutional neural networks,
        NeurIPS 2012, doi:10.1145/3065386.

    Examples:
        >>> conv2d_parameters(3.0, 64.0, 7.0, 7.0)  # first layer of ResNet
        9408.0
    """
    return out_channels * (kernel_height * kernel_width * in_channels / groups + bias)


@equation
def conv2d_multiply_adds(
    out_height: Count,
    out_width: Count,
    in_channels: Count,
    out_channels: Count,
    kernel_height: Count,
    kernel_width: Count,
    groups: Count = 1.0,
) -> Count:
    r"""Multiply-adds of a direct two-dimensional convolution of one sample.

    .. math:: M = H_o W_o C_o k_h k_w \frac{C_i}{g}

    Args:
        out_height: output rows, H_o [1]
        out_width: output columns, W_o [1]
        in_channels: input channels, C_i [1]
        out_channels: output channels, C_o [1]
        kernel_height: kernel height, k_h [1]
        kernel_width: kernel width, k_w [1]
        groups: groups of channels that do not mix, g; all of them for a depthwise convolution [1]

    Returns:
        Multiply-adds of one sample [1].

    Source:
        A. G. Howard et al., MobileNets, arXiv:1704.04861, section 3.1.

    Examples:
        >>> conv2d_multiply_adds(112.0, 112.0, 3.0, 64.0, 7.0, 7.0)  # first layer of ResNet
        118013952.0
    """
    return out_height * out_width * out_channels * kernel_height * kernel_width * in_channels / groups


@equation
def conv2d_flops(multiply_adds: Count, samples: Count = 1.0, multiply_add: Flop = 2.0) -> Flop:
    r"""FLOPs of a convolution or a dense layer on a batch.

    .. math:: W = m\, M B

    Args:
        multiply_adds: multiply-adds of one sample, M [1]
        samples: samples of the batch, B [1]
        multiply_add: FLOPs of one multiply-add, m; 2 by convention [flop]

    Returns:
        Work [flop].

    Source:
        S. Williams, A. Waterman and D. Patterson, Commun. ACM 52 (2009) 65-76: a fused multiply-add is two operations.

    Examples:
        >>> conv2d_flops(118013952.0) / 1e6
        236.027904
    """
    return multiply_add * multiply_adds * samples


@equation
def depthwise_separable_multiply_adds(
    out_height: Count,
    out_width: Count,
    in_channels: Count,
    out_channels: Count,
    kernel_height: Count,
    kernel_width: Count,
) -> Count:
    r"""Multiply-adds of a depthwise convolution and the pointwise one after it, of one sample.

    .. math:: M = H_o W_o C_i (k_h k_w + C_o)

    Args:
        out_height: output rows, H_o [1]
        out_width: output columns, W_o [1]
        in_channels: input channels, C_i [1]
        out_channels: output channels, C_o [1]
        kernel_height: kernel height, k_h [1]
        kernel_width: kernel width, k_w [1]

    Returns:
        Multiply-adds of one sample [1].

    Source:
        A. G. Howard et al., MobileNets, arXiv:1704.04861, equation 5.

    Examples:
        >>> depthwise_separable_multiply_adds(14.0, 14.0, 512.0, 512.0, 3.0, 3.0) / 1e6
        52.283392
    """
    return out_height * out_width * in_channels * (kernel_height * kernel_width + out_channels)


@equation
def winograd_saving(outputs: Count, kernel: Count) -> Fraction:
    r"""How many times fewer multiplications Winograd's minimal filtering needs for a square tile.

    Transforms are not counted, so it bounds the gain from above.

    .. math:: r = \frac{m^2 k^2}{(m + k - 1)^2}

    Args:
        outputs: output tile width, m [1]
        kernel: kernel width, k [1]

    Returns:
        Ratio of multiplications [1].

    Source:
        A. Lavin and S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016, arXiv:1509.09308.

    Examples:
        >>> winograd_saving(2.0, 3.0)
        2.25
    """
    return (outputs * kernel / (outputs + kernel - 1)) ** 2


@equation
def feature_map_size(
    height: Count, width: Count, channels: Count, samples: Count = 1.0, bytes_per_value: Bytes = 2.0
) -> Bytes:
    r"""Memory of one feature map of a batch.

    .. math:: M = B H W C \beta

    Args:
        height: rows, H [1]
        width: columns, W [1]
        channels: channels, C [1]
        samples: samples of the batch, B [1]
        bytes_per_value: bytes of one value, beta [byte]

    Returns:
        Size [byte].

    Source:
        Definition.

    Examples:
        >>> feature_map_size(112.0, 112.0, 64.0) / 1e6
        1.605632
    """
    return samples * height * width * channels * bytes_per_value


@equation
def im2col_size(
    out_height: Count,
    out_width: Count,
    in_channels: Count,
    kernel_height: Count,
    kernel_width: Count,
    samples: Count = 1.0,
    bytes_per_value: Bytes = 2.0,
) -> Bytes:
    r"""Memory of the patch matrix when a convolution is unrolled into a matrix product.

    .. math:: M = B H_o W_o C_i k_h k_w \beta

    Args:
        out_height: output rows, H_o [1]
        out_width: output columns, W_o [1]
        in_channels: input channels, C_i [1]
        kernel_height: kernel height, k_h [1]
        kernel_width: kernel width, k_w [1]
        samples: samples unrolled at once, B [1]
        bytes_per_value: bytes of one value, beta [byte]

    Returns:
        Size [byte].

    Source:
        K. Chellapilla, S. Puri and P. Simard, High performance convolutional neural networks for document processing,
        IWFHR 2006.

    Examples:
        >>> im2col_size(56.0, 56.0, 64.0, 3.0, 3.0) / feature_map_size(56.0, 56.0, 64.0)  # nine copies of the input
        9.0
    """
    return samples * out_height * out_width * in_channels * kernel_height * kernel_width * bytes_per_value


@equation
def dense_parameters(inputs: Count, outputs: Count, bias: Count = 0.0) -> Count:
    r"""Weights of a fully connected layer.

    .. math:: n = o (i + b)

    Args:
        inputs: input features, i [1]
        outputs: output features, o [1]
        bias: 1 if every output has a bias, 0 if not, b [1]

    Returns:
        Parameters [1].

    Source:
        Definition.

    Examples:
        >>> dense_parameters(2048.0, 1000.0, 1.0)  # last layer of ResNet-50
        2049000.0
    """
    return outputs * (inputs + bias)


@equation
def dense_multiply_adds(inputs: Count, outputs: Count) -> Count:
    r"""Multiply-adds of a fully connected layer, one sample.

    .. math:: M = i\, o

    Args:
        inputs: input features, i [1]
        outputs: output features, o [1]

    Returns:
        Multiply-adds of one sample [1].

    Source:
        Definition of a matrix-vector product.

    Examples:
        >>> dense_multiply_adds(2048.0, 1000.0)
        2048000.0
    """
    return inputs * outputs


@equation
def batch_norm_parameters(channels: Count) -> Count:
    r"""Learned parameters of a batch normalisation: a scale and a shift for each channel.

    .. math:: n = 2 C

    Args:
        channels: channels, C [1]

    Returns:
        Parameters, running statistics not counted [1].

    Source:
        S. Ioffe and C. Szegedy, Batch normalization, ICML 2015, arXiv:1502.03167.

    Examples:
        >>> batch_norm_parameters(64.0)
        128.0
    """
    return 2 * channels
