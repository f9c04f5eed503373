"""Circles inside packages, large folders and long functions: what is left is listed here, and may only become less."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("measure", Path(__file__).with_name("measure.py"))
assert _SPEC is not None and _SPEC.loader is not None
measure = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(measure)

FILES = measure.sources(ROOT, "src")
MAX_FOLDER, MAX_FUNCTION = 20, 80

CIRCLES = ("encoder",)
"""Packages whose modules and folders may form one circle."""

FOLDERS: set[str] = set()
FUNCTIONS = {
    "cli/verbs/mine.py: command",
    "encoder/convert.py: convert",
    "encoder/folder/read.py: load",
    "mining/mine.py: mine",
}
FUNCTIONS |= {"recipes/longlora.py: longlora"}


def circles(checking: bool = True) -> list[list[str]]:
    """Return the circles of imports, those in functions and under TYPE_CHECKING included."""
    return measure.cycles(measure.graph(FILES, ROOT / "src", checking=checking))


def test_no_circle_when_modules_are_loaded() -> None:
    assert measure.cycles(measure.graph(FILES, ROOT / "src", checking=False, deferred=False)) == []


def test_no_new_circle() -> None:
    found = [{name.removeprefix("bothways.") for name in circle} for circle in circles()]
    new = [sorted(circle) for circle in found if not any(_inside(circle, known) for known in CIRCLES)]
    assert new == []
    assert sum(len(circle) for circle in found if _inside(circle, "encoder")) <= 16


def _inside(circle: set[str], package: str) -> bool:
    return all(name.startswith(f"{package}.") for name in circle)


def test_the_search_for_circles_finds_one() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}
    assert measure.cycles(edges) == [["a", "b", "c"]]
    assert any("bothways.encoder.encoder" in circle for circle in circles()), "take encoder off the list"


def test_no_other_large_folder() -> None:
    large = {
        str(folder.relative_to(ROOT / "src/bothways"))
        for folder in {path.parent for path in FILES}
        if _count(folder) > MAX_FOLDER
    }
    assert large <= FOLDERS


def _count(folder: Path) -> int:
    return len(list(folder.glob("*.py")))


def test_no_other_long_function() -> None:
    found = {
        f"{path.relative_to(ROOT / 'src/bothways')}: {node.name}"
        for path in FILES
        for node in measure.functions(ast.parse(path.read_text(encoding="utf-8")))
        if measure.length(node) > MAX_FUNCTION
    }
    assert found <= FUNCTIONS


def test_training_uses_three_modules_of_evaluation() -> None:
    edges = measure.graph(FILES, ROOT / "src", checking=True)
    found = {target for name, targets in edges.items() if name.startswith("bothways.training") for target in targets}
    found = {target for target in found if target.startswith("bothways.evaluation")}
    assert {target.removeprefix("bothways.evaluation.") for target in found} <= {
        "devmetric",
        "measures.geometry",
        "probing.linear_probe",
    }
