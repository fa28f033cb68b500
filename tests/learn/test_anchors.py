"""Published numbers still come out, and the check would notice if they did not."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mlsysim.errors import CatalogError

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_anchors.py"
spec = importlib.util.spec_from_file_location("check_anchors", SCRIPT)
check = importlib.util.module_from_spec(spec)
sys.modules["check_anchors"] = check
spec.loader.exec_module(check)


@pytest.mark.parametrize("anchor", check.anchors(), ids=lambda anchor: anchor.name)
def test_an_anchor_holds_and_is_printed_where_it_says(anchor):
    assert check.faults(anchor) == []


def test_an_anchor_that_is_off_or_unprinted_is_noticed(tmp_path, capsys):
    text = check.FILE.read_text(encoding="utf-8")
    (tmp_path / "off.yaml").write_text(text.replace("value: 0.54 ms", "value: 0.60 ms"), encoding="utf-8")
    assert check.main(tmp_path / "off.yaml") == 1
    assert "OFF headline-latency" in capsys.readouterr().out
    (tmp_path / "gone.yaml").write_text(text.replace("README.md: 5.194 ms", "README.md: 5.195 ms"), encoding="utf-8")
    assert check.main(tmp_path / "gone.yaml") == 1
    assert "README.md does not print '5.195 ms'" in capsys.readouterr().out
    (tmp_path / "odd.yaml").write_text(text.replace("field: latency}", "field: latencey}"), encoding="utf-8")
    with pytest.raises(CatalogError, match="headline-latency: PerformanceProfile has no field 'latencey'"):
        check.main(tmp_path / "odd.yaml")
