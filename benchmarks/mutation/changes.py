"""Single changes of one source file: open this to add a kind of change.

A change replaces one piece of the text, so all lines above it keep their numbers. Left alone are
annotations, texts, settings of dataclasses, and arguments in `UNSEEN`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
NAMES |= {"argmin": "argmax", "argmax": "argmin", "amin": "amax", "amax": "amin"}
UNSEEN = {
    "encoding": "UTF-8 is the default wherever the tests run",
    "stacklevel": "the line that a warning names",
    "file": "the stream of a message",
    "flush": "when a message is seen",
    "device": "tests run on the CPU",
    "strict": "a guard of zip: the lengths are equal",
    "description": "a help text",
    "maxsize": "the size of a cache: memory and time",
    "verbose": "silences a warning of the tokenizer",
}
"""Keyword arguments that are never dropped or changed, and why."""

Edit = Callable[[ast.AST], None]


@dataclass(frozen=True)
class Change:
    """One change: where it is, how it reads, and the whole source with it."""

    line: int
    last_line: int
    text: str
    """`stripped source line | before -> after`."""
    source: str


def required_arguments(sources: list[str]) -> dict[str, set[str]]:
    """Names of the arguments without a default, for each function and class that the sources
    define.
    """
    found: dict[str, set[str]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                places = [*node.args.posonlyargs, *node.args.args]
                names = {place.arg for place in places[: len(places) - len(node.args.defaults)]}
                names |= {place.arg for place, value in zip(node.args.kwonlyargs, node.args.kw_defaults) if value is None}
                found.setdefault(node.name, set()).update(names)
            elif isinstance(node, ast.ClassDef):
                fields = (item for item in node.body if isinstance(item, ast.AnnAssign) and item.value is None)
                names = {field.target.id for field in fields if isinstance(field.target, ast.Name)}
                starts = (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
                for start in starts:
                    names |= {place.arg for place, value in zip(start.args.kwonlyargs, start.args.kw_defaults) if value is None}
                found.setdefault(node.name, set()).update(names)
    return found


def changes(source: str, required: dict[str, set[str]]) -> list[Change]:
    """All single changes of a source, by line."""
    tree = ast.parse(source)
    lines = source.encode().splitlines(keepends=True)
    found = []
    for node, text in _changed_nodes(tree):
        # Before Python 3.12 nodes within an f-string have no right place, so the whole f-string is
        # replaced.
        root = node if text is None else text
        number = next(index for index, other in enumerate(ast.walk(root)) if other is node)
        for edit in _edits(node, required):
            changed = copy.deepcopy(root)
            edit(list(ast.walk(changed))[number])
            found.append(_spliced(lines, root, changed))
        if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            found.append(_spliced(lines, node, ast.Pass()))
    return sorted((change for change in found if change is not None), key=lambda change: change.line)


def _spliced(lines: list[bytes], old: ast.AST, new: ast.AST) -> Change | None:
    before, after = ast.unparse(old), ast.unparse(new)
    if before == after:
        return None
    first, last = old.lineno - 1, old.end_lineno - 1  # type: ignore[attr-defined]
    start, end = old.col_offset, old.end_col_offset  # type: ignore[attr-defined]
    piece = after if isinstance(old, ast.stmt) else f"({after})"
    whole = [*lines[:first], lines[first][:start] + piece.encode() + lines[last][end:], *lines[last + 1 :]]
    said = f"{lines[first].decode().strip()} | {before} -> {after}"
    return Change(first + 1, last + 1, said, b"".join(whole).decode())


def _changed_nodes(tree: ast.AST, text: ast.JoinedStr | None = None) -> Iterator[tuple[ast.AST, ast.JoinedStr | None]]:
    """All nodes that may be changed, each with the f-string around it."""
    for name, value in ast.iter_fields(tree):
        if name in {"annotation", "returns"} or (name == "decorator_list" and isinstance(tree, ast.ClassDef)):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or _is_left_alone(node):
                continue
            yield node, text
            yield from _changed_nodes(node, text or (node if isinstance(node, ast.JoinedStr) else None))


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.keyword) and node.arg in UNSEEN


def _edits(node: ast.AST, required: dict[str, set[str]]) -> Iterator[Edit]:
    """Ways to change a node in place."""
    if isinstance(node, ast.Constant):
        yield from (_setting("value", value) for value in _other_values(node.value))
    elif isinstance(node, ast.Compare):
        yield from (_comparison(index) for index, found in enumerate(node.ops) if type(found) in COMPARISONS)
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        yield _setting("op", OPERATORS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield _setting("op", ast.UAdd())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
        yield _dropped_not
    elif isinstance(node, ast.BoolOp):
        yield _setting("op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.Call):
        yield from _calls(node, required)


def _other_values(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [other for other in dict.fromkeys((value + 1, value - 1, value * 2)) if other != value]
    return []


def _calls(node: ast.Call, required: dict[str, set[str]]) -> Iterator[Edit]:
    function = node.func
    called = function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    if called in NAMES:
        yield _renamed(NAMES[called])
    if len(node.args) == 2 and called not in NAMES and not any(isinstance(place, ast.Starred) for place in node.args):
        yield _swapped
    for index, keyword in enumerate(node.keywords):
        if keyword.arg and keyword.arg not in UNSEEN and keyword.arg not in required.get(called, set()):
            yield _dropped(index)


def _setting(name: str, value: object) -> Edit:
    return lambda node: setattr(node, name, value)


def _comparison(index: int) -> Edit:
    def edit(node: ast.AST) -> None:
        assert isinstance(node, ast.Compare)
        node.ops[index] = COMPARISONS[type(node.ops[index])]()

    return edit


def _dropped_not(node: ast.AST) -> None:
    assert isinstance(node, ast.UnaryOp)
    node.operand = ast.UnaryOp(node.op, node.operand)


def _renamed(name: str) -> Edit:
    def edit(node: ast.AST) -> None:
        assert isinstance(node, ast.Call)
        setattr(node.func, "id" if isinstance(node.func, ast.Name) else "attr", name)

    return edit


def _swapped(node: ast.AST) -> None:
    assert isinstance(node, ast.Call)
    node.args.reverse()


def _dropped(index: int) -> Edit:
    def edit(node: ast.AST) -> None:
        assert isinstance(node, ast.Call)
        del node.keywords[index]

    return edit
