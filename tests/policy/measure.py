"""Print how the code stands: sizes, functions, cycles, `Any`, long lines, and the words of its
prose.

    python tests/policy/measure.py [ROOT]

ROOT is a checkout; by default the one that holds this file. Run it before and after a change of
structure or prose.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

MARKERS = re.compile(
    r"\b(?:what|where|stands?|apart|anew|beside|brings?|whose|is no(?! longer)|for want of)\b",
    re.IGNORECASE,
)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def parsed(path: Path) -> ast.Module:
    """Parse a file, or return the tree of a file with the same text."""
    return _parsed(path.read_text(encoding="utf-8"))


@functools.cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def sources(root: Path, folder: str) -> list[Path]:
    """Return the Python files below a folder of the checkout."""
    return sorted((root / folder).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a file."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function, from `def` to its end."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def graph(files: list[Path], base: Path, *, checking: bool, deferred: bool = True) -> dict[str, set[str]]:
    """Return which module imports which, for the modules of the package in `base`.

    Args:
        files: the files of the package.
        base: the folder that holds the package, for example `src`.
        checking: count imports under TYPE_CHECKING too.
        deferred: count imports inside functions too.
    """
    names = {_name(path, base): path for path in files}
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = set()
        for node in _imports(parsed(path), checking, deferred):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif node.module:
                # `from package import module` is an import of the module
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= {each for each in inner if each in names} or {node.module}
        # the package itself holds the public names, which it imports when they are asked for
        found[name] = {target for target in targets if target in names and target not in (name, name.split(".")[0])}
    return found


def _name(path: Path, base: Path) -> str:
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(node: ast.AST, checking: bool, deferred: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING" and not checking:
            continue
        if isinstance(child, FUNCTION) and not deferred:
            continue
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        yield from _imports(child, checking, deferred)


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle (strongly connected, more
    than one), sorted.
    """
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for target in sorted(edges.get(name, ())):
            if target not in number:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], number[target])
        if low[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(edges):
        if name not in number:
            visit(name)
    return sorted(found)


def circles(root: Path) -> list[list[str]]:
    """Return the circles of imports in a checkout, those in functions and under TYPE_CHECKING
    included.
    """
    return cycles(graph(sources(root, "src"), root / "src", checking=True))


def large_folders(root: Path, most: int = 20) -> dict[str, int]:
    """Return the folders of a checkout with more than `most` Python files, with their number."""
    counts: dict[str, int] = {}
    for path in sources(root, "src"):
        folder = str(path.parent.relative_to(root / "src"))
        counts[folder] = counts.get(folder, 0) + 1
    return {folder: count for folder, count in counts.items() if count > most}


def long_functions(root: Path, most: int = 80) -> dict[str, int]:
    """Return the functions of a checkout with more than `most` lines, with their length."""
    return {
        f"{path.relative_to(root / 'src')}: {node.name}": length(node)
        for path in sources(root, "src")
        for node in functions(parsed(path))
        if length(node) > most
    }


def many_parameters(root: Path, most: int = 10) -> dict[str, int]:
    """Return the functions of a checkout with more than `most` parameters (without self), with
    their number.
    """
    found = {}
    for path in sources(root, "src"):
        for node in functions(parsed(path)):
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > most:
                found[f"{path.relative_to(root / 'src')}: {node.name}"] = count
    return found


def prose(path: Path) -> str:
    """Return the docstrings and comments of a file."""
    text = path.read_text(encoding="utf-8")
    parts = []
    for node in ast.walk(parsed(path)):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # docstrings, and strings under constants
            parts += [
                each.value.value
                for each in body
                if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) and isinstance(each.value.value, str)
            ]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            parts.append(token.string.lstrip("# "))
    return "\n".join(parts)


def bare_any(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a signature has a bare `Any` for a parameter or the result."""
    each = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    types = [parameter.annotation for parameter in each if parameter is not None] + [node.returns]
    return any(isinstance(kind, ast.Name) and kind.id == "Any" for kind in types)


def main() -> None:
    """Print the table."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    for folder in ("src", "tests", "benchmarks"):
        files = sources(root, folder)
        lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in files]
        trees = [parsed(path) for path in files]
        sizes = [length(node) for tree in trees for node in functions(tree)]
        tenth = statistics.quantiles(lines, n=10)[-1]
        print(
            f"{folder}: {len(files)} files, {sum(lines):,} lines, median {statistics.median(lines):.0f}, p90 {tenth:.0f}, "
            f"max {max(lines)}; {len(sizes)} functions, {sum(size > 60 for size in sizes)} over 60 lines, "
            f"{sum(size > 80 for size in sizes)} over 80"
        )
    files = sources(root, "src")
    print("folders over 20 files:", len(large_folders(root)))
    for title, options in (
        ("load time", {"checking": False, "deferred": False}),
        ("with deferred imports", {"checking": False}),
        ("with TYPE_CHECKING too", {"checking": True}),
    ):
        found = cycles(graph(files, root / "src", **options))
        print(f"cycles, {title}: {len(found)} (files in them: {sum(map(len, found))})")
    print("functions with more than 10 parameters:", len(many_parameters(root)))
    print(
        "signatures with a bare Any:",
        sum(bare_any(node) for path in files for node in functions(parsed(path))),
    )
    every = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    print(f"lines over 100 columns: {100 * sum(len(line) > 100 for line in every) / len(every):.1f} %")
    text = "\n".join(prose(path) for path in files)
    words = len(re.findall(r"[A-Za-z][\w'-]*", text))
    per = 10_000 / words
    print(
        f"prose: {words:,} words; marker words {per * len(MARKERS.findall(text)):.1f}, semicolons {per * text.count(';'):.1f} per 10,000"
    )


if __name__ == "__main__":
    main()
