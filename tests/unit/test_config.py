"""Typed configuration: a wrong key or value names its dotted path, and nothing is coerced in
silence.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field, field_validator

from bothways.config import Strict, parse
from bothways.errors import InputError


class Inner(Strict):
    rate: float = Field(default=0.1, ge=0, le=1)
    mode: Literal["a", "b"] = "a"


class Outer(Strict):
    steps: int = 3
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default_factory=dict)
    maybe: Inner | None = None
    some: tuple[int, ...] | None = Field(default=None, min_length=2)

    @field_validator("steps")
    @classmethod
    def _even(cls, value: int) -> int:
        if value == 13:
            raise ValueError("must not be 13")
        return value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "recipe.yaml: unknown key 'stepz'; did you mean 'steps'?"),
        ({"inner": {"rat": 1}}, "recipe.yaml: unknown key 'inner.rat'; did you mean 'rate'?"),
        ({"many": [{}, {"mod": "a"}]}, "recipe.yaml: unknown key 'many.1.mod'; did you mean 'mode'?"),
        # a key that belongs to another place is named with its path
        ({"rate": 1}, "recipe.yaml: unknown key 'rate'; did you mean 'inner.rate'?"),
        ({"many": [{}, {"steps": 1}]}, "recipe.yaml: unknown key 'many.1.steps'; did you mean 'steps'?"),
        ({"xyzzy": 1}, "recipe.yaml: unknown key 'xyzzy'"),
        ({"inner": {"rate": 2}}, "recipe.yaml: inner.rate: Input should be less than or equal to 1 (got 2)"),
        ({"inner": {"mode": "c"}}, "recipe.yaml: inner.mode: Input should be 'a' or 'b' (got 'c')"),
        (
            {"steps": "three"},
            "recipe.yaml: steps: Input should be a valid integer, unable to parse string as an integer (got 'three')",
        ),
        ({"steps": 1.5}, "recipe.yaml: steps: Input should be a valid integer, got a number with a fractional part (got 1.5)"),
        ({"steps": 13}, "recipe.yaml: steps: must not be 13 (got 13)"),
        ({"some": []}, "recipe.yaml: some: the list is empty"),
        ({"some": [1]}, "recipe.yaml: some: the list has 1 of 2 items"),
        ({"steps": None}, "recipe.yaml: steps: Input should be a valid integer (got None)"),
        ({"inner": [1]}, "recipe.yaml: inner: expected a mapping of keys, e.g. {key: value}"),
    ],
)
def test_the_first_problem_is_named_with_its_path(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(Outer, values, where="recipe.yaml")
    assert str(caught.value) == message


def test_good_values_arrive_and_cannot_be_changed() -> None:
    made = parse(Outer, {"steps": 5, "inner": {"rate": 1}, "maybe": {"mode": "b"}}, where="x")
    assert (made.steps, made.inner.rate, made.maybe) == (5, 1.0, Inner(mode="b"))
    with pytest.raises(ValueError, match="frozen"):
        made.steps = 6


def test_defaults_are_checked_too() -> None:
    class Wrong(Strict):
        rate: float = Field(default=3.0, le=1)

    with pytest.raises(InputError, match="rate: Input should be less than or equal to 1"):
        parse(Wrong, {}, where="x")


def test_a_key_of_another_kind_is_not_offered_as_itself() -> None:
    from unit.training.recipe.test_recipe import make, mntp

    graded = mntp(objective={"kind": "graded", "quantize": ["binary"]})
    with pytest.raises(InputError, match=r"unknown key 'stages\.0\.objective\.graded\.quantize'$"):
        make(graded)


def test_a_wrong_direction_is_answered_with_all_of_them_and_a_single_value_with_a_list() -> None:
    from bothways.objectives.supervised import SupervisedConfig

    with pytest.raises(InputError, match=r"'query_to_query'.*'doc_to_doc'; did you mean 'doc_to_query'\?"):
        parse(SupervisedConfig, {"directions": ["query_to_doc", "doc_to_quer"]}, where="x")
    with pytest.raises(InputError, match=r"quantize: expected a list, e\.g\. \[one, another\] \(got 'binary'\)"):
        parse(SupervisedConfig, {"quantize": "binary"}, where="x")
