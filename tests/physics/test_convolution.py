import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.convolution import (
    batch_norm_parameters,
    conv2d_flops,
    conv2d_multiply_adds,
    conv2d_parameters,
    dense_multiply_adds,
    dense_parameters,
    depthwise_separable_multiply_adds,
    feature_map_size,
    im2col_size,
    output_size,
    transposed_output_size,
    winograd_saving,
)

whole = st.integers(1, 64).map(float)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation", "out"),
    [(224, 7, 2, 3, 1, 112), (112, 3, 2, 1, 1, 56), (227, 11, 4, 0, 1, 55), (5, 3, 2, 1, 1, 3), (7, 3, 1, 0, 2, 3)],
)
def test_output_sizes_of_resnet_alexnet_and_dumoulin_2016(size, kernel, stride, padding, dilation, out):
    assert output_size(*map(float, (size, kernel, stride, padding, dilation))) == out


@given(size=st.integers(3, 512).map(float), half=st.integers(0, 3))
def test_same_padding_keeps_the_size(size, half):
    assert output_size(size, 2.0 * half + 1, 1.0, float(half)) == size


@given(size=whole, kernel=st.integers(1, 7).map(float), stride=st.integers(1, 4).map(float))
def test_a_transposed_convolution_undoes_the_shape_of_a_convolution(size, kernel, stride):
    assert output_size(transposed_output_size(size, kernel, stride), kernel, stride) == size


def test_first_layer_of_resnet_has_118_million_multiply_adds():
    adds = conv2d_multiply_adds(112.0, 112.0, 3.0, 64.0, 7.0, 7.0)
    assert adds == 118_013_952
    assert conv2d_flops(adds, 32.0) == 2 * 32 * adds


def bottleneck_network(depths):
    """Parameters and multiply-adds of a bottleneck ResNet (v1.5: the stride is in the 3 x 3 convolution)."""
    parameters = multiply_adds = 0.0

    def conv(size, inputs, outputs, kernel, stride=1.0):
        nonlocal parameters, multiply_adds
        out = output_size(size, kernel, stride, (kernel - 1) // 2)
        parameters += conv2d_parameters(inputs, outputs, kernel, kernel) + batch_norm_parameters(outputs)
        multiply_adds += conv2d_multiply_adds(out, out, inputs, outputs, kernel, kernel)
        return out

    size = output_size(conv(224.0, 3.0, 64.0, 7.0, 2.0), 3.0, 2.0, 1.0)
    channels = 64.0
    for stage, depth in enumerate(depths):
        width = 64.0 * 2**stage
        for block in range(depth):
            stride = 2.0 if stage and not block else 1.0
            if not block:
                conv(size, channels, 4 * width, 1.0, stride)
            conv(size, channels, width, 1.0)
            size = conv(size, width, width, 3.0, stride)
            conv(size, width, 4 * width, 1.0)
            channels = 4 * width
    return (
        parameters + dense_parameters(channels, 1000.0, 1.0),
        multiply_adds + dense_multiply_adds(channels, 1000.0),
    )


@pytest.mark.parametrize(
    ("depths", "parameters", "giga"), [((3, 4, 6, 3), 25_557_032, 4.09), ((3, 4, 23, 3), 44_549_160, 7.80)]
)
def test_resnet_50_and_101_match_torchvision(depths, parameters, giga):
    """The model pages print these parameters, and multiply-adds under the name of GFLOPS."""
    found, adds = bottleneck_network(depths)
    assert found == parameters
    assert adds / 1e9 == pytest.approx(giga, abs=0.01)


def test_vgg16_matches_torchvision():
    """138 357 544 parameters and 15.47 G multiply-adds."""
    parameters = adds = 0.0
    size, channels = 224.0, 3.0
    for convolutions, width in ((2, 64.0), (2, 128.0), (3, 256.0), (3, 512.0), (3, 512.0)):
        for _ in range(convolutions):
            parameters += conv2d_parameters(channels, width, 3.0, 3.0, bias=1.0)
            adds += conv2d_multiply_adds(size, size, channels, width, 3.0, 3.0)
            channels = width
        size /= 2
    for inputs, outputs in ((25088.0, 4096.0), (4096.0, 4096.0), (4096.0, 1000.0)):
        parameters += dense_parameters(inputs, outputs, 1.0)
        adds += dense_multiply_adds(inputs, outputs)
    assert parameters == 138_357_544
    assert adds / 1e9 == pytest.approx(15.47, abs=0.01)


def test_mobilenet_matches_howard_2017_table_4():
    """569 million multiply-adds and 4.2 million parameters at full width and 224 pixels."""
    size = 112.0
    adds = conv2d_multiply_adds(size, size, 3.0, 32.0, 3.0, 3.0)
    parameters = conv2d_parameters(3.0, 32.0, 3.0, 3.0)
    channels = 32.0
    for width, stride in (
        [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    ):
        size /= stride
        adds += depthwise_separable_multiply_adds(size, size, channels, width, 3.0, 3.0)
        parameters += conv2d_parameters(channels, channels, 3.0, 3.0, channels)
        parameters += conv2d_parameters(channels, width, 1.0, 1.0)
        channels = float(width)
    adds += dense_multiply_adds(1024.0, 1000.0)
    parameters += dense_parameters(1024.0, 1000.0, 1.0)
    assert adds / 1e6 == pytest.approx(569, abs=0.5)
    assert parameters / 1e6 == pytest.approx(4.2, abs=0.05)


@given(size=whole, inputs=whole, outputs=whole, kernel=st.integers(1, 7).map(float))
def test_depthwise_separable_saves_what_howard_2017_equation_5_says(size, inputs, outputs, kernel):
    full = conv2d_multiply_adds(size, size, inputs, outputs, kernel, kernel)
    light = depthwise_separable_multiply_adds(size, size, inputs, outputs, kernel, kernel)
    assert light / full == pytest.approx(1 / outputs + 1 / kernel**2)
    depthwise = conv2d_multiply_adds(size, size, inputs, inputs, kernel, kernel, inputs)
    assert light == pytest.approx(depthwise + conv2d_multiply_adds(size, size, inputs, outputs, 1.0, 1.0))


@given(size=whole, inputs=whole, outputs=whole)
def test_a_dense_layer_is_a_convolution_over_the_whole_input(size, inputs, outputs):
    assert conv2d_multiply_adds(1.0, 1.0, inputs, outputs, size, size) == dense_multiply_adds(inputs * size**2, outputs)
    assert conv2d_parameters(inputs, outputs, size, size, 1.0, 1.0) == dense_parameters(inputs * size**2, outputs, 1.0)


@pytest.mark.parametrize(("outputs", "kernel", "saving"), [(2, 3, 2.25), (4, 3, 4.0), (1, 3, 1.0)])
def test_winograd_saving_matches_lavin_2016(outputs, kernel, saving):
    assert winograd_saving(float(outputs), float(kernel)) == pytest.approx(saving)


@given(height=whole, width=whole, channels=whole, samples=whole)
def test_unrolling_copies_the_input_once_for_each_kernel_element(height, width, channels, samples):
    plain = feature_map_size(height, width, channels, samples)
    assert im2col_size(height, width, channels, 3.0, 3.0, samples) == pytest.approx(9 * plain)


def test_shapes_broadcast():
    assert output_size(224.0, np.array([1.0, 3.0, 7.0]), 2.0, np.array([0.0, 1.0, 3.0])).tolist() == [112.0] * 3
