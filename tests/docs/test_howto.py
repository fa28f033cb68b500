"""The how-tos do what they say: their files load, their commands run, their tables are complete."""

import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import typer

from mlsysim import physics
from mlsysim.catalog import Hardware, Models
from mlsysim.catalog.schema import ANSWERS
from mlsysim.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^\1```', re.MULTILINE | re.DOTALL)


def blocks(page):
    """Language, title and text of every fenced block of a page."""
    text = (DOCS / "howto" / page).read_text(encoding="utf-8")
    return [(language, title, textwrap.dedent(body)) for _, language, title, body in FENCE.findall(text)]


def commands(page):
    """Each mlsysim command of a page, and the exit code that its comment names."""
    for language, _, body in blocks(page):
        for line in body.splitlines() if language == "bash" else []:
            if line.startswith("mlsysim "):
                code = re.search(r"# exit code (\d)", line)
                yield shlex.split(line, comments=True)[1:], int(code[1]) if code else 0


CASES = [
    case
    for page in ("add-a-device.md", "add-a-model.md", "command-line.md", "plan-training.md")
    for case in commands(page)
]


@pytest.fixture
def written(tmp_path):
    """The YAML files of the how-tos, in the folder that they name."""
    for page in ("add-a-device.md", "add-a-model.md", "command-line.md"):
        for language, title, body in blocks(page):
            if language == "yaml" and title:
                path = tmp_path / title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(body, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("words", "code"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_a_command_of_the_pages_runs(written, words, code):
    run = [sys.executable, "-m", "mlsysim", *words]
    out = subprocess.run(run, capture_output=True, text=True, timeout=120, cwd=written)
    assert out.returncode == code, out.stderr[-500:]
    assert "Traceback" not in out.stdout + out.stderr


def test_the_files_of_the_pages_load(written):
    chip = Hardware.read(written / "my-catalog/hardware/cloud/chip-x.yaml")
    assert chip.si.memory_bandwidth == 2e12
    assert chip.source("price").kind == "assumed"
    model = Models.read(written / "my-catalog/models/language/tutor-7b.yaml")
    assert model.family == "language"
    assert chip.id not in Hardware
    assert model.id not in Models


def test_the_equation_of_the_page_passes_the_checks_it_names():
    source = next(body for language, title, body in blocks("add-an-equation.md") if title and title.startswith("src/"))
    names = {"__name__": "mlsysim.physics.waiting", "__package__": "mlsysim.physics"}
    exec(compile(source, "waiting.py", "exec"), names)
    equation = physics.EQUATIONS.pop()
    assert equation is names["mean_concurrency"]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in doctest.DocTestFinder().find(equation, "mean_concurrency", globs=names):
        runner.run(example)
    assert runner.summarize(verbose=False) == (0, 1)
    path = Path(__file__).parents[1] / "physics" / "test_dimensions.py"
    spec = importlib.util.spec_from_file_location("dimensions", path)
    checks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checks)
    checks.test_equation_is_dimensionally_sound(equation)
    checks.test_docstring_states_the_declared_units(equation)


PAGE = (DOCS / "howto" / "command-line.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ANSWERS)
def test_the_json_keys_of_the_page_are_those_of_the_answer(command):
    table = PAGE.split(f"### Keys of {command}")[1].split("\n#")[0]
    told = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| (.+) \|$", table, re.MULTILINE)
    wanted = []
    for key, (kind, text) in ANSWERS[command].items():
        wanted.append((key, " or ".join(kind) if isinstance(kind, list) else kind, text))
    assert told == wanted


GROUP = typer.main.get_command(app)


def generated():
    spec = importlib.util.spec_from_file_location("_commands", DOCS / "_hooks" / "commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.commands()


@pytest.mark.parametrize("command", GROUP.commands)
def test_every_command_and_option_is_told(command):
    assert f"\n## {command}\n" in PAGE
    section = f"\n{generated()}\n## ".split(f"\n## mlsysim {command}\n")[1].split("\n## ")[0]
    for parameter in GROUP.commands[command].params:
        longest = max(parameter.opts, key=len)
        if parameter.param_type_name == "option" and longest != "--help":
            assert f"`{longest}`" in section
            assert parameter.help or longest == "--output", f"{longest} of {command} has no help"
