"""The outputs printed in the README are what the commands print. Rewrite them with: python tests/docs/test_readme.py"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mlsysim

README = Path(__file__).parents[2] / "README.md"
BOARD = README.parent / "docs" / "accuracy" / "board.json"
TABLE = re.compile(r"(<!-- board -->\n).*(<!-- end -->)", re.DOTALL)
SHOWN = {
    ("gemm_bf16", "holdout", "all"): "bf16 matrix products, held-out devices",
    ("context_attention", "holdout", "all"): "prefill attention, held-out devices",
    ("generation_attention", "holdout", "all"): "decode attention, held-out devices",
    ("moe", "holdout", "all"): "mixture of experts, held-out devices",
    ("all_reduce", "holdout", "all"): "all-reduce, held-out devices",
    ("serving_tpot", "open", "mode=agg"): "real serving, time per output token, systems not fitted",
    ("serving_ttft", "open", "mode=agg"): "real serving, time to first token, systems not fitted",
    ("training_step_time", "validation", "all"): "training step, published runs",
    ("training_memory", "validation", "all"): "training memory, published runs",
    ("vision", "validation", "all"): "vision inference and training",
    ("energy", "validation", "all"): "energy a token or image, B200",
}
BLOCK = re.compile(r"```console\n\$ (mlsysim [^\n]*)\n(.*?)```", re.DOTALL)


def printed(command):
    run = [sys.executable, "-m", *shlex.split(command)]
    out = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in out.stderr, out.stderr[-500:]
    return out.stdout.rstrip() + "\n"


@pytest.mark.parametrize(("command", "told"), BLOCK.findall(README.read_text(encoding="utf-8")))
def test_the_readme_shows_what_the_command_prints(command, told):
    assert told.split() == printed(command).split()


def table():
    rows = {(r["family"], r["split"], r["group"]): r for r in json.loads(BOARD.read_text(encoding="utf-8"))["rows"]}
    lines = [
        "| what | rows | median | 90th percentile | 90 % interval holds | textbook median |",
        "|---|---|---|---|---|---|",
    ]
    for key, name in SHOWN.items():
        r = rows[key]
        figures = [r["median_abs_error"], r["p90_abs_error"], r["coverage90"], r["roofline_median_abs_error"]]
        lines.append("| " + " | ".join([name, f"{r['n']:,}", *(f"{100 * value:.0f}" for value in figures)]) + " |")
    return "\n".join(lines) + "\n"


def test_the_readme_shows_the_published_board():
    assert TABLE.search(README.read_text(encoding="utf-8"))[0] == f"<!-- board -->\n{table()}<!-- end -->"


def test_the_readme_counts_what_there_is():
    text = README.read_text(encoding="utf-8")
    assert f"{len(mlsysim.solvers.RESOLVERS)} resolvers" in text
    entries = sum(len(r) for r in (mlsysim.Hardware, mlsysim.Models, mlsysim.Infra, mlsysim.Systems))
    assert int(re.search(r"Over (\d+) devices, models, grids", text)[1]) <= entries


if __name__ == "__main__":
    text = TABLE.sub(lambda found: f"{found[1]}{table()}{found[2]}", README.read_text(encoding="utf-8"))
    README.write_text(BLOCK.sub(lambda m: f"```console\n$ {m[1]}\n{printed(m[1])}```", text), encoding="utf-8")
