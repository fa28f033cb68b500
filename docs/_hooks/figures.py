"""Figures of the pages, drawn from answers as SVG that takes the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlsysim import Engine, Hardware, ReliabilityModel, ServingModel, Systems, TailLatencyModel

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 52
COLOURS = ("#5c7cfa", "#f76707", "#12b886", "#be4bdb")
"""Told apart on white and on black."""


@dataclass
class Axis:
    """One axis: its range, and whether it is logarithmic."""

    low: float
    high: float
    label: str
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Powers of ten, or about five round numbers."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**n for n in range(first, last + 1)]
        rough = (self.high - self.low) / 5
        size = 10 ** math.floor(math.log10(rough))
        step = size * min((1, 2, 5, 10), key=lambda factor: abs(factor * size - rough))
        return [float(v) for v in np.arange(math.ceil(self.low / step) * step, self.high + step / 1e6, step)]


@dataclass
class Chart:
    """Axes, lines, dots and words."""

    title: str
    x: Axis
    y: Axis
    parts: list[str] = field(default_factory=list)
    legend: list[tuple[str, str, str]] = field(default_factory=list)
    legend_at: tuple[float, float] = (0.03, 0.95)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across * self.x.share(x), HEIGHT - BOTTOM - down * self.y.share(y)

    def line(
        self, xs: Sequence[float], ys: Sequence[float], colour: str, label: str = "", dashed: bool = False
    ) -> None:
        """A line; what lies above the axis is left out."""
        points = [self.at(x, y) for x, y in zip(xs, ys, strict=True) if y <= self.y.high * 1.0001]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="6 5"' if dashed else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"{dash}/>')
        if label:
            self.legend.append((colour, label, dash))

    def dot(self, x: float, y: float, colour: str, text: str = "", above: bool = True) -> None:
        """A dot with a word."""
        across, down = self.at(x, y)
        self.parts.append(f'<circle cx="{across:.1f}" cy="{down:.1f}" r="4.5" fill="{colour}"/>')
        if text:
            shift = -9 if above else 19
            self.parts.append(f'<text x="{across:.1f}" y="{down + shift:.1f}" text-anchor="middle">{text}</text>')

    def svg(self) -> str:
        """The picture, with the title for those who cannot see it."""
        out = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{self.title}" '
               'fill="currentColor" font-size="14" style="width: 100%; display: block">']  # fmt: skip
        for value in self.x.ticks():
            across, _ = self.at(value, self.y.low)
            out.append(f'<path d="M{across:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="currentColor" opacity=".12"/>')
            out.append(f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,g}</text>')
        for value in self.y.ticks():
            _, down = self.at(self.x.low, value)
            out.append(f'<path d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}" stroke="currentColor" opacity=".12"/>')
            out.append(f'<text x="{LEFT - 7}" y="{down + 4:.1f}" text-anchor="end">{value:,g}</text>')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        out.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{self.x.label}</text>'
        )
        out.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{self.y.label}</text>')
        out += self.parts
        left = LEFT + self.legend_at[0] * (WIDTH - LEFT - RIGHT)
        top = HEIGHT - BOTTOM - self.legend_at[1] * (HEIGHT - TOP - BOTTOM)
        for index, (colour, text, dash) in enumerate(self.legend):
            down = top + 8 + 20 * index
            out.append(f'<path d="M{left:.0f} {down - 5:.0f}h24" stroke="{colour}" stroke-width="3"{dash}/>')
            out.append(f'<text x="{left + 31:.0f}" y="{down:.0f}">{text}</text>')
        return "".join([*out, "</svg>"])


def roofline() -> Chart:
    """ResNet-50 on an A100: where batches lie under the two ceilings."""
    chip = Hardware.A100.si
    peak, bandwidth = 0.5 * chip.peaks["fp16"], chip.memory_bandwidth
    chart = Chart("Attainable and achieved TFLOP/s of ResNet-50 on an A100 against arithmetic intensity",
                  Axis(10, 2000, "arithmetic intensity (FLOP/B)", log=True), Axis(1, 1000, "TFLOP/s", log=True))  # fmt: skip
    xs = np.geomspace(10, 2000, 60)
    chart.line(xs, np.minimum(peak, xs * bandwidth) / 1e12, COLOURS[0], "memory bandwidth, then half of the peak")
    chart.line([10, 2000], [2 * peak / 1e12] * 2, COLOURS[0], "peak of the datasheet", dashed=True)
    for batch in (1, 4, 16, 64, 256):
        answer = Engine.solve("ResNet50", "A100", batch_size=batch)
        chart.dot(
            answer.si.arithmetic_intensity,
            answer.si.flops / answer.si.latency / 1e12,
            COLOURS[1],
            f"{batch}",
            above=batch == 256,
        )
    chart.legend.append((COLOURS[1], "batches, launches included", ""))
    chart.legend_at = (0.4, 0.32)
    return chart


def batching() -> Chart:
    """Speed for a user against throughput of the chip."""
    chart = Chart("Tokens a second for a user against tokens a second of the chip, for growing batches",
                  Axis(0, 200, "tokens/s for a user"), Axis(0, 20_000, "tokens/s of the chip"))  # fmt: skip
    batches = np.arange(1, 300)
    for colour, cache, label in ((COLOURS[0], None, "cache in 16 bits"), (COLOURS[2], "fp8", "cache in 8 bits")):
        answer = ServingModel().solve("Llama3_8B", "H100", seq_len=2048, batch_size=batches, kv_precision=cache)
        fits = np.asarray(answer.feasible)
        chart.line(1 / answer.si.itl[fits], answer.si.tokens_per_sec[fits], colour)
        chart.legend.append((colour, label, ""))
        if cache is None:
            for batch in (16, 64, 128):
                chart.dot(
                    1 / answer.si.itl[batch - 1], answer.si.tokens_per_sec[batch - 1], colour, f"{batch}", above=False
                )
    chart.legend_at = (0.62, 0.95)
    return chart


def checkpoints() -> Chart:
    """Goodput against the interval between checkpoints."""
    chart = Chart("Goodput of 8,192 and 65,536 chips against the interval between checkpoints",
                  Axis(1, 300, "minutes between checkpoints", log=True), Axis(0, 1, "goodput"))  # fmt: skip
    minutes = np.geomspace(1.2, 300, 70)
    for colour, nodes in ((COLOURS[0], 1024), (COLOURS[1], 8192)):
        fleet = Systems.Clusters.Frontier_8K.replace(count=nodes)
        goodput = ReliabilityModel().solve(fleet, 720, checkpoint_interval_s=60 * minutes).goodput_ratio
        best = ReliabilityModel().solve(fleet, 720)
        chart.line(minutes, goodput, colour, f"{8 * nodes:,} chips")
        chart.dot(best.si.optimal_checkpoint_interval / 60, best.goodput_ratio, colour, "optimum")
    return chart


def tail() -> Chart:
    """Mean and 99th percentile against utilisation, for one server and ten."""
    chart = Chart("Latency against utilisation of one server and of ten",
                  Axis(0, 1, "utilisation"), Axis(0, 3000, "ms"))  # fmt: skip
    busy = np.linspace(0.02, 0.985, 120)
    for colour, servers in ((COLOURS[1], 1), (COLOURS[0], 10)):
        answer = TailLatencyModel().solve(busy * servers / 0.1, 100, servers)
        name = "one server" if servers == 1 else "ten servers, one queue"
        chart.line(busy, 1e3 * answer.si.p99_latency, colour, f"{name}: p99")
        chart.line(busy, 1e3 * answer.si.mean_latency, colour, f"{name}: mean", dashed=True)
    return chart


def pareto() -> Chart:
    """Every feasible way to serve on eight chips, and the front."""
    chart = Chart("Time of a token against throughput of eight chips, for four GPUs",
                  Axis(2, 200, "ms a token", log=True), Axis(10, 100_000, "tokens/s", log=True))  # fmt: skip
    for colour, name in zip(COLOURS, ("H200", "H100", "A100", "L40S"), strict=True):
        chart.legend.append((colour, name, ""))
        for precision in ("fp16", "int8", "int4"):
            batches = np.array([1, 4, 16, 64, 128, 256, 512])
            answer = ServingModel().solve(
                "Llama3_70B", name, seq_len=2048, batch_size=batches, tp_size=8, precision=precision
            )
            for time, rate, fits in zip(answer.si.itl, answer.si.tokens_per_sec, answer.feasible, strict=True):
                if fits:
                    chart.dot(1e3 * time, rate, colour)
    chart.legend_at = (0.8, 0.36)
    return chart


FIGURES: dict[str, Callable[[], Chart]] = {
    "roofline": roofline, "batching": batching, "checkpoints": checkpoints, "tail": tail, "pareto": pareto,
}  # fmt: skip


def drawn(name: str) -> str:
    """The figure with its caption."""
    make = FIGURES[name]
    return f"<figure>{make().svg()}<figcaption>{make.__doc__}</figcaption></figure>"
