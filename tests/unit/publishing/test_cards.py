"""A card is written again unless somebody has changed it, with what its user said before."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.publishing.cards import front_matter_of, is_free, write_card
from tiny import tiny_llama


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu").save(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_what_was_said_before_stays(saved: Path) -> None:
    card = write_card(saved, license="mit", language=["en", "ko"], base_model="org/base", name="me/mine")
    told = front_matter_of(card)
    assert (told["license"], told["language"], told["base_model"]) == ("mit", ["en", "ko"], "org/base")
    again = front_matter_of(write_card(saved, license="apache-2.0"))
    assert (again["license"], again["language"], again["base_model"]) == ("apache-2.0", ["en", "ko"], "org/base")
    assert is_free(card)


def test_a_card_of_somebody_is_not_replaced(saved: Path) -> None:
    card = saved / "README.md"
    card.write_text("---\nlicense: mit\n---\n# Mine\n")
    assert not is_free(card)
    with pytest.raises(InputError, match=r"README\.md: somebody has changed it, .* write it again with --replace"):
        write_card(saved, license="mit")
    assert "license" not in front_matter_of(write_card(saved, replace=True)), "facts of a foreign card are not taken over"


def test_a_broken_front_matter_is_named(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("# no front matter\n")
    assert front_matter_of(card) == {}
    card.write_text("---\nlicense: [\n---\n")
    with pytest.raises(InputError, match=r"README\.md: has a front matter that hubs refuse"):
        front_matter_of(card)
