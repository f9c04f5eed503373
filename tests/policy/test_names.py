"""Each module of some size has a test file of its name: `search/topk.py` has
`unit/search/…/test_topk.py`.

So a reader who changes a module finds its tests. Modules with tests under another name are listed
in untested_names.txt, which may only become shorter.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE, UNIT = ROOT / "src" / "bothways", ROOT / "tests" / "unit"
LIST = Path(__file__).with_name("untested_names.txt")
SMALL = 60
"""Lines of a module that needs no test file of its own."""


def missing(source: Path, unit: Path) -> set[str]:
    """Return the modules without a test file of their name below the folder of their package, as
    "package/module".
    """
    found = set()
    for path in source.rglob("*.py"):
        package = path.relative_to(source).parts[0] if path.parent != source else ""
        if path.name.startswith("__") or len(path.read_text(encoding="utf-8").splitlines()) <= SMALL:
            continue
        if not any((unit / package).rglob(f"test_{path.stem}.py")):
            found.add(f"{package}/{path.stem}")
    return found


def listed() -> set[str]:
    return set(LIST.read_text(encoding="utf-8").split())


def test_no_other_module_without_tests_of_its_name() -> None:
    assert missing(SOURCE, UNIT) <= listed(), "name a test file after the module"


def test_the_search_finds_a_module_without_tests(tmp_path: Path) -> None:
    for file, lines in (("part/large.py", SMALL + 1), ("part/small.py", SMALL), ("part/in/tested.py", 200), ("alone.py", 200)):
        (tmp_path / "src" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / file).write_text("pass\n" * lines)
    (tmp_path / "unit/part/out").mkdir(parents=True)
    (tmp_path / "unit/part/out/test_tested.py").write_text("")
    assert missing(tmp_path / "src", tmp_path / "unit") == {"part/large", "/alone"}
