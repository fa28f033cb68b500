"""The column "here" of docs/decisions/0011, computed and compared with the page."""

import re
from pathlib import Path

import pytest

from mlsysim import Hardware, TrainingStepModel
from mlsysim.validation.training_cases import fleet_of

PAGE = (Path(__file__).parents[2] / "docs" / "decisions" / "0011-training.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| ")][1:]


def step(model, chips, batch, stages, chunks, micro, recompute, stack="megatron2022"):
    answer = TrainingStepModel().solve(
        model, fleet_of(Hardware["A100"], chips), batch, micro, "fp16", 8, stages, 1, 1, chunks, 0, recompute, 2048,
        stack, sequence_parallel=recompute == "selective",
    )  # fmt: skip
    return float(answer.si.step_latency_total)


def test_the_page_says_what_the_model_computes():
    table = [cells for cells in ROWS if "step" in cells[0] or cells[0].startswith("same")]
    shown = [float(number) for cells in table for number in re.findall(r"\d+\.\d+", cells[2])]
    computed = [
        step(*case, recompute)
        for case in (("Megatron_22B", 8, 4, 1, 1, 4), ("GPT3", 64, 64, 8, 3, 1), ("Megatron_530B", 280, 280, 35, 3, 1),
                     ("Megatron_1T", 512, 512, 64, 1, 1))
        for recompute in ("full", "selective")
    ]  # fmt: skip
    computed.append(step("GPT3", 1024, 1536, 8, 2, 1, "full", "megatron2021"))
    assert shown == [pytest.approx(value, rel=0.01) for value in computed]
