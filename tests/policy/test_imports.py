"""What the architecture promises about imports and sizes, read from the source: directions, extras,
weight, registries.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "bothways"
FILES = sorted(SOURCE.rglob("*.py"))

COMMON = {
    *("config", "errors", "foreign", "atomic", "locks", "printable", "digest", "progress", "provenance", "dropout"),
    *("folder_files", "nearest", "moved", "similarity", "similarity_names"),
}
# Each layer and those below it. docs/architecture.md shows the same table.
BELOW: dict[str, set[str]] = {
    "attention": set(),
    "losses": set(),
    "data": set(),
    "pooling": {"attention"},
    "backbone": {"attention"},
    "search": {"data"},
    "mining": {"search", "data"},
    "encoder": {"pooling", "backbone", "attention"},
    "compat": {"encoder", "pooling", "backbone", "attention"},
    "exports": {"encoder", "pooling", "backbone", "attention"},
    "indexing": {"evaluation", "exports", "encoder", "search", "data"},
    "serving": {"indexing", "encoder", "search", "pooling", "backbone", "attention"},
    "evaluation": {"encoder", "search", "data", "backbone", "attention"},
    "merging": {"evaluation", "encoder", "search", "data", "pooling", "backbone", "attention"},
    "report": {"evaluation"},
    "publishing": {"exports", "evaluation", "encoder", "data", "pooling", "backbone", "attention"},
    "bulk": {"evaluation", "exports", "encoder", "data"},
    "objectives": {"losses", "encoder", "data", "pooling", "backbone", "attention"},
    "bench": {"exports", "encoder", "data", "pooling", "backbone", "attention"},
    "training": {
        *("objectives", "losses", "evaluation", "mining", "search"),
        *("encoder", "data", "pooling", "backbone", "attention"),
    },
    "recipes": {
        *("training", "objectives", "losses", "mining", "encoder", "data", "pooling", "backbone", "attention"),
    },
    "ablation": {"recipes", "training", "evaluation", "encoder", "data", "pooling", "backbone", "attention"},
}
BELOW["cli"] = set(BELOW)
WITHOUT_TRANSFORMERS = (
    "pooling/",
    "losses/",
    "attention/plan.py",
    "config.py",
    "errors.py",
    "foreign.py",
    "atomic.py",
    "progress.py",
)
# scipy and scikit-learn are not among them: sentence-transformers brings both
EXTRAS = {
    "gguf",
    "xllamacpp",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "faiss",
    "bm25s",
    "mteb",
    "tensorboard",
    "psutil",
    "ray",
    "fastapi",
    "starlette",
    "uvicorn",
    "prometheus_client",
    "lancedb",
    "qdrant_client",
    "psycopg",
    "pgvector",
}
OF_LAYER = {"serving": {"fastapi", "starlette", "uvicorn", "prometheus_client"}}
"""Extras that a layer is made of. Only the command line imports such a layer, and says what is
missing.
"""


class Import(NamedTuple):
    module: str
    line: int
    top: bool  # runs when the file is imported
    checking: bool = False  # under TYPE_CHECKING, so it never runs


@functools.cache  # parsing every file takes seconds, and each test asks for all of them
def every_import(path: Path) -> list[Import]:
    """Every import of a file, also in functions and under TYPE_CHECKING."""
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), True, False))


def imports(path: Path) -> list[Import]:
    """Every import of a file that runs."""
    return [each for each in every_import(path) if not each.checking]


def _imports(node: ast.AST, top: bool, checking: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, top, checking) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute, so that they can be read at a glance"
            assert child.module is not None
            if child.module == "bothways":
                yield from (Import(f"bothways.{alias.name}", child.lineno, top, checking) for alias in child.names)
            else:
                yield Import(child.module, child.lineno, top, checking)
        inside = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        deferred = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _imports(child, top and not deferred, checking or inside)


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def layer(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return "cli" if first == "__main__.py" else first.removesuffix(".py")  # python -m bothways


def violations(below: dict[str, set[str]]) -> list[str]:
    found = []
    for path in FILES:
        own = layer(path)
        if own == "__init__":
            continue
        allowed = {own, "__version__", *COMMON, *below.get(own, set())}
        for item in every_import(path):
            parts = item.module.split(".")
            if parts[0] == "bothways" and parts[1] not in allowed:
                found.append(f"{name(path)}:{item.line} imports {item.module}")
    return found


def layer_lines() -> str:
    """The table as docs/architecture.md shows it, highest layers first."""
    lines = []
    for layer_name in sorted(BELOW, key=lambda each: (-len(BELOW[each]), each)):
        below = ", ".join(sorted(BELOW[layer_name])) or "(no other)"
        lines += textwrap.wrap(f"{layer_name:12}{below}", 92, subsequent_indent=" " * 12)
    return textwrap.indent("\n".join(lines), "    ")


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert layer_lines() in page, f"copy these lines to docs/architecture.md:\n{layer_lines()}"
    assert ", ".join(sorted(COMMON)) in page


def test_layers_import_downwards_only() -> None:
    assert {layer(path) for path in FILES} - COMMON - {"__init__"} == set(BELOW), "a new layer needs a place in the order"
    assert violations(BELOW) == []


def test_the_check_would_notice() -> None:
    assert any("encoder/" in line and "bothways.pooling" in line for line in violations({**BELOW, "encoder": set()}))


def test_pure_layers_do_without_transformers() -> None:
    found = [
        f"{name(path)}:{item.line}"
        for path in FILES
        for item in imports(path)
        if name(path).startswith(WITHOUT_TRANSFORMERS) and item.module.split(".")[0] == "transformers"
    ]
    assert found == []


def test_extras_are_imported_where_they_are_used() -> None:
    """Never when a module is imported: the core works without them, and a missing one must be named
    with its install line.
    """
    found = [
        f"{name(path)}:{item.line} {item.module}"
        for path in FILES
        for item in imports(path)
        if item.top and item.module.split(".")[0] in EXTRAS - OF_LAYER.get(layer(path), set())
    ]
    assert found == []
    used = {
        item.module.split(".")[0]: path
        for path in FILES
        for item in imports(path)
        if item.module.split(".")[0] not in OF_LAYER.get(layer(path), set())
    }
    for extra in EXTRAS & used.keys():
        assert "MissingExtra" in used[extra].read_text(encoding="utf-8"), f"{name(used[extra])}: {extra} without MissingExtra"


def test_a_layer_of_extras_is_imported_by_the_command_line_alone() -> None:
    """When the verb runs, and after it has looked for the packages."""
    for name_of, extras in OF_LAYER.items():
        package = f"bothways.{name_of}."
        used = [(path, item) for path in FILES if layer(path) != name_of for item in imports(path)]
        used = [
            (path, item)
            for path, item in used
            if item.module.startswith(package) and item.module not in (f"{package}settings", f"{package}limits")
        ]
        assert used and {layer(path) for path, _ in used} == {"cli"}
        for path, item in used:
            text = path.read_text(encoding="utf-8")
            assert not item.top and "MissingExtra" in text, name(path)
            assert all(extra in text for extra in extras - {"starlette"}), "fastapi brings starlette"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    return done.stdout.strip()


def test_importing_costs_nothing() -> None:
    heavy = (
        "{'torch', 'transformers', 'numpy', 'peft', 'accelerate', 'datasets', 'sentence_transformers', 'pyarrow', 'pydantic', "
        "'fastapi', 'yaml', 'scipy'}"
    )
    code = (
        "import sys, time; t = time.process_time(); import bothways; seconds = time.process_time() - t\n"
        f"first = {heavy} & set(sys.modules); import bothways.cli.app; second = {heavy} & set(sys.modules)\n"
        "print(seconds < 2, first or 'light', second or 'light')"
    )
    assert run(code) == "True light light"


def test_loading_an_encoder_imports_little_besides_transformers() -> None:
    """The work of a fresh process before its first vector: imports, which are most of it."""
    code = (
        # older transformers import generation, with scikit-learn, when the first model is
        "import sys, transformers.modeling_utils, transformers.generation.utils; before = set(sys.modules)\n"
        "import bothways; bothways.load, bothways.convert\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted({'peft', 'sentence_transformers', 'datasets', 'sklearn', 'pandas', 'pyarrow', 'scipy', 'accelerate', 'typer', "
        "'rich', 'faiss', 'mteb', 'numba'} & added))"
    )
    assert run(code) == "[]"


def test_importing_everything_needs_no_extra() -> None:
    code = (
        "import sys, bothways\n"
        f"for name in {sorted(EXTRAS)!r}: sys.modules[name] = None\n"
        "for name in bothways.__all__: getattr(bothways, name)\n"
        "print('fine')"
    )
    assert run(code) == "fine"


def test_every_public_name_is_there() -> None:
    import bothways

    assert set(bothways.__all__) <= set(dir(bothways))
    for public in bothways.__all__:
        assert getattr(bothways, public) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bothways.nonsense


def test_files_stay_small() -> None:
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("src", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {file: lines for file, lines in sizes.items() if lines > 400} == {}


def test_no_host_name_of_a_registry() -> None:
    """Packages and models come through their clients, whose own settings (mirrors, proxies,
    offline) then hold.
    """
    hosts = re.compile(r"pypi\.org|pythonhosted\.org|anaconda\.org|huggingface\.co(?!/docs)|hf\.co\b")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in [*FILES, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "constraints.txt"]
        for match in hosts.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def old_paths(path: Path) -> list[str]:
    """The modules that a file imports by a path that they had before they moved."""
    from bothways.moved import MOVED

    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [f"{name} is {MOVED[name]} now" for name in names if name in MOVED]


def test_nothing_imports_by_an_old_path() -> None:
    """Old paths are for users. mypy takes an unknown module for Any, so it would not notice."""
    files = [path for folder in ("src", "benchmarks", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert {str(path.relative_to(ROOT)): found for path in files if (found := old_paths(path))} == {}


def test_an_old_path_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    for line in ("import bothways.encoder.tokenization", "from bothways.encoder import tokenization"):
        file.write_text(line)
        assert old_paths(file) == ["bothways.encoder.tokenization is bothways.encoder.texts.tokenization now"]
    file.write_text("from bothways.encoder.tokenization import Text")
    assert len(old_paths(file)) == 1
    file.write_text("from bothways.encoder.texts.tokenization import Text")
    assert old_paths(file) == []
