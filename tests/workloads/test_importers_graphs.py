"""ONNX graphs and PyTorch modules: parameters and FLOPs counted without weights and without running anything."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import import_model
from mlsysim.errors import InvalidInputError, MissingExtraError, MLSysimError, UnsupportedWorkloadError
from mlsysim.workloads.importers import is_importable

VGG16 = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
VGG16_DENSE = [(25088, 4096), (4096, 4096), (4096, 1000)]


@pytest.fixture(scope="module")
def onnx():
    return pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def weight(onnx, name, shape):
    """A weight whose values lie elsewhere, so that a large network makes a small file."""
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def save(onnx, path, nodes, inputs, weights, opset=17, output="y"):
    make = onnx.helper
    graph = make.make_graph(
        nodes,
        "test",
        [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [make.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
        weights,
    )
    path.write_bytes(
        make.make_model(
            graph, opset_imports=[make.make_opsetid("", opset), make.make_opsetid("mine", 1)]
        ).SerializeToString()
    )
    return path


def vgg16(onnx, path):
    make = onnx.helper.make_node
    nodes, weights, data, channels = [], [], "x", 3
    for index, width in enumerate(VGG16):
        out = f"a{index}"
        if width == "M":
            nodes.append(make("MaxPool", [data], [out], kernel_shape=[2, 2], strides=[2, 2]))
        else:
            weights += [weight(onnx, f"w{index}", [width, channels, 3, 3]), weight(onnx, f"b{index}", [width])]
            nodes.append(make("Conv", [data, f"w{index}", f"b{index}"], [out], pads=[1, 1, 1, 1], kernel_shape=[3, 3]))
            channels = width
        data = out
    nodes.append(make("Flatten", [data], ["flat"]))
    data = "flat"
    for index, (inner, outer) in enumerate(VGG16_DENSE):
        weights += [weight(onnx, f"d{index}", [outer, inner]), weight(onnx, f"e{index}", [outer])]
        out = "y" if outer == 1000 else f"f{index}"
        nodes.append(make("Gemm", [data, f"d{index}", f"e{index}"], [out], transB=1))
        data = out
    return save(onnx, path, nodes, {"x": ["batch", 3, 224, 224]}, weights)


def test_a_graph_of_vgg16_has_the_published_parameters_and_work(onnx, tmp_path):
    # torchvision's documentation of vgg16: 138357544 parameters, 15.47 G multiply-adds
    model = import_model(vgg16(onnx, tmp_path / "vgg16.onnx"))
    assert model.si.parameters == 138357544
    assert model.si.inference_flops / 2e9 == pytest.approx(15.47, abs=0.01)
    assert (model.architecture, model.si.input_resolution, model.si.layers) == ("cnn", 224, 16)
    twice = import_model(tmp_path / "vgg16.onnx", sizes={"batch": 2})
    assert twice.si.inference_flops == 2 * model.si.inference_flops
    assert "batch" in model.note
    assert not twice.note


def test_a_module_of_vgg16_has_the_published_parameters_and_work(torch):
    nn = torch.nn
    with torch.device("meta"):
        layers, channels = [], 3
        for width in VGG16:
            layers += [nn.MaxPool2d(2)] if width == "M" else [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = channels if width == "M" else width
        model = nn.Sequential(*layers, nn.Flatten(), *(nn.Linear(*sides) for sides in VGG16_DENSE))
    found = import_model(model, (1, 3, 224, 224), name="VGG-16")
    assert found.si.parameters == 138357544
    assert found.si.inference_flops / 2e9 == pytest.approx(15.47, abs=0.01)
    assert (found.architecture, found.name) == ("cnn", "VGG-16")


@settings(max_examples=15, deadline=None)
@given(
    heads=st.integers(1, 4),
    width=st.integers(1, 8),
    batch=st.integers(1, 3),
    new=st.integers(1, 6),
    past=st.integers(0, 6),
)
def test_attention_of_a_graph_counts_the_pairs_that_it_sees(tmp_path_factory, heads, width, batch, new, past):
    onnx = pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("graph") / "a.onnx"
    context = new + past
    shapes = {"q": [batch, heads, new, width], "k": [batch, heads, context, width], "v": [batch, heads, context, width]}
    one = onnx.helper.make_node("Attention", ["q", "k", "v"], ["y"])
    whole = import_model(save(onnx, path, [one], shapes, [], opset=23)).si.inference_flops
    assert whole == 4 * batch * heads * new * context * width
    one = onnx.helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1)
    causal = import_model(save(onnx, path, [one], shapes, [], opset=23)).si.inference_flops
    assert causal == 4 * batch * heads * width * sum(past + i + 1 for i in range(new))


def test_every_kind_of_product_in_a_graph(onnx, tmp_path):
    make = onnx.helper.make_node

    def work(node, inputs, weights=()):
        return import_model(save(onnx, tmp_path / "g.onnx", [node], inputs, list(weights))).si.inference_flops

    assert work(make("MatMul", ["x", "w"], ["y"]), {"x": [2, 5, 3]}, [weight(onnx, "w", [3, 7])]) == 2 * 2 * 5 * 3 * 7
    grouped = make("Conv", ["x", "w"], ["y"], group=4, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    assert work(grouped, {"x": [1, 4, 8, 8]}, [weight(onnx, "w", [4, 1, 3, 3])]) == 2 * 4 * 64 * 9
    upward = make("ConvTranspose", ["x", "w"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    assert work(upward, {"x": [1, 3, 4, 4]}, [weight(onnx, "w", [3, 5, 2, 2])]) == 2 * 3 * 16 * 5 * 4
    einsum = make("Einsum", ["x", "w"], ["y"], equation="bij,jk->bik")
    assert work(einsum, {"x": [2, 3, 4]}, [weight(onnx, "w", [4, 5])]) == 2 * 2 * 3 * 4 * 5
    lstm = make("LSTM", ["x", "w", "r"], ["y"], hidden_size=6)
    sides = [weight(onnx, "w", [1, 24, 5]), weight(onnx, "r", [1, 24, 6])]
    assert work(lstm, {"x": [7, 2, 5]}, sides) == 2 * 7 * 2 * 4 * 6 * (5 + 6)


def test_a_graph_that_cannot_be_counted_says_what_is_missing(onnx, tmp_path):
    make = onnx.helper.make_node
    nodes = [make("Mystery", ["x"], ["z"], domain="mine"), make("MatMul", ["z", "w"], ["y"])]
    unknown = save(onnx, tmp_path / "u.onnx", nodes, {"x": [1, 4]}, [weight(onnx, "w", [4, 4])])
    with pytest.raises(InvalidInputError, match="shapes of 1 nodes cannot be worked out"):
        import_model(unknown)
    with pytest.raises(UnsupportedWorkloadError, match="no matrix product"):
        import_model(save(onnx, tmp_path / "r.onnx", [make("Relu", ["x"], ["y"])], {"x": [1, 4]}, []))
    with pytest.raises(InvalidInputError, match="no symbolic extent named 'sequence'; there are batch"):
        import_model(vgg16(onnx, tmp_path / "v.onnx"), sizes={"sequence": 3})
    with pytest.raises(InvalidInputError, match="whole numbers of at least 1"):
        import_model(tmp_path / "v.onnx", sizes={"batch": -1})


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b'{"a": 1}', b"\x08\x07"])
def test_a_file_that_is_no_graph(onnx, tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        import_model(path)
    assert "\n" not in str(caught.value)
    assert "expected an ONNX graph" in str(caught.value)


def test_a_transformer_layer_as_a_module_costs_what_its_shapes_say(torch):
    width, ffn, tokens = 64, 128, 16
    layer = torch.nn.TransformerEncoderLayer(width, 4, ffn, batch_first=True).train()
    found = import_model(layer, torch.zeros(1, tokens, width))
    assert found.si.inference_flops == 2 * tokens * (4 * width**2 + 2 * width * ffn) + 4 * tokens**2 * width
    assert layer.training  # the module is left as it was
    assert all(parameter.device.type == "cpu" for parameter in layer.parameters())


def test_a_module_too_large_for_memory_is_counted_all_the_same(torch):
    with torch.device("meta"):
        model = torch.nn.Sequential(*(torch.nn.Linear(65536, 65536, bias=False) for _ in range(32)))
    found = import_model(model, (8, 65536))
    assert found.si.parameters == 32 * 65536**2
    assert found.si.inference_flops == 2 * 8 * found.si.parameters


def test_modules_and_inputs_that_make_no_sense(torch):
    class Chooser(torch.nn.Module):
        def forward(self, x):
            return x @ x.T if x.sum() > 0 else x

    class Selector(torch.nn.Module):
        def forward(self, x):
            return x[x > 0]

    with pytest.raises(InvalidInputError, match=r"on the shapes of these inputs alone: .*meta tensor"):
        import_model(Chooser(), (2, 2))
    with pytest.raises(UnsupportedWorkloadError, match="depends on values"):
        import_model(Selector(), (2, 2))
    linear = torch.nn.Linear(4, 4)
    for inputs, told in [
        ((), "expected example inputs"),
        (((3, 5),), "does not run on the shapes of these inputs"),
        (((-1, 4),), "a shape"),
    ]:
        with pytest.raises(InvalidInputError, match=told) as caught:
            import_model(linear, *inputs)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnsupportedWorkloadError, match="no matrix product"):
        import_model(torch.nn.ReLU(), (2, 2))


def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    (tmp_path / "g.onnx").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"mlsysim\[onnx\]"):
        import_model(tmp_path / "g.onnx")


def test_sources_of_another_type_are_refused():
    for source in (5, None, math.pi, [1], object()):
        with pytest.raises(MLSysimError, match="expected a path"):
            import_model(source)
    assert is_importable("hf://a/b")
    assert is_importable("x.GGUF")
    assert not is_importable("Llama3_8B")
