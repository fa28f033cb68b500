"""The measured machine: what it answers, what it admits, and what it refuses."""

import numpy as np
import pytest

from mlsysim.catalog import Hardware, efficiency
from mlsysim.errors import MissingFactError, MLSysimError
from mlsysim.machine.measured import MeasuredMachine

H100 = Hardware["H100"]


@pytest.fixture(scope="module")
def h100():
    return MeasuredMachine(H100, "vllm")


CALLS = {
    "gemm": lambda m, x: m.gemm(x, 4096, 4096),
    "fp8": lambda m, x: m.gemm(x, 4096, 4096, "fp8_block"),
    "w4a16": lambda m, x: m.gemm(x, 4096, 4096, "bf16", "int4"),
    "conv": lambda m, x: m.conv(x * 196, 256, 2304),
    "context": lambda m, x: m.context_attention(x, 512, 256, 32, 8, 128),
    "generation": lambda m, x: m.generation_attention(x, 4096, 32, 8, 128, None, "fp8"),
    "mla_context": lambda m, x: m.mla_context(x, 512, 0, 16),
    "mla_generation": lambda m, x: m.mla_generation(x, 4096, 16),
    "moe": lambda m, x: m.moe(x, 4096, 1536, 128, 8, 1, 2, "fp8"),
    "norm": lambda m, x: m.norm(x, 4096),
    "elementwise": lambda m, x: m.elementwise(x * 1e6),
    "embedding": lambda m, x: m.embedding(x, 4096),
    "depthwise": lambda m, x: m.depthwise(x * 1e6, x * 1e5),
    "scan": lambda m, x: m.scan(x * 1e6, x * 1e6),
    "all_reduce": lambda m, x: m.collective("all_reduce", x * 8192.0, 8),
    "cross": lambda m, x: m.collective("all_reduce", x * 8192.0, 16, domain="cross", nodes=2, link_bandwidth=50e9),
    "p2p": lambda m, x: m.collective("p2p", x * 8192.0, 2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_arrays_answer_what_scalars_answer(h100, call):
    batch = np.array([1.0, 7.0, 64.0, 2048.0])
    many = call(h100, batch)
    assert many.time.shape == batch.shape
    for i, one in enumerate(batch):
        alone = call(h100, float(one))
        assert isinstance(alone.time, float)
        assert alone.time == pytest.approx(many.time[i])
        assert np.broadcast_to(many.sigma, batch.shape)[i] == pytest.approx(alone.sigma)
    assert (np.diff(many.time) >= -1e-12).all()
    assert (np.asarray(many.sigma) > 0).all()
    assert (np.asarray(many.floor) <= many.time * 1.3).all()


def test_an_unmeasured_device_is_told_and_has_a_wider_interval():
    seen, twin, far = (MeasuredMachine(Hardware[name]).gemm(64, 4096, 4096) for name in ("H100", "H200", "MI300X"))
    assert seen.notes == ()
    assert "not measured" in " ".join(twin.notes)
    assert seen.sigma < twin.sigma < far.sigma


def test_a_shape_beyond_those_measured_is_told_and_has_a_wider_interval(h100):
    inside, outside = h100.gemm(32768, 4096, 4096), h100.gemm(65536, 4096, 4096)
    assert outside.sigma > inside.sigma
    assert "beyond those measured" in " ".join(outside.notes)


def test_every_device_of_the_catalog_answers():
    for device in Hardware.list():
        precision = "bf16" if {"bf16", "fp16", "tf32", "fp32"} & set(device.si.peaks) else "int8"
        timing = MeasuredMachine(device).gemm(128, 4096, 4096, precision)
        assert np.isfinite(timing.time), device.id
        assert timing.time > 0


def test_a_device_without_peak_in_any_usable_format_is_told():
    chip = Hardware["H100"].define(
        "Counter", release_year=2026, vendor="me", peak_fp64="1 TFLOP/s", memory_capacity="1 GB", memory_bandwidth="1 TB/s",
        dispatch_latency="1 us",
    )  # fmt: skip
    with pytest.raises(MissingFactError, match="Counter"):
        MeasuredMachine(chip).gemm(128, 4096, 4096)


def test_a_chip_without_a_narrow_rate_multiplies_narrow_weights_with_wide_activations():
    narrow, wide = (MeasuredMachine(Hardware["A100"]).gemm(1, 8192, 8192, precision) for precision in ("fp8", "bf16"))
    assert narrow.time < wide.time
    assert "no fp8 rate" in " ".join(narrow.notes)


def test_counting_a_kernel_twice_takes_twice_as_long(h100):
    assert h100.gemm(64, 4096, 4096, count=2).time == pytest.approx(2 * h100.gemm(64, 4096, 4096).time)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: MeasuredMachine(H100, "vlm"), "nearest: vllm"),
        (lambda: MeasuredMachine(H100, families={"context_attention": "fa9"}), "vllm_fa3/bf16/bf16"),
        (lambda: MeasuredMachine(H100, families={"gem_bf16": "vllm"}), "gemm_bf16"),
        (lambda: MeasuredMachine(Hardware.stack([H100, Hardware["A100"]])), "one device at a time"),
        (lambda: MeasuredMachine(H100).gemm(1, 1, 1, "bf61"), "did you mean bf16"),
        (lambda: MeasuredMachine(H100).generation_attention(1, 1, 1, 1, 64, None, "fp9"), "kv_precision"),
        (lambda: MeasuredMachine(H100).collective("all_reduse", 1.0, 8), "all_reduce"),
        (lambda: MeasuredMachine(H100).collective("all_reduce", 1.0, 8, domain="galaxy"), "node, rack or cross"),
        (lambda: MeasuredMachine(H100).collective("all_reduce", 1.0, 8, domain="cross", nodes=2), "link_bandwidth"),
    ],
)
def test_bad_input_gets_one_clear_line(ask, said):
    with pytest.raises(MLSysimError) as error:
        ask()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_kernel_is_a_named_choice():
    fa3 = MeasuredMachine(H100, families={"context_attention": "vllm_fa3/bf16/bf16"}).context_attention(
        4, 2048, 0, 32, 8, 128
    )
    triton = MeasuredMachine(H100, families={"context_attention": "sglang_triton/bf16/bf16"}).context_attention(
        4, 2048, 0, 32, 8, 128
    )
    assert triton.time > 1.3 * fa3.time


def test_prefill_attention_stays_below_the_best_rate_of_shah_2024_flashattention_3():
    # arXiv:2407.08608, abstract: up to 740 TFLOP/s in FP16 on an H100, 75 % of its peak.
    time = MeasuredMachine(H100, "vllm").context_attention(1, 16384, 0, 16, 16, 128).time
    rate = 4 * 16 * 128 * 16384**2 / 2 / time
    assert 0.5 * 740e12 < rate < 740e12


def test_a_large_product_stays_between_half_and_all_of_the_peak():
    for name, peak in (("A100", 312e12), ("H100", 989e12), ("B200", 2250e12)):
        rate = 2 * 8192.0**3 / MeasuredMachine(Hardware[name]).gemm(8192, 8192, 8192).time
        assert 0.5 * peak < rate < 0.95 * peak


def test_an_open_ledger_sees_the_equations_at_work(h100):
    from mlsysim.physics import recording

    class Ledger:
        names = []

        def record(self, function, args, kwargs, value):
            self.names.append(function.__name__)

    h100.gemm(96, 4096, 4096)
    with recording(Ledger()) as ledger:
        h100.gemm(96, 4096, 4096)
    assert {"wave_count", "tile_math_time", "gemm_time"} <= set(ledger.names)


def test_every_family_has_sources_and_known_kernels():
    for name, entry in efficiency.families().items():
        assert entry.fits, name
        kernels = {fit.kernel for fit in entry.fits}
        for fit in entry.fits:
            assert fit.source.url or fit.source.reason
            assert set(fit.values) <= set(efficiency.MEANING)
            assert all(0 < sigma < 2 for sigma in fit.sigma)
        for named in entry.kernels.values():
            assert set(named.values()) <= kernels
        assert any(fit.scope == "any" for fit in entry.fits), f"{name} answers for no unmeasured device"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("launch: 1.0e-6", "lunch: 1.0e-6", "unknown parameter"),
        ("launch: 1.0e-6", "launch: -1", "at least 0"),
        ("sigma: [0.1, 0.1, 0.1]", "sigma: [0.1]", "sigma"),
        ("source: me", "source: you", "names no known source"),
        ("reason: test", "date: 2026-01-01", "needs a reason"),
        ("scope: H100", "skope: H100", "expected scope"),
        ("id: gemm_bf16", "idd: gemm_bf16", "'id' is missing"),
    ],
)
def test_a_faulty_efficiency_file_is_told_in_one_line(tmp_path, old, new, said):
    good = (
        "id: gemm_bf16\nname: mine\nsources: {me: {kind: assumed, title: mine, reason: test}}\n"
        "fits:\n  - {scope: H100, kernel: any, source: me, sigma: [0.1, 0.1, 0.1], values: {launch: 1.0e-6}}\n"
    )
    assert old in good
    path = tmp_path / "mine.yaml"
    path.write_text(good)
    efficiency.read(path)
    path.write_text(good.replace(old, new))
    with pytest.raises(MLSysimError) as error:
        efficiency.read(path)
    assert said in str(error.value)
    assert "mine.yaml" in str(error.value)


def test_an_added_file_goes_before_the_catalog(tmp_path):
    before = MeasuredMachine(H100).gemm(8, 512, 512).time
    values = {**efficiency.family("gemm_bf16").fits[0].values, "launch": 1.0}
    path = tmp_path / "gemm_bf16.yaml"
    text = ", ".join(f"{key}: {value:.9f}" for key, value in values.items())
    path.write_text(
        "id: gemm_bf16\nname: mine\nsources: {me: {kind: assumed, title: mine, reason: test}}\n"
        f"fits:\n  - {{scope: H100, kernel: any, source: me, sigma: 0.1, values: {{{text}}}}}\n"
    )
    try:
        efficiency.add(path)
        assert MeasuredMachine(H100).gemm(8, 512, 512).time > 1.0
        assert MeasuredMachine(Hardware["A100"]).gemm(8, 512, 512).time < 1e-3
    finally:
        efficiency.forget()
    assert MeasuredMachine(H100).gemm(8, 512, 512).time == before


def test_products_worked_out_together_are_those_worked_out_alone():
    shapes = [(8.0, 4096.0, 4096.0, "bf16"), (4096.0, 28672.0, 4096.0, "bf16"), (40000.0, 4096.0, 14336.0, "bf16"),
              (3.0, 6144.0, 4096.0, "fp8_block"), (2048.0, 4096.0, 14336.0, "fp8_block")]  # fmt: skip
    ahead, alone = MeasuredMachine(H100, "vllm"), MeasuredMachine(H100, "vllm")
    ahead.look_ahead(shapes)
    for shape in shapes:
        one, other = ahead.gemm(*shape), alone.gemm(*shape)
        assert one.time == pytest.approx(other.time, rel=1e-12)
        assert one.sigma == pytest.approx(other.sigma, rel=1e-12)
        assert (one.floor, one.notes) == (other.floor, other.notes)  # only the shape beyond those measured says so
