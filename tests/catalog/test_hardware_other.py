"""Accelerators, processors, phones and microcontrollers against what their makers, or a measurement, print."""

import pytest

from mlsysim.catalog import Hardware

TERA, GIGA = 1e12, 1e9


def chips():
    """Every device but the data-centre and desktop cards of NVIDIA, which have tests of their own."""
    return [chip for chip in Hardware.list() if chip.vendor != "NVIDIA" or chip.family in ("edge", "cpu")]


def test_ids_that_fleets_and_fabrics_refer_to_exist():
    wanted = [
        "Gaudi2",
        "Gaudi3",
        "MI250X",
        "MI300X",
        "MI325X",
        "MI355X",
        "TPUv4",
        "TPUv5e",
        "TPUv5p",
        "TPUv6",
        "TPUv7",
        "Trainium1",
        "Trainium2",
    ]
    assert [name for name in wanted if name not in Hardware] == []


# -- AMD ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "per_clock", "printed"),
    [
        ("fp64", 256, 163.4),
        ("fp32", 256, 163.4),
        ("tf32", 1024, 653.7),
        ("fp16", 2048, 1307.4),
        ("bf16", 2048, 1307.4),
        ("fp8", 4096, 2614.9),
        ("int8", 4096, 2614.9),
    ],
)
def test_mi300x_peaks_match_the_table_of_the_rocm_documentation(precision, per_clock, printed):
    chip = Hardware.MI300X.si
    assert chip.peaks[precision] == pytest.approx(printed * TERA, rel=1e-4)
    assert chip.cores * chip.clock * per_clock == pytest.approx(printed * TERA, rel=1e-3)


@pytest.mark.parametrize(("name", "units"), [("MI210", 104), ("MI250X", 220), ("MI250X_GCD", 110)])
@pytest.mark.parametrize(
    ("precision", "printed"), [("fp64", 90.5), ("fp32", 90.5), ("fp16", 362.1), ("bf16", 362.1), ("int8", 362.1)]
)
def test_cdna2_peaks_scale_from_the_mi250_table_of_the_rocm_documentation(name, units, precision, printed):
    # The MI250 of the table has 208 compute units at the same 1.7 GHz.
    assert Hardware[name].si.peaks[precision] == pytest.approx(printed * TERA * units / 208, rel=2e-3)


@pytest.mark.parametrize(("name", "vram"), [("MI325X", 256), ("MI350X", 288), ("MI355X", 288)])
def test_instinct_memory_matches_the_vram_column_of_the_rocm_specifications(name, vram):
    assert Hardware[name].si.memory_capacity == vram * 2**30


def test_mi355x_fp8_matches_the_five_petaflops_told_to_isscc_2026():
    chip = Hardware.MI355X.si
    assert chip.cores * chip.clock * 8192 == pytest.approx(chip.peaks["fp8"], rel=1e-3)
    assert chip.peaks["fp8"] == pytest.approx(5e15, rel=0.01)
    assert chip.peaks["fp8"] == pytest.approx(1.9 * Hardware.MI300X.si.peaks["fp8"], rel=0.02)


# -- Google ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "precision", "chips_in_pod", "pod"),
    [
        ("TPUv3", "bf16", 1024, 126e15),
        ("TPUv4", "bf16", 4096, 1.1e18),
        ("TPUv5e", "bf16", 256, 50.63e15),
        ("TPUv5e", "int8", 256, 100e15),
        ("TPUv6", "bf16", 256, 234.9e15),
    ],
)
def test_tpu_peak_times_chips_is_the_pod_peak_of_google_cloud(name, precision, chips_in_pod, pod):
    chip = Hardware[name].si
    assert chip.link_domain == chips_in_pod
    assert chip.peaks[precision] * chips_in_pod == pytest.approx(pod, rel=0.03)


@pytest.mark.parametrize(
    ("name", "pod"), [("TPUv3", 340e12), ("TPUv4", 1.1e15), ("TPUv5e", 51.2e12), ("TPUv6", 102.4e12)]
)
def test_tpu_links_are_one_direction_as_the_all_reduce_bandwidth_of_a_pod_shows(name, pod):
    chip = Hardware[name].si
    assert chip.link_bandwidth * chip.link_domain == pytest.approx(pod, rel=0.02)


def test_ironwood_and_its_neighbours_match_the_comparison_of_google_cloud():
    new, trillium, old = Hardware.TPUv7.si, Hardware.Trillium.si, Hardware.TPUv5p.si
    assert [c.peaks["bf16"] / TERA for c in (old, trillium, new)] == [459, 918, 2307]
    assert new.peaks["fp8"] == 4614 * TERA
    assert new.memory_capacity == 192 * 2**30
    assert old.memory_capacity == 95 * 2**30
    assert [c.memory_bandwidth / GIGA for c in (old, trillium, new)] == [2765, 1638, 7380]


# -- AWS, Intel, Cerebras, Groq ----------------------------------------------------------------------------------------


def test_trainium2_over_trainium_matches_the_factors_of_the_neuron_documentation():
    old, new = Hardware.Trainium1.si, Hardware.Trainium2.si
    assert new.peaks["bf16"] / old.peaks["bf16"] == pytest.approx(3.4, abs=0.15)
    assert new.peaks["fp8"] / old.peaks["fp8"] == pytest.approx(6.7, abs=0.15)
    assert new.peaks["fp32"] / old.peaks["fp32"] == pytest.approx(3.7, abs=0.15)
    assert new.link_bandwidth / old.link_bandwidth == pytest.approx(3.3, abs=0.05)
    assert new.sram_capacity / old.sram_capacity == pytest.approx(4.7, abs=0.05)
    assert new.memory_capacity == 96 * 2**30


def test_sparse_rates_of_trainium_stay_out_of_the_catalog():
    # The sheets print 2563 (Trainium2) and 2517 TFLOPS (Trainium3) for sparse bf16.
    assert Hardware.Trainium2.si.peaks["bf16"] == 667 * TERA
    assert Hardware.Trainium3.si.peaks["bf16"] == 671 * TERA


def test_gaudi3_runs_fp8_no_faster_than_bf16_as_intel_prints():
    assert Hardware.Gaudi3.si.peaks["fp8"] == Hardware.Gaudi3.si.peaks["bf16"] == 1835 * TERA
    assert Hardware.Gaudi2.si.peaks["bf16"] == 432 * TERA


def test_gaudi2_scale_up_matches_bekman():
    assert Hardware.Gaudi2.si.link_bandwidth == 21 * 100e9 / 8  # 21 of 24 ports of 100 Gbit/s


def test_cerebras_io_is_in_bits_as_the_argonne_tutorial_prints():
    assert Hardware.Cerebras_CS3.si.host_bandwidth == 1.2e12 / 8
    assert Hardware.Cerebras_CS3.si.memory_bandwidth == 21e15


@pytest.mark.parametrize(("sku", "int8", "fp16", "sram"), [("Standard", 325, 110, 126), ("Pro", 375, 125, 144)])
def test_cloud_ai_100_cards_match_the_table_of_the_qualcomm_sdk(sku, int8, fp16, sram):
    chip, ultra = Hardware[f"AI100_{sku}"].si, Hardware.AI100_Ultra.si
    assert (chip.peaks["int8"], chip.peaks["fp16"]) == (int8 * TERA, fp16 * TERA)
    assert chip.sram_capacity == sram * 1e6
    assert ultra.memory_bandwidth == 4 * chip.memory_bandwidth  # four such chips on the Ultra


def test_groq_matches_techpowerup():
    chip = Hardware.GroqChip.si
    assert (chip.peaks["int8"], chip.peaks["fp16"]) == (750 * TERA, 188 * TERA)
    assert (chip.memory_capacity, chip.memory_bandwidth) == (230e6, 80e12)


# -- Apple -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "printed", "cores"),
    [("M3_Max", 14.32, 40), ("M3_Pro", 6.44, 18), ("M1_Max", 7.96, 24), ("M4_Max", 13.74, 32)],
)
def test_apple_gpu_peak_a_core_matches_hmc_tech(name, printed, cores):
    chip = Hardware[name].si
    assert chip.peaks["fp32"] / chip.cores == pytest.approx(printed * TERA / cores, rel=2e-3)


@pytest.mark.parametrize(("name", "printed"), [("M1", 68.2), ("M2", 102.4), ("M1_Pro", 204.8), ("M1_Max", 409.6)])
def test_apple_bandwidth_matches_the_limits_told_in_llama_cpp_1642(name, printed):
    assert Hardware[name].si.memory_bandwidth == pytest.approx(printed * GIGA)


@pytest.mark.parametrize("generation", ["M1", "M2", "M3"])
def test_an_apple_ultra_is_two_max(generation):
    small, large = Hardware[f"{generation}_Max"].si, Hardware[f"{generation}_Ultra"].si
    assert large.cores == 2 * small.cores
    assert large.peaks["fp16"] == pytest.approx(2 * small.peaks["fp16"], rel=1e-3)
    assert large.memory_bandwidth == 2 * small.memory_bandwidth


# -- Jetson ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sparse"),
    [
        ("JetsonAGXOrin_64GB", 275),
        ("JetsonAGXOrin_32GB", 200),
        ("JetsonOrinNX", 100),
        ("JetsonOrinNX_8GB", 70),
        ("JetsonOrinNano_8GB", 40),
        ("JetsonOrinNano_Super", 67),
    ],
)
def test_orin_int8_is_half_of_the_sparse_tops_that_nvidia_prints(name, sparse):
    assert Hardware[name].si.peaks["int8"] == sparse / 2 * TERA


def test_agx_orin_gpu_matches_the_171_sparse_tops_of_the_dla_documentation():
    chip = Hardware.JetsonAGXOrin_64GB.si
    assert 4 * chip.peaks["fp16"] == pytest.approx(171 * TERA, rel=0.01)  # int8 doubles fp16, sparsity doubles again
    assert chip.peaks["int8"] == pytest.approx((171 + 105) / 2 * TERA, rel=0.01)


def test_agx_orin_fp32_matches_the_technical_brief():
    assert Hardware.JetsonAGXOrin_64GB.si.peaks["fp32"] == pytest.approx(5.3 * TERA, rel=0.01)


def test_thor_fp4_is_half_of_the_sparse_2070_tflops():
    assert Hardware.JetsonThor.si.peaks["fp4"] == 2070 / 2 * TERA


@pytest.mark.parametrize("name", ["JetsonAGXXavier", "JetsonXavierNX", "JetsonNano", "JetsonTX2"])
def test_jetsons_without_fp16_beyond_twice_fp32_or_tensor_cores_keep_the_ratio_of_their_cores(name):
    chip = Hardware[name].si
    ratio = chip.peaks["fp16"] / chip.peaks["fp32"]
    assert ratio == pytest.approx(8 if "Xavier" in name else 2, rel=0.01)  # tensor cores of Volta; paired fp16 before


# -- edge and tiny -----------------------------------------------------------------------------------------------------


def test_coral_does_two_tops_a_watt_as_its_datasheet_prints():
    chip = Hardware.Coral.si
    assert chip.peaks["int8"] == 4 * TERA
    assert chip.peaks["int8"] / chip.tdp == 2 * TERA


@pytest.mark.parametrize(
    ("name", "clock", "flash", "sram"),
    [
        ("nRF52840", 64e6, 1e6, 256),  # Zephyr documentation
        ("NUCLEO_L4R5ZI", 120e6, 2e6, 640),  # RIOT documentation
        ("STM32H743", 480e6, 2e6, 1024),  # TinyML benchmark on seven boards
        ("RP2040", 133e6, 16e6, 264),  # the same
    ],
)
def test_microcontrollers_match_the_board_pages_of_zephyr_riot_and_a_tinyml_benchmark(name, clock, flash, sram):
    chip = Hardware[name].si
    assert chip.clock == pytest.approx(clock)
    assert chip.flash_capacity == pytest.approx(flash)
    assert chip.sram_capacity == sram * 1024


def test_gap9_operations_per_watt_match_electronic_design():
    chip = Hardware.GAP9.si
    assert chip.peaks["int8"] / chip.tdp == pytest.approx(50e9 / 50e-3)


def test_esp32_s3_on_chip_memory_is_faster_than_its_flash():
    chip = Hardware.ESP32.si
    assert chip.sram_bandwidth / chip.flash_bandwidth == pytest.approx(12)  # 4 bytes at 240 MHz, 1 byte at 80 MHz
    assert chip.sram_bandwidth == pytest.approx(4 * chip.clock)


# -- the whole list ----------------------------------------------------------------------------------------------------


def test_a_narrower_format_is_never_slower():
    order = ["fp64", "fp32", "fp16", "int8"]
    for chip in chips():
        peaks = [chip.si.peaks[name] for name in order if name in chip.si.peaks]
        assert peaks == sorted(peaks), chip.id


def test_on_chip_memory_is_faster_than_main_memory():
    for chip in chips():
        inside = chip.si
        if inside.sram_bandwidth is not None:
            assert inside.sram_bandwidth > inside.memory_bandwidth, chip.id


def test_every_part_below_a_server_states_its_power():
    assert [chip.id for chip in chips() if chip.family != "cloud" and chip.si.tdp is None] == []


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        ("AMD Instinct MI300X-NPS1-SPX-192GB-750W", "MI300X"),
        ("AMD Instinct MI325X 256GB HBM3E DLC 256GB", "MI325X"),
        ("MI250X one GCD 64GB", "MI250X_GCD"),
        ("RX 7900 XTX 24GB", "RX7900XTX"),
        ("TPU v6e Trillium (v6e-8)", "TPUv6"),
        ("TPU-v5p 95GB", "TPUv5p"),
        ("TPU v3 (v3-256 = 128 chips)", "TPUv3"),
        ("M2ultra 192GB", "M2_Ultra"),
        ("Apple M3 Pro 36GB (18-core GPU)", "M3_Pro"),
        ("CPU: INTEL(R) XEON(R) PLATINUM 8592+", "Xeon8592"),
        ("CPU: Intel(R) Xeon(R) Platinum 8592+", "Xeon8592"),
        ("CPU: INTEL(R) XEON(R) 6980P", "Xeon6980P"),
        ("CPU Intel i9-10940X (14c AVX512)", "Core_i9_10940X"),
        ("NVIDIA Jetson AGX Orin 64G", "JetsonAGXOrin_64GB"),
        ("QUALCOMM Cloud AI 100 PCIe/HHHL Pro", "AI100_Pro"),
    ],
)
def test_names_in_public_measurements_find_their_part(measured, name):
    assert Hardware[measured].id == name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("MacBookM3Max", "M3_Max"),
        ("iPhone", "iPhone15Pro"),
        ("Generic_Phone", "iPhone15Pro"),
        ("Snapdragon", "Snapdragon8Gen3"),
        ("Jetson", "JetsonOrinNX"),
        ("ESP32", "ESP32_S3"),
        ("Himax", "HimaxWE1"),
        ("CerebrasCS3", "Cerebras_CS3"),
    ],
)
def test_short_names_of_the_textbook_find_their_part(alias, name):
    assert Hardware[alias].id == name
