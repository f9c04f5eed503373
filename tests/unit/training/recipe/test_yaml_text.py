"""Numbers in YAML are numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.training.recipe.recipe_files import read_recipe
from bothways.training.recipe.yaml_text import load_yaml


def test_yaml_numbers_are_numbers() -> None:
    assert load_yaml("a: 1e-3\nb: 5E+2\nc: 1.5\nd: 3\ne: .5\nf: on\ng: true\nh: 1e3x", where="t") == {
        "a": 0.001,
        "b": 500.0,
        "c": 1.5,
        "d": 3,
        "e": 0.5,
        "f": "on",
        "g": True,
        "h": "1e3x",
    }
    with pytest.raises(InputError, match=r"r\.yaml: line 2, column \d+ not valid YAML"):
        load_yaml("a: [1\nb: 2", where="r.yaml")


def test_a_key_given_twice_names_both_lines(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"r: line 4, column 3 .*'lr' is given twice \(first on line 2\)"):
        load_yaml("optim:\n  lr: 1\n  steps: 2\n  lr: 3\n", where="r")
    assert load_yaml("a: &x {lr: 1}\nb:\n  <<: *x\n  lr: 2\n", where="r") == {"a": {"lr": 1}, "b": {"lr": 2}}
    file = tmp_path / "r.json"
    file.write_text('{\n"seed": 3,\n"name": "x",\n"seed": 4}')
    with pytest.raises(InputError, match=r"'seed' is given twice \(lines 2, 4\)"):
        read_recipe(file)
