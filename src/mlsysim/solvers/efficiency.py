"""How much of its peak a chip reaches on one kind of work (wall 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..catalog.models import Transformer
from ..machine.textbook import peak_in
from ..physics import roofline
from ..physics import transformer as eq
from ..record import total
from ..units import FlopPerByte, FlopPerSecond, Fraction
from ..workloads.transformer import shape
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result

WORK = ("ffn", "attention", "conv")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EfficiencyResult(Result):
    """Utilisation that published runs reached, cut down to what the roofline allows here."""

    workload_type: str
    use_flash_attention: bool
    measured_lowest: Fraction
    measured_highest: Fraction
    software_bound: Fraction
    roofline_bound: Fraction
    intensity: FlopPerByte
    peak_flops: FlopPerSecond
    conditions: str

    @total
    def mfu(self) -> Fraction:
        """Share of the dense peak that is reached."""
        return np.minimum(self.software_bound, self.roofline_bound)

    @total
    def achievable_flops(self) -> FlopPerSecond:
        """Arithmetic that is reached."""
        return self.mfu * self.peak_flops

    @total
    def overhead_breakdown(self) -> Mapping[str, Any]:
        """What the rest of the peak is lost to: with ``mfu`` these add up to one."""
        return {"software": 1 - self.software_bound, "memory_stall": self.software_bound - self.mfu}

    @property
    def bottleneck(self) -> Any:
        """``"Memory"`` where the roofline binds, ``"Software"`` where kernels and hosts do."""
        inside = self.si
        bound = np.where(np.less(inside.roofline_bound, inside.software_bound), "Memory", "Software")
        return np.broadcast_to(bound, self.shape) if self.shape else str(bound)


class EfficiencyModel(ForwardModel):
    """Wall 3: software and shapes keep a chip below its peak."""

    walls = ((3, "Software", "node"),)
    requires = ("workload", "hardware")
    produces = EfficiencyResult
    misbeliefs = {
        "the datasheet's FLOP/s are for the taking": "well-tuned training reaches 40 to 55 % of the dense peak",
        "low MFU means bad software": "decoding at batch one cannot pass a few parts in a thousand, whatever the kernel",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        workload_type: Any = "ffn",
        use_flash_attention: Any = False,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        *,
        tokens: Any = 4096,
        seq_len: Any = 2048,
    ) -> EfficiencyResult:
        """The model FLOPs utilisation to expect.

        Args:
            model: an entry of ``Models`` or its name
            hardware: a device (or a stack of them), or a name
            workload_type: ``"ffn"``, ``"attention"`` or ``"conv"``
            use_flash_attention: attention in one tiled kernel
            precision: number format
            efficiency: where in the range of published figures the software stands: 0 the lowest, 1 the highest
            tokens: tokens that pass through a matrix multiplication together; 1 for decoding at batch one
            seq_len: tokens of a sequence, for attention

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = EfficiencyModel().solve("Llama3_8B", "H100", "attention", use_flash_attention=True)
            >>> round(answer.mfu, 3), answer.bottleneck
            (0.55, 'Software')
        """
        arguments = dict(model=model, hardware=hardware, workload_type=workload_type,
                         use_flash_attention=use_flash_attention, precision=precision, efficiency=efficiency,
                         tokens=tokens, seq_len=seq_len)  # fmt: skip
        border = Border()
        network, device, number = border.model(model), border.device(hardware), border.format(precision)
        kind = border.choice("workload_type", workload_type, WORK)
        border.flag("use_flash_attention", use_flash_attention)
        place = border.fraction("efficiency", efficiency, closed=True)
        rows, length = border.count("tokens", tokens), border.count("seq_len", seq_len)
        border.close()
        arguments.update(model=network, hardware=device, workload_type=kind)
        fact = Defaults["FlashAttention" if kind == "attention" and use_flash_attention else kind]
        peak, notes = peak_in(device, number)
        value = number.si.activation_bits / 8
        intensity, told = _intensity(network, kind, bool(use_flash_attention), rows, length, number, value)
        attainable = roofline.attainable_flops(intensity, peak, device.si.memory_bandwidth)
        low, high = fact.si.lowest, fact.si.highest
        reached = low + (high - low) * place
        return EfficiencyResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(x) for x in (intensity, peak, reached, attainable))),
            notes=notes + told + (f"published runs: {low:g} to {high:g} ({fact.conditions})",),
            workload_type=kind,
            use_flash_attention=bool(use_flash_attention),
            measured_lowest=low,
            measured_highest=high,
            software_bound=reached,
            roofline_bound=attainable / peak,
            intensity=intensity,
            peak_flops=peak,
            conditions=fact.conditions,
        )


def _intensity(
    model: Any, kind: str, tiled: bool, rows: Any, length: Any, number: Any, value: Any
) -> tuple[Any, tuple[str, ...]]:
    """FLOPs for each byte of the work, from its own shapes; a chip without limits where the shapes are not known."""
    if not isinstance(model, Transformer) or kind == "conv":
        return np.inf, ("the shapes of the layers are not modelled here; no bound by the roofline",)
    m = shape(model)
    if kind == "ffn":
        wide = m.widest
        flops = eq.linear_flops(m.hidden * wide, rows)
        weights = eq.weight_size(m.hidden * wide, number.bytes_per_value())
        return roofline.arithmetic_intensity(flops, weights + rows * (m.hidden + wide) * value), ()
    dim = model.si.head_dim
    pairs = eq.attended_pairs(length)
    flops = eq.attention_flops(pairs, 1.0, 1.0, m.heads, dim, dim)
    moved = 2 * length * dim * (m.heads + m.kv_heads) * value
    if not tiled:  # scores written, read by the softmax, written and read again
        moved = moved + 4 * length * length * m.heads * value
    return roofline.arithmetic_intensity(flops, moved), ()
