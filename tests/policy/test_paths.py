"""Files that a text names exist: a target of the Makefile, a docstring or a page that names a moved
file fails only when somebody runs it or looks for it.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"(?<![\w/.-])(?:tests|benchmarks|examples)/[\w/.-]+\.(?:py|sh|json)\b")
OLD = {"docs/log.md"}  # tells what was so at a date
INVENTED = {"benchmarks/x.py"}


def texts() -> list[Path]:
    """Files of the project whose text may name a file."""
    folders = [ROOT / name for name in ("src", "tests", "benchmarks", "examples", "docs", ".ci")]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".md", ".sh", ".toml"}]
    pages = [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.txt"), ROOT / "Makefile", ROOT / ".ci" / "run"]
    return sorted({*found, *pages} - {ROOT / name for name in OLD})


def missing(text: str) -> set[str]:
    """The files that a text names and that do not exist."""
    return {name for name in NAMED.findall(text) if not (ROOT / name).exists()} - INVENTED


def test_a_missing_file_is_noticed() -> None:
    assert missing("\tpython tests/unit/gone.py -k one") == {"tests/unit/gone.py"}
    assert missing("tests/policy/test_paths.py, other/tests/unit/gone.py") == set()


def test_files_that_a_text_names_exist() -> None:
    found = {str(path.relative_to(ROOT)): missing(path.read_text(encoding="utf-8", errors="replace")) for path in texts()}
    assert {path: names for path, names in found.items() if names and path != "tests/policy/test_paths.py"} == {}
