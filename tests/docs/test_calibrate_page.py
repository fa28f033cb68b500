"""The page on calibration: its files are read and its commands run, in the order of the page."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "calibrate.md"
FENCE = re.compile(r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^\1```', re.MULTILINE | re.DOTALL)


def test_the_files_and_commands_of_the_page_work_in_order(tmp_path):
    ran = []
    for _, language, title, body in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if title:
            (tmp_path / title).write_text(textwrap.dedent(body), encoding="utf-8")
        for line in textwrap.dedent(body).splitlines() if language == "bash" else ():
            run = [sys.executable, "-m", *shlex.split(line)]
            out = subprocess.run(run, capture_output=True, text=True, timeout=120, cwd=tmp_path)
            assert out.returncode == 0, f"{line}: {out.stderr[-500:]}"
            ran.append(out.stdout)
    kernels, served, collective = ran
    assert "6 points of gemm.csv" in kernels
    assert "3 points of nccl.txt" in collective
    assert "gemm_bf16: MI300X was not measured" not in served
    assert {path.name for path in (tmp_path / "my-catalog" / "efficiency").iterdir()} == {
        "gemm_bf16.yaml",
        "all_reduce.yaml",
    }
