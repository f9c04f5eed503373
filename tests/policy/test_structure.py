"""No circle of imports, no large folder, no long function, few functions with many parameters.

The list of exceptions may only become shorter.
"""

from __future__ import annotations

import ast
import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("measure", Path(__file__).with_name("measure.py"))
assert _SPEC is not None and _SPEC.loader is not None
measure = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(measure)

FILES = measure.sources(ROOT, "src")

MANY = {
    # public: their arguments are those of the user
    "bothways/encoder/convert.py: convert",
    "bothways/encoder/text_encoder.py: encode",
    "bothways/indexing/build.py: index",
    "bothways/mining/mine.py: mine",
    "bothways/publishing/push.py: push",
    "bothways/recipes/longlora.py: longlora",
    # a recipe's options, which the command line reads off this signature
    "bothways/recipes/simcse.py: simcse",
}
"""Functions with more than ten parameters, without the verbs of `cli`, which have one for each option."""


def test_no_circle_when_modules_are_loaded() -> None:
    assert measure.cycles(measure.graph(FILES, ROOT / "src", checking=False, deferred=False)) == []


def test_no_circle_at_all() -> None:
    """Imports in functions and under TYPE_CHECKING count."""
    assert measure.circles(ROOT) == []


def test_no_large_folder() -> None:
    assert measure.large_folders(ROOT) == {}


def test_no_long_function() -> None:
    assert measure.long_functions(ROOT) == {}


def test_no_other_function_with_many_parameters() -> None:
    found = set(measure.many_parameters(ROOT))
    assert {name for name in found if not name.startswith("bothways/cli/verbs/")} == MANY


def file_names_written_out(root: Path, names: set[str]) -> dict[str, list[str]]:
    """Return the modules of a checkout that write out one of these names, with the names."""
    found: dict[str, list[str]] = {}
    for path in measure.sources(root, "src"):
        written = {
            node.value for node in ast.walk(measure.parsed(path)) if isinstance(node, ast.Constant) and node.value in names
        }
        if written:
            found[str(path.relative_to(root / "src"))] = sorted(written)
    return found


def test_names_of_model_files_are_in_one_place() -> None:
    """`folder_loaders.py` runs in other environments, without bothways."""
    table = measure.parsed(ROOT / "src/bothways/folder_files.py")
    names = {node.value.value for node in table.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)}
    assert "modules.json" in names
    found = set(file_names_written_out(ROOT, names))
    assert found == {"bothways/folder_files.py", "bothways/exports/folders/folder_loaders.py"}


def test_training_uses_three_modules_of_evaluation() -> None:
    edges = measure.graph(FILES, ROOT / "src", checking=True)
    found = {target for name, targets in edges.items() if name.startswith("bothways.training") for target in targets}
    found = {target for target in found if target.startswith("bothways.evaluation")}
    assert {target.removeprefix("bothways.evaluation.") for target in found} <= {
        "devmetric",
        "measures.geometry",
        "probing.linear_probe",
    }


# --- each search finds what it looks for ----------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a package of two modules that do not know each other."""
    package = tmp_path / "src" / "thing"
    package.mkdir(parents=True)
    for name in ("__init__", "one", "two"):
        (package / f"{name}.py").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "back",
    [
        "from thing.one import a",
        "from thing import one",
        "import thing.one",
        "def f():\n    from thing.one import a",
        "class C:\n    def f(self):\n        import thing.one",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from thing.one import a",
        "import typing\nif typing.TYPE_CHECKING:\n    from thing.one import a",
    ],
)
def test_a_circle_is_found(checkout: Path, back: str) -> None:
    (checkout / "src/thing/one.py").write_text("from thing.two import b")
    assert measure.circles(checkout) == []
    (checkout / "src/thing/two.py").write_text(back)
    assert measure.circles(checkout) == [["thing.one", "thing.two"]]


def test_a_circle_of_three_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}
    assert measure.cycles(edges) == [["a", "b", "c"]]


def test_a_circle_at_load_time_is_found(checkout: Path) -> None:
    (checkout / "src/thing/one.py").write_text("from thing.two import b")
    for back, found in (
        ("def f():\n    from thing.one import a", []),
        ("from thing.one import a", [["thing.one", "thing.two"]]),
    ):
        (checkout / "src/thing/two.py").write_text(back)
        files = measure.sources(checkout, "src")
        assert measure.cycles(measure.graph(files, checkout / "src", checking=False, deferred=False)) == found


def test_a_large_folder_is_found(checkout: Path) -> None:
    for number in range(17):
        (checkout / f"src/thing/more_{number}.py").write_text("")
    assert measure.large_folders(checkout) == {}
    (checkout / "src/thing/last.py").write_text("")
    assert measure.large_folders(checkout) == {"thing": 21}


def test_a_long_function_is_found(checkout: Path) -> None:
    body = "\n".join(["class C:", "    async def f(self):", *["        pass"] * 79])
    (checkout / "src/thing/one.py").write_text(body)
    assert measure.long_functions(checkout) == {}
    (checkout / "src/thing/one.py").write_text(body + "\n        pass")
    assert measure.long_functions(checkout) == {"thing/one.py: f": 81}


def test_many_parameters_are_found(checkout: Path) -> None:
    names = ", ".join("abcdefghi")
    (checkout / "src/thing/one.py").write_text(f"class C:\n    def f(self, {names}, *more, j, **rest): pass")
    assert measure.many_parameters(checkout) == {}
    (checkout / "src/thing/one.py").write_text(f"class C:\n    def f(self, {names}, *more, j, k, **rest): pass")
    assert measure.many_parameters(checkout) == {"thing/one.py: f": 11}


def test_a_name_written_out_is_found(checkout: Path) -> None:
    (checkout / "src/thing/one.py").write_text('"""Reads modules.json."""\nfrom thing.two import MODULES')
    assert file_names_written_out(checkout, {"modules.json"}) == {}
    (checkout / "src/thing/one.py").write_text('def f(folder):\n    return folder / "modules.json"')
    assert file_names_written_out(checkout, {"modules.json"}) == {"thing/one.py": ["modules.json"]}


def test_no_link_is_tracked() -> None:
    """A link to an environment, once tracked, takes the place of the environment in every
    checkout.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line for line in listed.splitlines() if line.startswith("120000")] == []
