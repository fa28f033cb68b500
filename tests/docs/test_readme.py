"""The outputs printed in the README are what the commands print. Rewrite them with: python tests/docs/test_readme.py"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"```console\n\$ (mlsysim [^\n]*)\n(.*?)```", re.DOTALL)


def printed(command):
    run = [sys.executable, "-m", *shlex.split(command)]
    out = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in out.stderr, out.stderr[-500:]
    return out.stdout.rstrip() + "\n"


@pytest.mark.parametrize(("command", "told"), BLOCK.findall(README.read_text(encoding="utf-8")))
def test_the_readme_shows_what_the_command_prints(command, told):
    assert told.split() == printed(command).split()


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda m: f"```console\n$ {m[1]}\n{printed(m[1])}```", text), encoding="utf-8")
