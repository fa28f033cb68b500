"""Every file of the catalog, and files that strangers might write."""

from pathlib import Path

import pytest
import yaml

from mlsysim.catalog import Formats, Hardware, Infra, Models, Systems, add_entries
from mlsysim.catalog.registry import DATA
from mlsysim.errors import CatalogError, MLSysimError, normalised

REGISTRIES = {"hardware": Hardware, "models": Models, "infra": Infra, "systems": Systems, "formats": Formats}
FILES = sorted(DATA.glob("*/**/*.yaml"))


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_file_loads_and_every_name_is_unique(kind):
    registry = REGISTRIES[kind]
    entries = registry.list()
    assert len(entries) == len(list((DATA / kind).rglob("*.yaml")))
    owner = {}
    for spec in entries:
        for name in {normalised(n, True) for n in (spec.id, *spec.aliases)}:
            assert owner.setdefault(name, spec.id) == spec.id, f"{name} names {owner[name]} and {spec.id}"
        assert registry[spec.id] is spec
        for alias in spec.aliases:
            assert registry[alias] is spec


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_value_has_a_source_a_reader_can_follow(kind):
    for spec in REGISTRIES[kind].list():
        assert spec.facts
        for key, fact in spec.facts.items():
            source = fact.source
            assert source.url or source.reason, f"{spec.id}.{key}"
            if source.kind in ("datasheet", "measured", "fitted"):
                assert source.url.startswith(("https://", "http://", "docs/")), f"{spec.id}.{key}: {source.url}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file_name_follows_the_id(path):
    document = yaml.safe_load(path.read_text())
    assert normalised(path.stem) == normalised(document["id"]) or path.parent.name == "assumptions", path.name


GOOD = """
id: Mine
name: My chip
sources:
  me: {kind: assumed, title: my guess, reason: for a test}
default_source: me
values:
  release_year: 2027
  vendor: me
  peak_fp16: 500 TFLOP/s
  memory_capacity: 64 GB
  memory_bandwidth: {value: 2, unit: TB/s, source: me, note: a note}
  dispatch_latency: 10 us
"""


def read(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text) if isinstance(text, str) else path.write_bytes(text)
    return Hardware.read(path)


def test_a_good_file_is_read(tmp_path):
    chip = read(tmp_path, GOOD)
    assert chip.memory_bandwidth.to("TB/s").magnitude == pytest.approx(2)
    assert chip.source("memory_bandwidth").reason == "for a test"
    assert chip.fact("memory_bandwidth").note == "a note"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("64 GB", "64", "memory_capacity: expected a unit like GB"),
        ("64 GB", "64 TB/s", "memory_capacity: expected a unit like GB, found TB/s"),
        ("64 GB", "-64 GB", "memory_capacity: expected a positive number"),
        ("64 GB", ".nan", "memory_capacity"),
        ("64 GB", "[64, GB]", "memory_capacity: expected a number or a text"),
        ("unit: TB/s", "unit: TB", "memory_bandwidth: expected a unit like GB/s, found TB"),
        ("unit: TB/s,", "", "memory_bandwidth: expected a unit like GB/s"),
        ("memory_capacity:", "memory_capacit:", "did you mean memory_capacity"),
        ("  memory_capacity: 64 GB\n", "", "values.memory_capacity is missing"),
        ("  peak_fp16: 500 TFLOP/s\n", "", "peak_<precision> is missing"),
        ("id: Mine", "id: not a name", "id: expected a name"),
        ("source: me,", "source: you,", "names no known source"),
        ("kind: assumed", "kind: rumour", "expected a title and a kind"),
        ("reason: for a test", "date: 2026-01-01", "needs a reason"),
        ("values:", "values:\n  vendor: x\n  vendor: y", "stands twice"),
        ("vendor: me", "vendor: &a me", "anchors and aliases are not allowed"),
        ("id: Mine", "id: Mine\nextra: 1", "unknown key 'extra'"),
    ],
)
def test_a_fault_is_told_in_one_line_with_path_and_key(tmp_path, old, new, said):
    assert old in GOOD
    with pytest.raises(CatalogError) as error:
        read(tmp_path, GOOD.replace(old, new))
    assert said in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


LAUGHS = "a: &a [x, x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]" for i in range(20)
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "- a\n- list\n",
        "just text",
        "a: [1, 2",
        "a: b: c",
        "\x00\x01\x02",
        b"\xff\xfe\x00binary\x80",
        "[" * 5000,
        "{a: " * 3000,
        LAUGHS,
        "? [x]\n: y",
        "a: 2026-99-99",
        "%YAML 9\n---\n",
        "!!python/object/apply:os.system ['id']",
    ],
    ids=range(15),
)
def test_hostile_files_get_one_clear_line(tmp_path, text):
    with pytest.raises(CatalogError) as error:
        read(tmp_path, text)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value).strip()


def test_a_folder_or_a_missing_file_is_no_entry(tmp_path):
    for path in (tmp_path, tmp_path / "nothing.yaml"):
        with pytest.raises(CatalogError):
            Hardware.read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="no YAML file"):
        Hardware.add(tmp_path / "empty")


def test_a_folder_of_entries_is_added_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "hardware" / "cloud"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(GOOD.replace("id: Mine", "id: FolderChip"))
    (folder / "b.yaml").write_text(GOOD.replace("64 GB", "64"))
    with pytest.raises(CatalogError):
        add_entries(tmp_path)
    assert "FolderChip" not in Hardware
    (folder / "b.yaml").unlink()
    try:
        assert [spec.id for spec in add_entries(tmp_path)] == ["FolderChip"]
        assert Hardware["folder-chip"].si.memory_capacity == 64e9
    finally:
        Hardware._added.clear()


def test_every_error_is_one_of_ours():
    assert issubclass(CatalogError, MLSysimError)
    assert Path(DATA).is_dir()
