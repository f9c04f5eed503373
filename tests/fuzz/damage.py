"""Ways to break a file: of its bytes, and of the values in it where it holds JSON or YAML.

`damages(path)` lists them as (name, function that breaks a copy of the file). All of them are
deterministic.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

Damage = tuple[str, Callable[[Path], None]]

ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "empty": "",
    "word": "x\u001b[2J\u202e\n",
    "list": [],
    "object": {},
    "zero": 0,
    "negative": -1,
    "huge": 10**25,
    "fraction": 0.5,
    "infinite": float("inf"),
    "nan": float("nan"),
    "nested": [[{"a": [None]}]],
    "long": "y" * 5000,
}
DEEP = 100_000


def of_bytes() -> Iterator[Damage]:
    """Damage that any file can take."""

    def written(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
        return lambda path: path.write_bytes(change(path.read_bytes())) and None  # type: ignore[func-returns-value]

    def noise(whole: bytes) -> bytes:
        source = random.Random(len(whole))
        middle = len(whole) // 2
        return whole[:middle] + source.randbytes(min(64, len(whole))) + whole[middle + 64 :]

    yield "missing", lambda path: path.unlink()
    yield "empty", written(lambda whole: b"")
    yield "half", written(lambda whole: whole[: len(whole) // 2])
    yield "a byte short", written(lambda whole: whole[:-1])
    yield "a fifth", written(lambda whole: whole[: len(whole) // 5])
    yield "noise inside", written(noise)
    yield "noise alone", written(lambda whole: random.Random(1).randbytes(300))
    yield "noise behind", written(lambda whole: whole + random.Random(2).randbytes(40))
    yield "zeros", written(lambda whole: bytes(len(whole)))
    yield "utf-16", written(lambda whole: b"\xff\xfe" + whole[:2000].decode("latin-1").encode("utf-16-le"))
    yield "controls", written(lambda whole: b"\x1b]0;t\x07\x9b2J" + whole)
    yield "brackets", written(lambda whole: b"[" * DEEP)
    yield "braces", written(lambda whole: b'{"a":' * DEEP)
    yield "many digits", written(lambda whole: b'{"a": ' + b"9" * 6000 + b"}")
    yield "folder", _folder
    yield "twice", written(lambda whole: whole + whole)
    for name, value in ODD.items():
        yield f"is {name}", written(lambda whole, value=value: json.dumps(value).encode())


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_values(path: Path) -> Iterator[Damage]:
    """Damage of each value in a file of JSON, JSON lines or YAML, two levels deep."""
    if path.suffix not in (".json", ".jsonl", ".yaml"):
        return
    for place in _places(_read(path)):
        for name, value in [*ODD.items(), ("gone", ...)]:
            yield f"{'.'.join(map(str, place))} {name}", lambda copy, place=place, value=value: _replace(copy, place, value)


def damages(path: Path) -> list[Damage]:
    """All damage that this file can take."""
    return [*of_bytes(), *of_values(path)]


def swapped(other: Path) -> Callable[[Path], None]:
    """Another file's content under this file's name."""
    return lambda path: shutil.copyfile(other, path) and None  # type: ignore[func-returns-value]


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return yaml.safe_load(text)
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def _places(value: Any, depth: int = 0) -> Iterator[tuple[str | int, ...]]:
    """Paths of the values, the first few of a long list or object alone."""
    if depth == 3:
        return
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())[:40]
    elif isinstance(value, list):
        items = list(enumerate(value))[:2]
    for key, inner in items:
        yield (key,)
        for rest in _places(inner, depth + 1):
            yield (key, *rest)


def _replace(path: Path, place: tuple[str | int, ...], value: Any) -> None:
    whole = _read(path)
    inside = whole
    for key in place[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    if path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, whole)), encoding="utf-8")
    else:
        path.write_text(json.dumps(whole), encoding="utf-8")
