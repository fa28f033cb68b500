"""Networks written out layer by layer, against published counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim import Models
from mlsysim.catalog.models import ConvNet, Diffusion, Recommender, Transformer
from mlsysim.errors import CatalogError, MissingFactError
from mlsysim.workloads.network import network
from mlsysim.workloads.operators import KINDS, columns, total_bytes, total_flops

WRITTEN_OUT = [model for model in Models.list() if getattr(model, "stages", None)]
COUNTED_ELSEWHERE = ("datasheet", "measured", "assumed")


def published(model, *values):
    """A value that somebody else counted."""
    return next((v for v in values if v in model.facts and model.source(v).kind in COUNTED_ELSEWHERE), None)


@pytest.mark.parametrize("model", [m for m in WRITTEN_OUT if published(m, "parameters")], ids=lambda m: m.id)
def test_parameters_add_up_to_the_published_count(model):
    printed = model.si.parameters
    if model.id == "RetinaNet_R50":  # torchvision leaves out its frozen batch normalisations
        assert network(model).parameters == printed + 53_120
    elif printed % 1000:  # counted to the last one
        assert network(model).parameters == printed
    else:  # printed in millions, some with a digit after the point
        assert network(model).parameters == pytest.approx(printed, rel=0.008, abs=0.05e6)


@pytest.mark.parametrize(
    "model", [m for m in WRITTEN_OUT if published(m, "multiply_adds", "inference_flops")], ids=lambda m: m.id
)
def test_work_adds_up_to_the_published_count(model):
    assert network(model).flops == pytest.approx(model.flops(), rel=0.01)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("StableDiffusion_v1_5", 859_520_964),  # BK-SDM issue 53
        ("SDXL", 2567e6),  # KOALA model card, as the next
        ("StableDiffusion_v2_1", 865e6),
        ("DiT_XL_2", 675e6),  # arXiv:2212.09748, table 1
        ("SD3_Medium", 2.0e9),  # named "2B"
        ("Flux1_Dev", 12e9),  # named "12B"
    ],
)
def test_denoisers_have_the_parameters_their_cards_print(name, parameters):
    assert network(Models[name]).parameters == pytest.approx(parameters, rel=0.015)


def test_sd_unet_without_attention_products_matches_bk_sdm_issue_53():
    # thop counts convolutions and matrix products with weights: 338 749 194 240 multiply-adds at 512 x 512
    counted = [o for o in network(Models.StableDiffusion_v1_5).operators if o.kind != "attention_context"]
    assert total_flops(counted) / 2 == pytest.approx(338_749_194_240, rel=1e-3)


@pytest.mark.parametrize(("pixels", "gflops"), [(256, 118.6), (512, 524.6)])
def test_dit_xl_2_matches_peebles_2023_tables(pixels, gflops):
    assert network(Models.DiT_XL_2, resolution=float(pixels)).flops / 2e9 == pytest.approx(gflops, rel=2e-3)


@pytest.mark.parametrize(("name", "picture", "text"), [("CLIP_ViT_B_32", 8.82, 5.96), ("CLIP_ViT_L_14", 162.03, 13.3)])
def test_clip_towers_match_the_openclip_profile(name, picture, text):
    operators = network(Models[name]).operators
    first = next(i for i, o in enumerate(operators) if ".tokens." in o.name)
    assert total_flops(operators[:first]) / 1e9 == pytest.approx(picture, rel=2e-3)
    assert total_flops(operators[first:]) / 1e9 == pytest.approx(text, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "largest"), [("DS_CNN", 53e3), ("WakeVision", 325e3), ("ResNet8", 96e3), ("AnomalyDetector", 270e3)]
)
def test_tiny_models_fit_the_int8_files_of_mlperf_tiny(name, largest):
    # Linley newsletter of 2021-08-03; a file holds a graph and scales beside the weights
    size = network(Models[name], weight=1.0).parameters
    assert 0.4 * largest < size < largest


def test_ds_cnn_matches_zhang_2017():
    # Hello Edge, arXiv:1711.07128: DS-CNN (S) has 5.4 M operations, two a multiply-add
    assert network(Models.DS_CNN).flops == pytest.approx(5.4e6, rel=0.02)


def test_flops_of_a_product_are_two_a_multiply_add():
    for model in [*WRITTEN_OUT, Models.DLRM, Models.DLRM_DCNv2]:
        for o in network(model, batch=3.0).operators:
            assert o.kind in KINDS
            if o.kind in ("gemm", "conv", "depthwise"):
                assert o.flops == pytest.approx(2 * o.m * o.n * o.k * o.groups), o.name
            elif o.kind != "attention_context":
                assert o.flops == 0.0


def test_weights_of_the_operators_are_the_parameters():
    # embeddings gather some of their rows, and heads shared between levels read their weights at each; others read all
    for model in WRITTEN_OUT:
        one = network(model, weight=1.0)
        if model.id.startswith("RetinaNet") or any(o.kind == "embedding" for o in one.operators):
            continue
        once = sum(o.weight_bytes * (1.0 if o.name.endswith("recurrent") else o.count) for o in one.operators)
        extra = one.parameters - once
        assert -1 <= extra <= 0.0002 * one.parameters, model.id  # query and key normalisations are fused


@given(batch=st.integers(1, 4096))
def test_work_is_proportional_to_the_batch_and_weights_are_read_once(batch):
    one, many = network(Models.ResNet18), network(Models.ResNet18, batch=float(batch))
    assert many.flops == pytest.approx(batch * one.flops)
    assert sum(o.weight_bytes * o.count for o in many.operators) == sum(o.weight_bytes * o.count for o in one.operators)
    assert total_bytes(many.operators) <= batch * total_bytes(one.operators) * (1 + 1e-12)


@pytest.mark.parametrize("name", ["ResNet50", "Swin_T", "YOLOv8_Nano", "SDXL", "UNet3D", "RNNT_MLPerf", "DLRM"])
def test_arrays_give_what_one_at_a_time_gives(name):
    batches = np.array([1.0, 7.0, 64.0])
    together = network(Models[name], batch=batches)
    apart = [network(Models[name], batch=float(batch)) for batch in batches]
    assert together.flops == pytest.approx([one.flops for one in apart])
    assert total_bytes(together.operators) == pytest.approx([total_bytes(one.operators) for one in apart])
    table = columns(together.operators)
    assert table["flops"].shape == (len(together.operators), 3)
    assert (table["flops"] * table["count"]).sum(axis=0) == pytest.approx(together.flops)


@pytest.mark.parametrize("name", ["ResNet50", "VGG16", "ConvNeXt_Tiny", "EfficientNetB0"])
def test_convolutions_grow_with_the_area(name):
    flops = network(Models[name], resolution=np.array([224.0, 448.0]) if name != "VGG16" else 224.0).flops
    if name == "VGG16":  # its classifier is tied to 224 pixels, so only convolutions are compared
        small, large = (
            sum(o.flops for o in network(Models.VGG16, resolution=side).operators if o.kind == "conv")
            for side in (224.0, 448.0)
        )
        flops = np.array([small, large])
    assert flops[1] / flops[0] == pytest.approx(4.0, rel=0.005)


def test_dlrm_gathers_rows_and_never_reads_its_tables():
    one = network(Models.DLRM_DCNv2, batch=2048.0)
    gathered = next(o for o in one.operators if o.kind == "embedding")
    assert gathered.weight_bytes == 2048 * 214 * 128 * 2  # multi-hot sizes of the benchmark add up to 214
    assert gathered.weight_bytes < 1e-2 * one.parameters * 2


def test_dlrm_has_the_size_mlperf_states():
    # MLPerf inference: tables of at most 40 M rows, 26 of them, width 128, take about 97 GB in fp32
    assert network(Models.DLRM, weight=4.0).parameters * 4 == pytest.approx(97e9, rel=0.02)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("conf 64 k3", "line 1 (conf): no such layer; did you mean conv"),
        ("conv 64 k3\ncat @skip", "line 2 (cat): no earlier output named 'skip'"),
        ("conv 64 k3 > left\nadd @lift", "did you mean left?"),
        ("conv", "line 1 (conv): expected at least 1 number"),
        ("conv 64 k3x3x3", "option k has 3 directions, expected 2"),
        ("conv 64 K3", "cannot read 'K3'"),
        ("conv 64 k3 s0", "expected a number above 0, found 's0'"),
        ("conv 64 stride2", "takes no 'stride2'; it takes d, g, k, p, s, x, bare, bias, dw or up"),
        ("conv 64 g5", "5 groups do not divide 3 channels in and 64 out"),
        ("maxpool k3 s2\nconv 8 k300 p0", "line 2 (conv): no position is left; the input is too small"),
        ("patch 30 k16\nencoder h4", "4 heads do not divide a width of 30"),
        ("conv 64 >", "expected a name after '>'"),
        ("64 conv", "expected a kind of layer"),
        ("# nothing", "no layer in the text"),
        ("\n" * 3000, "at most 2000"),
    ],
)
def test_a_fault_in_the_layers_is_told_in_one_line(stages, said):
    model = ConvNet.define("mine", architecture="cnn", parameters=1, stages=stages)
    with pytest.raises(CatalogError) as error:
        network(model)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_without_layers_says_so():
    with pytest.raises(MissingFactError, match="MaskRCNN_R50: its layers are not in the catalog"):
        network(Models.MaskRCNN_R50)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bottom_mlp": "13-512-64"}, "bottom_mlp ends with 64; the tables and features make 128"),
        ({"top_mlp": "480-1"}, "top_mlp starts with 480; the tables and features make 479"),
        ({"top_mlp": "479-x-1"}, "expected widths such as 13-512-256-128"),
    ],
)
def test_towers_that_do_not_fit_are_named(changes, said):
    with pytest.raises(CatalogError) as error:
        network(Models.DLRM.replace(**changes))
    assert said in str(error.value)


def test_a_recommender_without_tables_is_a_missing_fact():
    with pytest.raises(
        MissingFactError, match="embedding_tables, embedding_dim, embedding_rows, bottom_mlp, top_mlp are not"
    ):
        network(Recommender.define("mine", architecture="dlrm", parameters=1e9))


def test_operators_are_frozen():
    operator = network(Models.LeNet5).operators[0]
    with pytest.raises(AttributeError):
        operator.flops = 1.0


def test_every_kind_of_model_is_written_out_somewhere():
    assert {type(m) for m in WRITTEN_OUT} == {ConvNet, Diffusion}
    assert not any(isinstance(m, Transformer) for m in WRITTEN_OUT)
