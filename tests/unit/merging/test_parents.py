"""Which encoders cannot be merged, each said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.merging.parents import open_parents
from tiny import tiny_llama
from unit.merging.material import PROMPTS, child, family


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return family(tmp_path_factory.mktemp("parents"))


CASES = {
    "pooling": ({"pooling": "last"}, "differ in their pooling"),
    "prompts": ({"prompts": {"query": "Ask:\n"}}, "differ in their prompts"),
    "direction": ({"direction": "causal"}, "differ in their direction"),
    "length": ({"max_length": 7, "prompts": PROMPTS}, "setting max_length"),
}


@pytest.mark.parametrize("case", CASES)
def test_encoders_of_other_settings_are_refused_in_one_line(place, tmp_path, case):
    options, message = CASES[case]
    child(place / "base", tmp_path / "other", 0, **{"prompts": PROMPTS, **options})
    with pytest.raises(InputError, match=message) as error:
        open_parents([place / "a", tmp_path / "other"])
    assert "\n" not in str(error.value)


def test_another_architecture_or_tokenizer_is_refused(place, tmp_path):
    tiny_llama(tmp_path / "deeper", num_hidden_layers=3)
    child(tmp_path / "deeper", tmp_path / "other", 0, prompts=PROMPTS)
    with pytest.raises(InputError, match="architecture, num_hidden_layers"):
        open_parents([place / "a", tmp_path / "other"])
    tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    child(tmp_path / "base", tmp_path / "tokens", 0, prompts=PROMPTS)
    with pytest.raises(InputError, match="differ in their tokenizer"):
        open_parents([place / "a", tmp_path / "tokens"])
