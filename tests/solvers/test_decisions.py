"""The column "here" of decision record 1, computed: docs/decisions/0001-textbook-answers-that-change.md."""

import re
from pathlib import Path

import pytest

from mlsysim import Engine, ServingModel

PAGE = Path(__file__).parents[2] / "docs" / "decisions" / "0001-textbook-answers-that-change.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| question"))
]


def serve(model="Llama3_8B", hardware="H100", seq_len=2048, **more):
    return ServingModel().solve(model, hardware, seq_len, **more)


COMPUTED = [
    ("2,048 tokens, fp16: TTFT", lambda: serve().si.ttft * 1e3),
    ("same, ITL", lambda: serve().si.itl * 1e3),
    ("same, int8: ITL", lambda: serve(precision="int8").si.itl * 1e3),
    ("same, int4: ITL", lambda: serve(precision="int4").si.itl * 1e3),
    ("128 tokens: TTFT", lambda: serve(seq_len=128).si.ttft * 1e3),
    ("batch 2,048", lambda: serve(batch_size=2048).si.itl * 1e3),
    ("Llama-3.1-8B, H100, batch 1", lambda: Engine.solve("Llama3_8B", "H100").si.latency * 1e3),
    ("Llama-3.1-70B, H100 (does not fit)", lambda: Engine.solve("Llama3_70B", "H100").si.latency * 1e3),
    ("70B on one H100: feasible", lambda: serve("Llama3_70B").feasible),
    ("decoding on MI300X", lambda: serve("Llama3_70B", decode_hardware="MI300X").feasible),
    ("energy of the ResNet-50 headline", lambda: Engine.solve("ResNet50", "A100").si.energy * 1e3),
]


def test_every_row_is_computed():
    assert len(ROWS) == len(COMPUTED)


@pytest.mark.parametrize(("row", "computed"), list(zip(ROWS, COMPUTED, strict=False)), ids=[c[0] for c in COMPUTED])
def test_the_column_here_is_what_the_software_answers(row, computed):
    words, answer = computed
    assert words in row[0]
    value = answer()
    if isinstance(value, bool):
        assert row[2].startswith("yes" if value else "no")
        return
    told = re.match(r"([\d,.]+)", row[2])[1].replace(",", "")
    digits = len(told.partition(".")[2])
    assert round(float(value), digits) == float(told)


def test_the_headline_is_kept():
    answer = Engine.solve("ResNet50", "A100", batch_size=1, precision="fp16")
    assert (answer.bottleneck, round(answer.si.latency * 1e3, 2), round(answer.si.throughput)) == ("Memory", 0.54, 1843)
    assert any("one operation each" in note for note in answer.notes)
