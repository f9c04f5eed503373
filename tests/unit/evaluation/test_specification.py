"""What a user writes for a task: taken apart, read by type, and refused in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from bothways.errors import InputError
from bothways.evaluation.specification import Specification, arguments_of, options_of, parse_specification, read_options


@pytest.mark.parametrize(
    ("spec", "kind", "argument", "given"),
    [
        ("stdlib", "stdlib", None, {}),
        ("sts:a/b.jsonl", "sts", "a/b.jsonl", {}),
        ("sts:a:b", "sts", "a:b", {}),
        ("passkey?lengths=1,2", "passkey", None, {"lengths": "1,2"}),
        ("sts:x?aggregation=mean&split=dev", "sts", "x", {"aggregation": "mean", "split": "dev"}),
        ("retrieval:x?query_prompt=Q: is it = so? 100%25 %26&k=1", "retrieval", "x", {"query_prompt": "Q: is it = so? 100% &", "k": "1"}),
        ("retrieval:x?query_prompt=", "retrieval", "x", {"query_prompt": ""}),
    ],
)  # fmt: skip
def test_parts(spec, kind, argument, given):
    assert parse_specification(spec) == Specification(kind, argument, given)


@pytest.mark.parametrize("spec", ["sts:x?", "sts:x?mean", "sts:x?=mean", "sts:x?a=1&", "sts:x?a=1&a=2"])
def test_what_is_no_option(spec):
    with pytest.raises(InputError, match=r"is not an option; write KIND|is written twice"):
        parse_specification(spec)


def factory(
    argument: str | None,
    *,
    number: int = 0,
    real: float | None = None,
    flag: bool = False,
    word: str = "",
    choice: Literal["a", "b"] = "a",
    either: int | Literal["all"] = 8,
    several: tuple[int, ...] | None = None,
) -> None: ...


def test_values_are_read_by_annotation():
    written = {"number": "-3", "real": "0.5", "flag": "true", "word": "7", "choice": "b", "either": "all", "several": "1,10"}
    read = {"number": -3, "real": 0.5, "flag": True, "word": "7", "choice": "b", "either": "all", "several": (1, 10)}
    assert read_options("x", written, options_of(factory)) == read
    assert read_options("x", {"either": "16", "several": "5"}, options_of(factory)) == {"either": 16, "several": (5,)}


@dataclass(frozen=True)
class Group:
    colour: Literal["red", "blue"] = "red"
    size: int | None = None


def grouped(argument: str | None, *, number: int = 0, group: Group = Group()) -> None: ...


def test_a_dataclass_is_its_fields():
    read = read_options("x", {"number": "2", "size": "3"}, options_of(grouped))
    assert arguments_of(grouped, read) == {"number": 2, "group": Group(size=3)}
    assert arguments_of(grouped, {"number": 2}) == {"number": 2}
    with pytest.raises(InputError, match="colour must be"):
        read_options("x", {"colour": "green"}, options_of(grouped))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("number", "1.5", "number must be a whole number (got '1.5')"),
        ("real", "none", "real must be a number (got 'none')"),
        ("flag", "yes", "flag must be true or false (got 'yes')"),
        ("choice", "c", "choice must be one of a, b (got 'c')"),
        ("either", "some", "either must be a whole number or 'all' (got 'some')"),
        ("several", "1;2", "several must be a whole number, or several with commas between them (got '1;2')"),
        ("numbr", "1", "unknown option 'numbr'; did you mean 'number'? options here: number, real, flag"),
    ],
)
def test_wrong_values_are_named(name, value, message):
    with pytest.raises(InputError) as caught:
        read_options("kind:x", {name: value}, options_of(factory))
    assert message in str(caught.value)
    assert str(caught.value).startswith("task 'kind:x': ")
    assert "\n" not in str(caught.value)
