"""Check a release: python scripts/check_release.py dist [--install]

The same version everywhere, a section in the changelog, packages that hold what they should, metadata that an index
accepts, and with ``--install`` the wheel in a fresh environment, answering as the README says.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
SDIST = {"README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
NEEDED = ("mlsysim/py.typed", "mlsysim/units.txt", "mlsysim/catalog/data/walls.yaml", "mlsysim/learn/data/node.yaml")
SMOKE = (
    (["--version"], r"mlsysim \d+\.\d+\.\d+"),
    (["eval", "ResNet50", "A100"], r"0\.54 ms"),
    (["serve", "llama-3.1-8b", "h100"], r"ITL +5\.194 ms"),
    (["zoo", "hardware", "H100"], r"3\.35 TB/s"),
    (["learn", "kv-cache-1", "--answer", "268 MB"], r"right: 268 MB"),
    (["schema", "--type", "plan"], r"json-schema\.org"),
)


def version() -> str:
    """The version that the package says it is."""
    text = (ROOT / "src" / "mlsysim" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[0]


def sources(wanted: str) -> list[str]:
    """What is wrong in the sources: versions that differ, a changelog without a section."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    told = re.findall(r"^version: (\S+)$", citation, re.MULTILINE)
    day = re.findall(r'^date-released: "(\S+)"$', citation, re.MULTILINE)
    found = [] if told == [wanted] else [f"CITATION.cff says version {told}, the package {wanted}"]
    heading = f"## [{wanted}] - {day[0] if day else '?'}"
    if heading not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        found.append(f"CHANGELOG.md has no section {heading!r}")
    return found


def packages(dist: Path, wanted: str) -> list[str]:
    """What is wrong with the wheel and the source package."""
    wheels, archives = sorted(dist.glob(f"mlsysim-{wanted}-*.whl")), sorted(dist.glob(f"mlsysim-{wanted}.tar.gz"))
    if len(wheels) != 1 or len(archives) != 1:
        return [f"{dist}: expected one wheel and one source package of {wanted}; run python -m build"]
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = wheel.namelist()
        found = [f"damaged: {wheel.testzip()}"] if wheel.testzip() else []
        head = HeaderParser().parsestr(wheel.read(f"mlsysim-{wanted}.dist-info/METADATA").decode("utf-8"))
    found += [f"the wheel lacks {name}" for name in NEEDED if name not in names]
    found += [f"the wheel should not hold {name}" for name in names if not name.startswith("mlsysim")]
    found += [f"the metadata lack {key}" for key in ("Name", "Version", "Summary", "License-Expression", "Requires-Python")
              if not head.get(key)]  # fmt: skip
    if head.get("Description-Content-Type") != "text/markdown" or "# MLSys·im" not in str(head.get_payload()):
        found.append("the metadata lack the README as Markdown")
    with tarfile.open(archives[0]) as archive:
        inside = ["/".join(name.split("/")[1:]) for name in archive.getnames()]
    found += [
        f"the source package should not hold {n}" for n in inside if n and not n.startswith("src") and n not in SDIST
    ]
    return found


def install(dist: Path, wanted: str) -> list[str]:
    """What is wrong with the wheel in a fresh environment."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", here / "venv"], check=True)
        wheel = next(dist.glob(f"mlsysim-{wanted}-*.whl")).resolve()
        pip = [here / "venv" / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
        subprocess.run(pip, check=True, cwd=here)
        for arguments, pattern in SMOKE:
            run = [here / "venv" / "bin" / "mlsysim", *arguments]
            out = subprocess.run(
                run, capture_output=True, text=True, cwd=here, env={"HOME": folder, "PATH": ""}, timeout=120
            )
            if out.returncode or not re.search(pattern, out.stdout):
                found.append(
                    f"mlsysim {' '.join(arguments)}: exit code {out.returncode}: {out.stdout[-200:]}{out.stderr[-200:]}"
                )
            else:
                print(f"ok  mlsysim {' '.join(arguments)}")
    return found


def main(arguments: list[str]) -> int:
    """Check, and say what is wrong; how many things are."""
    wanted = version()
    dist = Path(next((text for text in arguments if not text.startswith("-")), "dist"))
    found = sources(wanted) + packages(dist, wanted)
    if "--install" in arguments and not found:
        found += install(dist, wanted)
    for text in found:
        print(f"OFF {text}")
    print(f"{wanted}: {len(found) or 'nothing'} wrong")
    return len(found)


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
