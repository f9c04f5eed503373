"""Each module of some size has a test file of its name: `search/topk.py` has
`unit/search/…/test_topk.py`.

So a reader who changes a module finds its tests. Modules with tests under another name are listed
in untested_names.txt, which may only become shorter. A module without behavior of its own (tables,
plain dataclasses, protocols) needs none: the tests of its readers show whether its values are right.
And a public class or type has one meaning: its name is defined once, with the exceptions below.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE, UNIT = ROOT / "src" / "bothways", ROOT / "tests" / "unit"
LIST = Path(__file__).with_name("untested_names.txt")
SMALL = 60
"""Lines of a module that needs no test file of its own."""
DOUBLES = {
    # the same meaning, in packages that may not import each other
    "Places": "the file and row of each text that was read",
    "Say": "prints a line",
    "DType": "names of number types: in Python, and as a command-line option",
    "Encode": "maps texts to vectors",
    "Method": "the way in which a command works, a choice of its own",
    # unlike meanings, each inside one package that no other imports
    "Among": "a condition of an index, and the known pairs of mining",
    "Answers": "of a benchmark's worker, and of the server",
    "Documents": "a corpus to mine, and a served index",
    "Entry": "a round of a benchmark, and a row of an index",
    "Job": "of a Ray worker, and of the server's queue",
    "Proof": "that attention runs as planned, and that a graph gives the encoder's vectors",
    "Prompts": "texts before queries and documents, as a tuple and as stored",
    "Result": "of verifying an export, and of a request",
    "Server": "a program that serves exports, and our own",
    "Store": "an index's database, and the number type of vectors on disk",
    "Vectors": "a type of results, and the class that asks an encoder for them",
}
"""Names of several public classes or types, and their common meaning. It may only become shorter."""


VERB = "a verb of the command line, and the function behind it"
KIND = "a kind of data: converted to training rows, read from files, and scored"
METHOD = "a published method: its recipe, its objective, and its files"
FILES = {
    **dict.fromkeys(("ablate", "convert", "doctor", "encode", "evaluate", "export", "families", "merge"), VERB),
    **dict.fromkeys(("mine", "push", "serve"), VERB),
    **dict.fromkeys(("classification", "clustering", "nli", "retrieval", "stdlib", "sts"), KIND),
    **dict.fromkeys(("llara", "llm2vec", "simcse"), METHOD),
    **dict.fromkeys(("contrastive", "graded"), "a loss, and the objective that trains with it"),
    **dict.fromkeys(("densities", "geometry"), "a measure, and what runs it and shows it"),
    "app": "a program: its verbs, and its routes",
    "config": "typed configuration, and that of a pooling",
    "dropout": "the layer, and where a backbone applies it",
    "errors": "errors as callers see them: in Python, and as a client of the server",
    "language_model": "a causal language model: opened, and written",
    "metrics": "figures of a program while it runs",
    "options": "what the functions of a package can be asked for",
    "page": "an HTML page",
    "provenance": "the facts that reproduce a number",
    "samples": "sample texts",
    "settings": "what a job, an index and a server are made with",
    "signals": "signals of the operating system",
    "table": "the figures of a run as a table",
    "task": "a task of evaluation",
    "words": "the words of a text",
}
"""Names of several files, and their common meaning. It may only become shorter."""
FUNCTIONS = {
    "cores": "the number of cores, in packages that may not import each other",
    "has_index": "tells if a place has an index, for each store; `places` imports them by other names",
    "load": "opens a finished encoder; that of `exports` opens graphs as well",
}
"""Names of several functions that are imported by them, and their common meaning."""


BRITISH = re.compile(
    r"(?:labell|modell|behaviour|colour|favour|neighbour|centre)|"
    r"(?:initial|minim|normal|optim|organ|quant|recogn|serial|summar|token|vector)is(?:e|ing|ation)",
    re.IGNORECASE,
)
"""Parts of words that have another spelling in the libraries that the code uses."""


def missing(source: Path, unit: Path) -> set[str]:
    """Return the modules without a test file of their name below the folder of their package, as
    "package/module".
    """
    found = set()
    for path in source.rglob("*.py"):
        package = path.relative_to(source).parts[0] if path.parent != source else ""
        text = path.read_text(encoding="utf-8")
        if path.name.startswith("__") or len(text.splitlines()) <= SMALL:
            continue
        if not any((unit / package).rglob(f"test_{path.stem}.py")) and behaves(text):
            found.add(f"{package}/{path.stem}")
    return found


def behaves(text: str) -> bool:
    """Return whether any function of a module does something: it has more than a docstring or `...`."""
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return any(
        not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)) for node in functions for line in node.body
    )


def listed() -> set[str]:
    return set(LIST.read_text(encoding="utf-8").split())


def test_no_other_module_without_tests_of_its_name() -> None:
    assert missing(SOURCE, UNIT) <= listed(), "name a test file after the module"


def test_the_search_finds_a_module_without_tests(tmp_path: Path) -> None:
    for file, lines in (("part/large.py", SMALL + 1), ("part/small.py", SMALL), ("part/in/tested.py", 200), ("alone.py", 200)):
        (tmp_path / "src" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / file).write_text("def f(): return 1\n" * lines)
    (tmp_path / "unit/part/out").mkdir(parents=True)
    (tmp_path / "unit/part/out/test_tested.py").write_text("")
    assert missing(tmp_path / "src", tmp_path / "unit") == {"part/large", "/alone"}


def test_tables_and_protocols_need_no_tests_of_their_name() -> None:
    assert not behaves('ONE = {1: 2}\nclass A:\n    b: int = 3\n    def c(self) -> int:\n        """Return it."""\n        ...')
    assert behaves("class A:\n    def b(self) -> int:\n        return 1") and behaves("async def a(): pass")


def doubles(source: Path) -> dict[str, list[str]]:
    """Return the public classes and types (Word = ...) of several modules, with these."""
    homes: dict[str, list[str]] = {}
    for path, tree in _trees(source).items():
        for node in tree.body:
            names = [node.name] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.Assign):
                names = [each.id for each in node.targets if isinstance(each, ast.Name)]
            for name in names:
                if re.match(r"[A-Z]+[a-z]", name):
                    homes.setdefault(name, []).append(path)
    return {name: paths for name, paths in homes.items() if len(paths) > 1}


def double_files(source: Path) -> dict[str, list[str]]:
    """Return the names of several files, with these."""
    homes: dict[str, list[str]] = {}
    for path in sorted(source.rglob("*.py")):
        if not path.name.startswith("__"):
            homes.setdefault(path.stem, []).append(str(path.relative_to(source)))
    return {name: paths for name, paths in homes.items() if len(paths) > 1}


def double_functions(source: Path) -> dict[str, list[str]]:
    """Return the functions of several modules that other modules import by their name, with these.

    A function counts if a line such as `from bothways.part.module import name` is anywhere.
    """
    trees = _trees(source)
    homes: dict[str, set[str]] = {}
    for path, tree in trees.items():
        module = ".".join(Path(source.name, path).with_suffix("").parts)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(module)
    found: dict[str, set[str]] = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                if node.module in homes.get(alias.name, ()):
                    found.setdefault(alias.name, set()).add(str(node.module))
    return {name: sorted(modules) for name, modules in found.items() if len(modules) > 1}


@functools.cache
def _trees(source: Path) -> dict[str, ast.Module]:
    return {str(path.relative_to(source)): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(source.rglob("*.py"))}


@pytest.mark.parametrize(
    ("found", "allowed"),
    [(doubles, DOUBLES), (double_files, FILES), (double_functions, FUNCTIONS)],
)
def test_no_other_name_with_two_meanings(found: Callable[[Path], dict[str, list[str]]], allowed: dict[str, str]) -> None:
    known = found(SOURCE)
    others = {name: paths for name, paths in known.items() if name not in allowed}
    assert others == {}, "give one of them another name; an old module path gets a line in bothways/moved.py"
    assert set(allowed) <= set(known), "take the names that occur once out of the list"


def test_the_search_finds_a_double(tmp_path: Path) -> None:
    for file, text in (("a.py", "class Row: pass"), ("b.py", "Row = int\nONE = 1\n_Own = 2"), ("c.py", "ONE = 2\n_Own = 3")):
        (tmp_path / file).write_text(text)
    assert doubles(tmp_path) == {"Row": ["a.py", "b.py"]}


def test_the_search_finds_a_double_file(tmp_path: Path) -> None:
    for file in ("part/run.py", "other/run.py", "part/__init__.py", "other/__init__.py", "part/alone.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    assert double_files(tmp_path) == {"run": ["other/run.py", "part/run.py"]}


def test_the_search_finds_a_double_function(tmp_path: Path) -> None:
    source = tmp_path / "thing"
    source.mkdir()
    (source / "a.py").write_text("def read(): pass\ndef write(): pass\ndef _own(): pass")
    (source / "b.py").write_text("def read(): pass\nasync def write(): pass\ndef _own(): pass")
    (source / "c.py").write_text(
        "from thing import b\nfrom thing.a import read, write, _own\nfrom thing.b import _own\nb.write()"
    )
    _trees.cache_clear()
    assert double_functions(source) == {}
    (source / "d.py").write_text("def f():\n    from thing.b import read")
    _trees.cache_clear()
    assert double_functions(source) == {"read": ["thing.a", "thing.b"]}


def test_spelling_is_american() -> None:
    """`bothways/moved.py` keeps old names."""
    paths = [path for path in SOURCE.rglob("*.py") if path.name != "moved.py"]
    found = {str(path.relative_to(SOURCE)): sorted(set(BRITISH.findall(path.read_text(encoding="utf-8")))) for path in paths}
    assert {name: words for name, words in found.items() if words} == {}


def unknown_exports(path: Path) -> list[str]:
    """Return the names in a module's `__all__` that it does not define or import."""
    text = path.read_text(encoding="utf-8")
    if "__all__" not in text:  # reading all files takes seconds
        return []
    tree = ast.parse(text)
    known: set[str] = set()
    listed_names: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            known.add(node.name)
        known |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        for each in ast.walk(node):
            if isinstance(each, (ast.Import, ast.ImportFrom)):
                known |= {alias.asname or alias.name for alias in each.names}
        if isinstance(node, ast.Assign) and any(isinstance(each, ast.Name) and each.id == "__all__" for each in node.targets):
            listed_names = list(ast.literal_eval(node.value))
    return [name for name in listed_names if name not in known]


def test_every_listed_name_exists() -> None:
    """The package's own names are imported when they are asked for; `test_every_public_name_is_there` reads them."""
    files = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]
    assert {str(path.relative_to(SOURCE)): found for path in files if (found := unknown_exports(path))} == {}


def test_a_listed_name_that_is_not_there_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("from a import b as c\nclass D: pass\nE = 1\n__all__ = ['c', 'D', 'E', 'b', 'F']")
    assert unknown_exports(file) == ["b", "F"]
