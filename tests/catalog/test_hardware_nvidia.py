"""NVIDIA parts: what the papers of the vendor imply, and what no entry may contradict."""

import pytest

from mlsysim import Hardware

NVIDIA = [d for family in ("Cloud", "Workstation") for d in getattr(Hardware, family) if d.vendor == "NVIDIA"]
GPUS = [d for d in NVIDIA if d.id != "GB200_NVL72"]
BY_NAME = {"argvalues": GPUS, "ids": lambda d: d.id}

# Single-precision lanes of one multiprocessor, from the architecture papers; the generations not named have 128.
LANES = {"V100": 64, "V100_16GB": 64, "V100_PCIe": 64, "P100": 64, "T4": 64, "RTX2080Ti": 64, "QuadroRTX8000": 64}
LANES |= {"A100": 64, "A100_40GB": 64, "A100_PCIe": 64, "A100_PCIe_40GB": 64, "A30": 64, "K80": 192}
# Their sheets round to two digits, or print peaks that the clock we know does not give.
LOOSE = {"DGX_Spark": "about 31 TFLOP/s", "H20": "rates are set by export rules", "RTX_PRO_6000_Server": "up to 120"}


@pytest.mark.parametrize("chip", [d for d in GPUS if d.cores is not None], ids=lambda d: d.id)
def test_single_precision_peak_is_lanes_times_clock(chip):
    inside = chip.si
    lanes = LANES.get(chip.id, 128)
    vector = inside.cores * lanes * 2 * inside.clock
    assert inside.peaks["fp32"] == pytest.approx(vector, rel=0.12 if chip.id in LOOSE else 0.02)


@pytest.mark.parametrize(
    ("name", "multiply_adds", "clock"),
    [
        ("V100", 512, 1.53e9),  # Volta paper: 8 tensor cores of 64 multiply-adds
        ("T4", 512, 1.59e9),  # Turing paper: 8 of 64
        ("A100", 1024, 1.41e9),  # Ampere paper: 4 of 256
        ("H100", 2048, 1.83e9),  # Hopper paper: 4 of 512; the tensor peak is printed for 1.83 GHz, not for 1.98
        ("A40", 512, 1.74e9),  # GA102 paper: 4 of 128
        ("L40S", 512, 2.52e9),  # Ada paper: 4 of 128
    ],
)
def test_half_precision_peak_matches_the_architecture_papers(name, multiply_adds, clock):
    chip = Hardware[name].si
    assert chip.peaks["fp16"] == pytest.approx(chip.cores * multiply_adds * 2 * clock, rel=0.02)


def test_bf16_peak_matches_lockwood_peak_flops():
    # glennklockwood.com/garden/peak-FLOPS: 528 tensor cores of an H100 at 1.83 GHz do 989,429.76 GFLOPS
    assert Hardware.H100.si.peaks["bf16"] == pytest.approx(989_429.76e9, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "flop_per_byte"),
    [
        ("A10", 208.3),  # www.baseten.co/blog/llm-transformer-inference-guide
        (
            "H100",
            295,
        ),  # regantih.github.io/reports-lab, chapter 13: "a roofline ridge point at roughly 295 FLOPs per byte"
    ],
)
def test_ridge_point_matches_what_is_printed(name, flop_per_byte):
    ridge = Hardware[name].ridge_point("fp16").to("flop/byte").magnitude
    assert ridge == pytest.approx(flop_per_byte, rel=0.003)


@pytest.mark.parametrize(
    ("name", "links", "each"),
    [
        ("P100", 4, 20e9),
        ("V100", 6, 25e9),
        ("A100", 12, 25e9),
        ("H100", 18, 25e9),
        ("H800", 8, 25e9),
        ("B200", 18, 50e9),
    ],
)
def test_nvlink_is_one_direction_of_all_links(name, links, each):
    assert Hardware[name].si.link_bandwidth == links * each


@pytest.mark.parametrize("chip", **BY_NAME)
def test_peaks_are_dense_and_step_with_the_width_of_the_format(chip):
    """A sparse figure among dense ones breaks a ratio: halving the bits doubles the rate, no less and no more."""
    peaks = chip.si.peaks
    half = peaks.get("fp16", peaks["fp32"])
    assert half >= peaks["fp32"]
    if "fp8" in peaks:
        assert peaks["fp8"] / half == pytest.approx(2, rel=0.02)
    if "tf32" in peaks:
        assert half / peaks["tf32"] == pytest.approx(2, rel=0.03)
    if "bf16" in peaks:
        assert peaks["bf16"] == half
    if "fp4" in peaks:
        assert 2 * 0.98 <= peaks["fp4"] / peaks["fp8"] <= 4.1, "twice; three times on Blackwell Ultra; four on GeForce"
    if "int8" in peaks and not chip.architecture.startswith("Blackwell Ultra"):
        assert 2 * 0.98 <= peaks["int8"] / half <= 4.1, "twice, or four times where GeForce halves FP32 accumulation"


@pytest.mark.parametrize("chip", **BY_NAME)
def test_an_idle_chip_draws_less_and_memory_is_faster_than_any_link(chip):
    inside = chip.si
    assert inside.idle_power is None or 0 < inside.idle_power < 0.3 * inside.tdp
    for link in (inside.link_bandwidth, inside.host_bandwidth):
        assert link is None or link < inside.memory_bandwidth or chip.id == "DGX_Spark"


def test_a_rack_is_seventy_two_of_its_gpus():
    rack, gpu = Hardware.Cloud.GB200_NVL72.si, Hardware.Cloud.GB200.si
    for precision, peak in rack.peaks.items():
        assert peak == pytest.approx(72 * gpu.peaks[precision]), precision
    assert rack.memory_capacity == 72 * gpu.memory_capacity
    assert rack.memory_bandwidth == pytest.approx(72 * gpu.memory_bandwidth)
    assert rack.cores == 72 * gpu.cores


@pytest.mark.parametrize(
    ("written", "id"),
    [
        ("nvidia-h100", "H100"),
        ("h100-sxm-80gb", "H100"),
        ("NVIDIA H100-SXM5-80GB 81559 MiB", "H100"),
        ("a100_sxm", "A100"),
        ("A100 80GB PCIe", "A100_PCIe"),
        ("NVIDIA A100-SXM-40GB", "A100_40GB"),
        ("b200_sxm", "B200"),
        ("NVIDIA Blackwell GPU (GB200) 189471 MiB", "GB200"),
        ("RTX 6000 Pro Blackwell Server Edition", "RTX_PRO_6000_Server"),
        ("RTX PRO 6000 Blackwell Max-Q 96GB (300W)", "RTX_PRO_6000_MaxQ"),
        ("4090 [NVIDIA GeForce RTX 4090]", "RTX4090"),
        ("NVIDIA GH200 Grace Hopper Superchip 144GB", "GH200_144GB"),
        ("H100 NVL Tensor Core GPU (PCIe) 95830 MiB", "H100_NVL"),
        ("NVL72", "GB200_NVL72"),
        ("DGXSpark", "DGX_Spark"),
    ],
)
def test_names_as_benchmarks_write_them(written, id):
    assert Hardware[written].id == id
