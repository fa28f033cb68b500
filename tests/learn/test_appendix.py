"""The appendix of the site lists every value with its source."""

import importlib.util
from pathlib import Path

import pytest

from mlsysim.catalog import Hardware

HOOK = Path(__file__).parents[2] / "docs" / "_hooks" / "appendix.py"
spec = importlib.util.spec_from_file_location("appendix", HOOK)
appendix = importlib.util.module_from_spec(spec)
spec.loader.exec_module(appendix)


@pytest.mark.parametrize("kind", appendix.KINDS)
def test_a_page_has_a_row_for_every_value_and_a_link_for_every_page_that_was_read(kind):
    text = appendix.page(kind)
    wanted = sum(len(entry.facts) for registry in appendix.KINDS[kind][1] for entry in registry)
    assert text.count("<tr><th") == len(list(appendix.facts(kind))) + 1
    assert kind == "efficiency" or len(list(appendix.facts(kind))) == wanted
    for registry in appendix.KINDS[kind][1]:
        for entry in registry:
            assert f">{entry.id}</th>" in text
            assert all(appendix.escape(fact.source.url) in text for fact in entry.facts.values())


def test_a_value_is_written_as_its_file_has_it():
    text = appendix.page("hardware")
    fact = Hardware.H100.fact("memory_bandwidth")
    row = f"<td>memory_bandwidth</td><td>{appendix.written(fact.value)} {fact.unit}</td>"
    assert row in text.split(">H100</th>")[1].split("<th scope")[0]
    assert appendix.written(70553706496) == "70,553,706,496"
