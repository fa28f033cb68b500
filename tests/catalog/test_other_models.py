"""Models that are not language models: the catalog's entries against what is printed about them."""

import pytest

from mlsysim import Models
from mlsysim.solvers.node import Engine

FAMILIES = {
    "Vision": "ResNet18 ResNet34 ResNet50 ResNet101 ResNet152 VGG16 AlexNet LeNet5 MobileNetV1 MobileNetV2 MobileNetV3_Large "
    "EfficientNetB0 EfficientNetB7 EfficientNetV2_S ConvNeXt_Tiny ConvNeXt_Large ViT_B_16 ViT_L_16 ViT_H_14 DeiT_S Swin_T "
    "CLIP_ViT_B_32 CLIP_ViT_L_14 SAM_ViT_B SAM_ViT_H SSD_ResNet34 RetinaNet_R50 MaskRCNN_R50 UNet3D YOLOv3 YOLOv5_Small "
    "YOLOv8_Nano YOLO11_Nano",
    "Speech": "Whisper_Tiny Whisper_Large_v3 Whisper_Large_v3_Turbo Wav2Vec2_Base RNNT_MLPerf",
    "GenerativeVision": "StableDiffusion_v1_5 StableDiffusion_v2_1 SDXL SD3_Medium Flux1_Dev DiT_XL_2",
    "Recommendation": "DLRM DLRM_DCNv2",
    "Tiny": "DS_CNN WakeVision AnomalyDetector ResNet8",
}


@pytest.mark.parametrize(("family", "names"), FAMILIES.items())
def test_models_are_found_by_family_and_flat(family, names):
    for name in names.split():
        assert getattr(getattr(Models, family), name) is getattr(Models, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_model_knows_its_size_work_and_depth(family):
    for model in getattr(Models, family):
        assert model.si.parameters > 0
        assert model.flops() > 0, model.id
        assert model.si.release_year >= 1998
        if family != "Vision" or getattr(model, "stages", None):
            assert model.si.layers or family == "Vision", model.id


@pytest.mark.parametrize(
    ("name", "gflops"),
    [
        ("ResNet50", 8.2),  # MLPerf inference, arXiv:1911.02549, table 1, as the next
        ("MobileNetV1", 1.138),
        ("MobileNetV2", 0.600),  # arXiv:1801.04381, table 4: 300 M multiply-adds
        ("EfficientNetB0", 0.78),  # arXiv:1905.11946, table 2: 0.39 B multiply-adds
        ("VGG16", 31.0),  # arXiv:1512.03385, section 3.3: VGG-19 has 19.6 billion multiply-adds; VGG-16 15.5
        ("YOLOv8_Nano", 8.7),
        ("StableDiffusion_v1_5", 800),
    ],
)
def test_flops_count_two_a_multiply_add(name, gflops):
    assert Models[name].flops() == pytest.approx(gflops * 1e9, rel=0.025)


def test_a_multiply_add_is_one_operation_only_in_the_textbook_example():
    assert [m.id for m in Models.list() if getattr(m.si, "textbook_operations", None)] == ["ResNet50"]


def test_the_getting_started_example_prints_what_the_specification_prints():
    answer = Engine.solve(Models.ResNet50, "A100", batch_size=1, precision="fp16")
    assert answer.bottleneck == "Memory"
    assert f"{answer.latency.to('ms').magnitude:.2f}" == "0.54"
    assert f"{answer.throughput.to('1/s').magnitude:.0f}" == "1843"


@pytest.mark.parametrize(
    ("small", "large"), [("Whisper_Tiny", "Whisper_Base"), ("Whisper_Large_v3_Turbo", "Whisper_Large_v3")]
)
def test_whisper_grows(small, large):
    assert Models[small].si.parameters < Models[large].si.parameters
    assert Models[small].si.layers == Models[small].si.encoder_layers + Models[small].si.decoder_layers
