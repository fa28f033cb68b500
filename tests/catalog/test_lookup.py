"""Names: forgiving, suggesting, complete."""

import numpy as np
import pytest

import mlsysim
from mlsysim import Hardware, Infra, Models, Systems
from mlsysim.errors import InvalidInputError, UnknownEntryError

# Names of the functional specification, sections 2.1 to 2.4.
HARDWARE = {
    "Cloud": "V100 A100 H100 H200 B200 GB200_NVL72 MI300X MI250X Gaudi2 Gaudi3 Trainium2 TPUv6 TPUv5p T4 Cerebras_CS3 TPUv4",
    "Workstation": "DGX_Spark MacBookM3Max",
    "Mobile": "iPhone15Pro Pixel8 Snapdragon8Gen3",
    "Edge": "JetsonOrinNX Coral NUC_Movidius GenericServer",
    "Tiny": "ESP32_S3 ESP32 nRF52840 HimaxWE1",
}
FLAT = "V100 A100 H100 H200 B200 NVL72 MI300X MI250X Gaudi2 Gaudi3 Trainium2 TPUv6 TPUv5p TPUv4 T4 CerebrasCS3 DGXSpark MacBook iPhone Snapdragon Jetson ESP32 Himax"
MODELS = {
    "Language": "GPT2 GPT3 GPT4 BERT_Base BERT_Large Llama2_70B Llama3_8B Llama3_70B",
    "Vision": "ResNet50 MobileNetV2 YOLOv8_Nano AlexNet",
    "Tiny": "DS_CNN WakeVision AnomalyDetector",
    "Recommendation": "DLRM",
    "StateSpace": "Mamba_130M Mamba_2_8B",
    "GenerativeVision": "StableDiffusion_v1_5",
}


@pytest.mark.parametrize(("family", "names"), HARDWARE.items())
def test_specified_hardware_is_there(family, names):
    for name in names.split():
        assert getattr(getattr(Hardware, family), name) is Hardware[name]


@pytest.mark.parametrize(("family", "names"), MODELS.items())
def test_specified_models_are_there(family, names):
    for name in names.split():
        assert getattr(getattr(Models, family), name) is Models[name]


def test_flat_names_and_systems_are_there():
    for name in FLAT.split():
        assert getattr(Hardware, name)
    for name in ["Quebec", "Norway", "US_Avg", "Poland"]:
        assert getattr(Infra.Grids, name) is getattr(Infra, name)
    for path in ["Racks.Traditional", "Racks.AI_Standard"]:
        family, name = path.split(".")
        assert getattr(getattr(Infra, family), name)
    for path in [
        "Tiers.Cloud",
        "Tiers.Edge",
        "Tiers.Mobile",
        "Tiers.Tiny",
        "Nodes.DGX_H100",
        "Nodes.DGX_A100",
        "Nodes.DGX_B200",
        "Fabrics.Ethernet_10G",
        "Fabrics.Ethernet_100G",
        "Fabrics.InfiniBand_HDR",
        "Fabrics.InfiniBand_NDR",
        "Clusters.Research_256",
        "Clusters.Production_2K",
        "Clusters.Frontier_8K",
        "Clusters.Mega_100K",
    ]:
        family, name = path.split(".")
        assert getattr(getattr(Systems, family), name)


@pytest.mark.parametrize("name", ["H100", "h100", "h-100", "H_100", " h100 ", "h100-sxm"])
def test_lookups_forgive_spelling(name):
    assert Hardware[name].id == "H100"


def test_a_wrong_name_suggests_near_ones():
    with pytest.raises(UnknownEntryError, match="did you mean H100") as error:
        Hardware["H1000"]
    assert isinstance(error.value, KeyError)
    with pytest.raises(AttributeError, match="did you mean"):
        _ = Models.Llama3_8
    with pytest.raises(UnknownEntryError, match=r"Cloud\.H100"):
        _ = Hardware.Edge.H100
    with pytest.raises(AttributeError, match="did you mean ServingModel"):
        _ = mlsysim.ServingModle


def test_search_list_and_get():
    assert "H100" in [spec.id for spec in Hardware.search("h100")]
    bandwidths = [spec.si.memory_bandwidth for spec in Hardware.list(sort_by="memory_bandwidth")]
    assert bandwidths == sorted(bandwidths)
    prices = [spec.si.price for spec in Hardware.list(sort_by="price", reverse=True)]
    known = [price for price in prices if price is not None]
    assert known == sorted(known, reverse=True)
    assert all(price is None for price in prices[len(known) :]), "unknown prices come last"
    assert Hardware.get("no such chip") is None
    with pytest.raises(UnknownEntryError, match="did you mean"):
        Hardware.list(sort_by="memory_bandwith")


def test_stack_holds_arrays_and_marks_the_unknown():
    stack = Hardware.stack(["T4", "A100", "H100"])
    assert len(stack) == 3
    assert stack.si.memory_bandwidth.shape == (3,)
    assert np.isnan(stack.si.peaks["fp8"]).tolist() == [True, True, False]
    assert [member.id for member in stack.members] == ["T4", "A100", "H100"]
    with pytest.raises(InvalidInputError):
        Hardware.stack([])
    with pytest.raises(InvalidInputError):
        Hardware.stack("H100")


def test_a_device_in_a_few_lines_is_checked_like_a_file():
    chip = mlsysim.Device.define(
        "Chip X",
        release_year=2027,
        vendor="me",
        peak_fp16="500 TFLOP/s",
        memory_capacity="64 GB",
        memory_bandwidth="2 TB/s",
        dispatch_latency="10 us",
    )
    assert chip.ridge_point().to("flop/byte").magnitude == pytest.approx(250)
    with pytest.raises(mlsysim.CatalogError, match="memory_capacity: expected a unit like GB"):
        mlsysim.Device.define(
            "Chip X",
            release_year=2027,
            vendor="me",
            peak_fp16="500 TFLOP/s",
            memory_capacity="64 GB/s",
            memory_bandwidth="2 TB/s",
            dispatch_latency="10 us",
        )
    faster = Hardware.H100.replace(memory_bandwidth="6.7 TB/s")
    assert faster.si.memory_bandwidth == 6.7e12
    assert faster.si.memory_capacity == Hardware.H100.si.memory_capacity
    assert faster.si.peaks == Hardware.H100.si.peaks
    assert faster.source("memory_bandwidth").kind == "assumed"
    assert Hardware.H100.si.memory_bandwidth != 6.7e12
