"""Exercises: every one can be answered, a wrong file is told in one line, and progress is kept on the machine."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim import learn
from mlsysim.catalog import yaml_file
from mlsysim.catalog.walls import all_walls
from mlsysim.errors import CatalogError, InvalidInputError, UnitError, UnknownEntryError
from mlsysim.learn.exercises import DATA
from mlsysim.learn.texts import close

ALL = learn.exercises()
DOCS = Path(__file__).parents[2] / "docs" / "howto"


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("MLSYSIM_PROGRESS", str(tmp_path / "state" / "progress.json"))


def test_every_wall_has_an_exercise():
    assert {item.wall for item in ALL} == {wall.number for wall in all_walls()}


@pytest.mark.parametrize("item", ALL, ids=lambda item: item.name)
def test_an_exercise_can_be_answered_and_its_mistakes_are_told(item):
    item.verify()
    assert item.hint
    assert "{" not in item.question + item.hint
    right = item.ask.value()
    assert item.check(said(item, right), kept=False).correct
    for mistake in item.wrong:
        told = item.check(said(item, mistake.value()), kept=False)
        assert not told.correct
        assert told.misconception


def said(item, value):
    """A value as a person would write it, with all its digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    unit = item.ask.unit
    return f"{value!r} {unit}" if unit != "1" else value


def test_no_answer_is_typed_in():
    for path in DATA.glob("*.yaml"):
        for name, entry in yaml_file.read(path)["exercises"].items():
            assert "ask" in entry, name
            assert not {"answer", "value"} & set(entry), name


# Published: P. Patarasuk and X. Yuan (2009), ring all-reduce moves 2 (p - 1) / p of the message; 8 ranks, 16 GB, 450 GB/s.
# Narayanan et al. (2021), bubble (p - 1) / m over the useful time, so 7 / 39 of the whole. Rajbhandari et al. (2020), 16 bytes
# a parameter. Kleinrock (1975), M/M/1 sojourn S / (1 - rho). Llama 3 (2024) table 2: 8 key-value heads of 128, 32 layers.
@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        ("all-reduce-1", f"{2 * 7 / 8 * 16 / 450} s"),
        ("bubble-1", f"{100 * 7 / 39} %"),
        ("train-memory-1", f"{8.03e9 * 16} B"),
        ("tail-1", "1 s"),
        ("kv-cache-1", f"{2 * 32 * 8 * 128 * 2 * 2048} B"),
        ("queue-2", "8 day"),
        ("checkpoint-interval-1", f"{(2 * 60 * 10800) ** 0.5} s"),
        ("chinchilla-1", "5.88e23 FLOP"),
    ],
)
def test_computed_answers_are_those_of_the_literature(name, prediction):
    told = learn.exercise(name).check(prediction, kept=False)
    assert told.correct, told
    assert abs(told.error) < 0.01


@given(st.floats(1e-3, 1e3), st.floats(0.01, 1.0))
def test_a_tolerance_is_symmetric_and_scales(right, tolerance):
    assert close(right * (1 + 0.99 * tolerance), right, tolerance)
    assert close(right * (1 - 0.99 * tolerance), right, tolerance)
    assert not close(right * (1 + 1.01 * tolerance), right, tolerance)
    assert close(-right, -right, tolerance)


def test_any_unit_of_the_kind_will_do_and_another_kind_is_refused():
    task = learn.exercise("kv-cache-1")
    assert all(task.check(text, kept=False).correct for text in ("268 MB", "0.268 GB", "256 MiB", "2.147 Gb"))
    with pytest.raises(UnitError, match=r"expected a unit like GB, found ms"):
        task.check("5 ms", kept=False)
    with pytest.raises(UnitError, match=r"bare number"):
        task.check(268, kept=False)
    with pytest.raises(InvalidInputError, match=r"expected Memory or Compute, found 'both'"):
        learn.exercise("phases-1").check("both", kept=False)
    with pytest.raises(UnknownEntryError, match=r"did you mean kv-cache-"):
        learn.exercise("kv-cahe-1")


GOOD = {
    "wall": 5,
    "title": "t",
    "question": "q",
    "ask": {
        "resolver": "KVCacheModel",
        "arguments": {"model": "Llama3_8B", "hardware": "H100", "seq_len": 100},
        "field": "total_cache",
    },
    "unit": "GB",
    "why": "w",
}
FAULTS = [
    ({"wall": 23}, r"wall: expected a number from 1 to 22, found 23"),
    ({"tolerance": 0}, r"tolerance: expected a number in \(0, 1\], found 0"),
    ({"unit": "ms"}, r"unit: expected a unit like GB, found ms"),
    ({"titel": "t"}, r"unknown key 'titel'; did you mean title\?"),
    ({"question": 3}, r"question: expected a text, found 3"),
    (
        {"ask": {**GOOD["ask"], "resolver": "KVCasheModel"}},
        r"no resolver named 'KVCasheModel'; did you mean KVCacheModel",
    ),
    ({"ask": {**GOOD["ask"], "field": "totalcache"}}, r"no field 'totalcache'; did you mean total_cache"),
    ({"ask": {**GOOD["ask"], "arguments": {"modle": "x"}}}, r"takes no 'modle'; did you mean model"),
    ({"ask": {**GOOD["ask"], "arguments": {"model": "Llama3_8B"}}}, r"KVCacheModel needs hardware, seq_len"),
    (
        {"ask": {"equation": "roofline.ridgepoint"}},
        r"no equation named 'roofline.ridgepoint'; did you mean roofline.ridge_point",
    ),
    ({"ask": {}}, r"expected either resolver or equation"),
    ({"ask": [1]}, r"ask: expected a mapping with resolver or equation, found list"),
    ({"wrong": [{"because": "b"}]}, r"wrong 1: expected what differs from ask"),
    ({"wrong": [{"times": 0, "because": "b"}]}, r"wrong 1: times: expected a number other than 0, found 0"),
    ({"choices": ["a"]}, r"choices: the answer is a number"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_fault_of_a_teachers_file_is_told_in_one_line(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"exercises": {"mine": {**GOOD, **change}}}), encoding="utf-8")
    with pytest.raises(CatalogError, match=message) as caught:
        learn.read(path)
    assert str(caught.value).startswith(f"{path}: mine: ")
    assert "\n" not in str(caught.value)


def test_all_faults_of_a_file_are_told_together_and_computing_finds_the_rest(tmp_path):
    path = tmp_path / "mine.yaml"
    both = {"one": {**GOOD, "wall": 0}, "two": {**GOOD, "unit": "W"}}
    path.write_text(json.dumps({"exercises": both}), encoding="utf-8")
    with pytest.raises(CatalogError, match=r"one: wall.*two: unit"):
        learn.read(path)
    same = {**GOOD, "question": "{nothing}", "wrong": [{"times": 1.01, "because": "b"}]}
    path.write_text(json.dumps({"exercises": {"mine": same}}), encoding="utf-8")
    with pytest.raises(CatalogError, match=r"mine: no argument named 'nothing'"):
        learn.read(path)["mine"].verify()
    path.write_text(json.dumps({"exercises": {"mine": {**same, "question": "q"}}}), encoding="utf-8")
    with pytest.raises(CatalogError, match=r"wrong 1: leads to .* which is the right answer"):
        learn.read(path)["mine"].verify()


def test_a_text_reads_no_private_names(tmp_path):
    path = tmp_path / "mine.yaml"
    odd = {**GOOD, "question": "{hardware.define}"}
    path.write_text(json.dumps({"exercises": {"mine": odd}}), encoding="utf-8")
    with pytest.raises(UnknownEntryError, match="no field named 'define'"):
        _ = learn.read(path)["mine"].question
    odd["question"] = "{hardware.__class__}"  # no place at all: it stays as written
    path.write_text(json.dumps({"exercises": {"mine": odd}}), encoding="utf-8")
    assert learn.read(path)["mine"].question == "{hardware.__class__}"


def test_progress_is_kept_counted_and_exported(tmp_path):
    task = learn.exercise("kv-cache-1")
    assert learn.progress() == {}
    task.check("1 kB")
    task.check("268 MB")
    assert learn.progress() == {"kv-cache-1": {"tries": 2, "correct": True, "at_first": False}}
    assert learn.export(tmp_path / "out.csv") == 2
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["correct"] for row in rows] == ["False", "True"]
    assert rows[1]["answer"] == "268 MB"
    assert not [path for path in learn.progress_file().parent.iterdir() if path != learn.progress_file()]


def test_a_spoilt_progress_file_is_never_overwritten():
    task = learn.exercise("kv-cache-1")
    task.check("268 MB")
    learn.progress_file().write_text("[1, 2", encoding="utf-8")
    assert "not kept" in str(task.check("268 MB"))
    assert learn.progress_file().read_text(encoding="utf-8") == "[1, 2"
    with pytest.raises(InvalidInputError, match="move it away"):
        learn.attempts()


def test_the_schema_knows_the_keys_of_the_built_in_files():
    schema = learn.json_schema()["properties"]["exercises"]
    keys = schema["additionalProperties"]["properties"]
    for path in DATA.glob("*.yaml"):
        for name, entry in yaml_file.read(path)["exercises"].items():
            assert set(entry) <= set(keys)
            assert set(entry["ask"]) <= set(keys["ask"]["properties"])
            assert re.search(schema["propertyNames"]["pattern"], name)
            for mistake in entry.get("wrong", []):
                assert set(mistake) <= set(keys["wrong"]["items"]["properties"])


def run(*arguments, code=0, cwd=None):
    out = subprocess.run(
        [sys.executable, "-m", "mlsysim", "learn", *arguments], capture_output=True, text=True, timeout=120, cwd=cwd
    )
    assert out.returncode == code, (arguments, out.stdout[-500:], out.stderr[-800:])
    assert "Traceback" not in out.stderr
    return out.stdout + out.stderr


def test_the_command_lists_asks_compares_and_exports(tmp_path):
    assert "kv-cache-1" in run()
    assert "Hint: Keys and values" in run("kv-cache-1", "--hint")
    assert "all 32 query heads" in " ".join(run("kv-cache-1", "--answer", "1074 MB", code=3).split())
    told = json.loads(run("kv-cache-1", "-a", "268 MB", "--explain", "-o", "json"))
    assert told["correct"]
    assert "session_cache" in told["explain"]
    assert "right, 2 tries" in run("--wall", "5")
    assert "2 attempts" in run("--export", str(tmp_path / "out.csv"))
    assert "no exercise named" in run("kv", code=1)
    assert "expected a number with a unit, as '7 MB'" in run("kv-cache-1", "-a", "7", code=1)
    run("--answer", "7", code=2)
    assert json.loads(run("--schema"))["title"] == "exercises of mlsysim"


def test_the_file_of_the_how_to_for_teachers_works(tmp_path):
    page = (DOCS / "teach.md").read_text(encoding="utf-8")
    name, text = re.search(r'```yaml title="([^"]+)"\n(.*?)```', page, re.DOTALL).groups()
    (tmp_path / name).write_text(text, encoding="utf-8")
    for line in re.search(r"```bash\n(.*?)```", page, re.DOTALL)[1].splitlines():
        words = re.findall(r'"[^"]*"|\S+', line)[2:]
        run(*(word.strip('"') for word in words), cwd=tmp_path)
