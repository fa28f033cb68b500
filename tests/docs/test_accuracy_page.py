"""What the accuracy page stores beside it is whole, and its lists are made from it."""

import importlib.util
import json
from pathlib import Path

import pytest

from mlsysim.validation import ablation

DOCS = Path(__file__).parents[2] / "docs"
ACCURACY = DOCS / "accuracy"


def stored(name):
    return json.loads((ACCURACY / f"{name}.json").read_text(encoding="utf-8"))


def listings():
    spec = importlib.util.spec_from_file_location("_accuracy_listings", DOCS / "_hooks" / "listings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_term_of_every_published_form_is_in_the_table():
    told = {}
    for row in stored("ablation"):
        told.setdefault(row["family"], set()).add(row["term"])
    assert tuple(told) == ablation.FAMILIES
    for family, terms in told.items():
        assert terms == set(ablation.TERMS[ablation.form_of(family)])


@pytest.mark.parametrize("family", ["all_reduce"])
def test_the_table_is_what_the_fits_say_today(family):
    fresh = {row.term: row for row in ablation.ablation(family)}
    for row in stored("ablation"):
        if row["family"] == family:
            assert row["n"] == fresh[row["term"]].n
            assert row["without"] == pytest.approx(fresh[row["term"]].without, abs=0.01)


def test_an_aim_is_met_only_where_both_of_its_numbers_are():
    module = listings()
    row = {"family": "a", "split": "b", "group": "all", "median_abs_error": 0.08, "p90_abs_error": 0.30}
    aims = [{"what": name, "family": "a", "split": "b", "group": "all", "before": before, "aim": aim}
            for name, before, aim in (("one", [9, 31], [5, 20]), ("two", [9, 29], [5, 20]), ("three", [9, 31], [8.5, 30]))]  # fmt: skip
    module._stored = {"board": {"rows": [row]}, "aims": aims}.__getitem__
    verdicts = [line.split(" | ")[-1].strip(" |") for line in module.aims().splitlines()[2:]]
    assert verdicts == ["better than before", "**missed**", "aim met"]


@pytest.mark.parametrize("name", ["aims", "ablation", "worst cases"])
def test_the_lists_of_the_page_have_their_rows(name):
    lines = listings().LISTS[name]().splitlines()
    assert len(lines) > 10
    assert len({line.count(" | ") for line in lines}) == 1


def test_the_pictures_of_the_page_are_there_and_small():
    for name in ("serving_tpot.png", "serving_tpot_devices.png"):
        assert f"accuracy/plots/{name}" in (DOCS / "explanation" / "accuracy.md").read_text(encoding="utf-8")
        assert 5_000 < (ACCURACY / "plots" / name).stat().st_size < 60_000
