"""The running Python's standard library as functions and docstrings, read from its source files.

The files are parsed and never imported, so reading has no side effects. `stdlib.py` decides which
of this is for training and which is held out.
"""

from __future__ import annotations

import ast
import functools
import inspect
import logging
import re
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bothways.errors import SourceError

log = logging.getLogger("bothways")

# Third-party code, tests, and applications or vendored tools that merely ship with the library
_SKIPPED_FOLDERS = {
    "__pycache__",
    "ensurepip",
    "idlelib",
    "idle_test",
    "lib2to3",
    "test",
    "tests",
    "turtledemo",
}
_WORD = re.compile(r"[^\W\d_]{2,}")
_SUMMARY_WORDS = 4  # "Internal function." describes nothing; four words are the shortest that do
_SUMMARY_CHARACTERS = 300  # a first paragraph beyond this is an essay, not a description
_SIGNATURE = re.compile(
    r"[\w.\[\]]+\(.*?\)\s*(->|--|=|$)"
)  # the old custom of opening a docstring with the call's form


@dataclass(frozen=True)
class Function:
    """A function or method of the library. Inner functions belong to the outer one's body.

    Attributes:
        name: the qualified name, `module.Class.method`.
        summary: the first paragraph of the docstring on one line, "" if it is missing or does not
            describe the function.
        docstring: the whole docstring without indentation, "" if there is none.
        signature: the line or lines of `def`, without decorators and indentation.
        body: the lines after the docstring, indented by one level. May be "".
        trivial: the body does nothing (pass, `...`, raise NotImplementedError).
    """

    name: str
    summary: str
    docstring: str
    signature: str
    body: str
    trivial: bool

    @property
    def code(self) -> str:
        """Signature and body, without the docstring."""
        return f"{self.signature}\n{self.body}" if self.body else self.signature


@dataclass(frozen=True)
class Library:
    """Holds functions and docstrings of modules and classes, each by its qualified name."""

    functions: tuple[Function, ...]
    docstrings: dict[str, str]


@functools.lru_cache(maxsize=1)
def read_library(root: Path | None = None) -> Library:
    """Read the standard library (about 15,000 functions in three seconds), by module name and line.

    Args:
        root: its folder. If None, that of the running Python.

    Raises:
        SourceError: this Python has no source files of its library (a frozen or zipped
            distribution).
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    functions: dict[str, Function] = {}
    docstrings: dict[str, str] = {}
    for path in _modules(root):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for item in _read_module(path, module):
            if isinstance(item, Function):
                # a name that is defined twice is a setter or the other branch of a platform
                # switch, and the first definition documents it
                functions.setdefault(item.name, item)
            else:
                docstrings.setdefault(*item)
    if not functions:
        raise SourceError(
            f"{root}: no source of the standard library here; name your own texts, or use a full Python"
        )
    return Library(tuple(functions.values()), docstrings)


def _modules(root: Path) -> list[Path]:
    found = []
    for path in root.rglob("*.py"):
        folders = path.relative_to(root).parts[:-1]
        # only identifiers are packages, so not site-packages, lib-dynload, config-3.12-…
        if (
            all(name.isidentifier() and name not in _SKIPPED_FOLDERS for name in folders)
            and path.stem.isidentifier()
        ):
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _read_module(path: Path, module: str) -> Iterator[Function | tuple[str, str]]:
    try:
        with tokenize.open(path) as stream:
            text = stream.read()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # invalid escapes in old modules concern their authors, not our users
            tree = ast.parse(text)
    except (SyntaxError, ValueError, OSError) as error:
        log.warning("%s: skipped, not readable as Python (%s)", path, error)
        return
    yield from _walk(tree, module, text.split("\n"))


def _walk(node: ast.AST, name: str, lines: list[str]) -> Iterator[Function | tuple[str, str]]:
    if isinstance(node, (ast.Module, ast.ClassDef)):
        docstring = ast.get_docstring(node)
        if docstring:
            yield name, docstring.strip()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = _function(child, f"{name}.{child.name}", lines)
            if function is not None:
                yield function
        elif isinstance(child, ast.ClassDef):
            yield from _walk(child, f"{name}.{child.name}", lines)
        elif isinstance(child, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
            yield from _walk(child, name, lines)


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, lines: list[str]
) -> Function | None:
    """Return the function at `node`, or None if its parts share lines, which cannot be cut then."""
    raw = ast.get_docstring(node, clean=False)
    statements = node.body[1:] if raw is not None else node.body
    head_end = (
        node.body[0].lineno if raw is not None else _first_line(statements[0])
    )  # first line after the signature
    start = node.body[0].end_lineno if raw is not None else head_end - 1  # lines before the body
    end = node.end_lineno
    assert start is not None and end is not None  # ast.parse fills them in
    if head_end == node.lineno or (
        raw is not None and statements and _first_line(statements[0]) <= start
    ):
        return None
    docstring = inspect.cleandoc(raw).strip() if raw else ""
    margin = lines[node.lineno - 1][: node.col_offset]
    return Function(
        name=name,
        summary=summary_of(docstring),
        docstring=docstring,
        signature=_dedent(lines[node.lineno - 1 : head_end - 1], margin),
        body=_dedent(lines[start:end], margin),
        trivial=all(_does_nothing(statement) for statement in statements),
    )


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _dedent(lines: list[str], margin: str) -> str:
    # not textwrap.dedent, because a line of a continued string may begin left of the margin
    return "\n".join(line.removeprefix(margin).rstrip() for line in lines).strip("\n")


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Raise) and "NotImplemented" in ast.dump(statement)


def paragraphs(docstring: str) -> list[str]:
    """Return the paragraphs of a docstring, each on one line, without interactive examples."""
    blocks = re.split(r"\n[ \t]*\n", docstring)
    return [" ".join(block.split()) for block in blocks if block.strip() and ">>>" not in block]


def summary_of(docstring: str) -> str:
    """Return the first paragraph on one line, or "" if it describes nothing in four words."""
    first = next(iter(re.split(r"\n[ \t]*\n", docstring)), "")
    line = " ".join(first.split())
    if ">>>" in line or len(line) > _SUMMARY_CHARACTERS or _SIGNATURE.match(line):
        return ""
    return line if len(_WORD.findall(line)) >= _SUMMARY_WORDS else ""
