"""What tells a finished product from anything else, and which product a stage has."""

from __future__ import annotations

from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.product import ENCODER, LANGUAGE_MODEL, Product, product_of
from bothways.training.stage.stage_context import StageContext
from unit.training.material import mntp, recipe
from unit.training.stage.test_language_model import longlora


def test_the_objective_chooses_the_product(tmp_path: Path) -> None:
    chosen = recipe(tmp_path, longlora(), mntp())
    assert [product_of(stage) for stage in chosen.stages] == [LANGUAGE_MODEL, ENCODER]


@pytest.mark.parametrize("product", [ENCODER, LANGUAGE_MODEL], ids=["encoder", "language model"])
def test_a_product_is_finished_when_its_last_file_is_there(product: Product, tmp_path: Path) -> None:
    for name in product.markers:
        assert not product.finished(tmp_path)
        (tmp_path / name).touch()
    assert product.finished(tmp_path)
    # a killed run leaves no base model: config.json is moved in last
    assert product.markers[-1] == "config.json"


def test_a_kept_adapter_with_the_settings_of_an_encoder_is_finished(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "bothways.json").write_text("{}")
    assert not ENCODER.finished(tmp_path)
    (tmp_path / "bothways.json").write_text('{"encoder": {}}')
    assert ENCODER.finished(tmp_path)
    assert not LANGUAGE_MODEL.finished(tmp_path)


def test_texts_are_watched_for_vectors_only() -> None:
    assert ENCODER.watched(["a", "b"]) == ["a", "b"]
    assert LANGUAGE_MODEL.watched(["a", "b"]) == []


def test_a_language_model_does_not_start_from_an_encoder() -> None:
    values = {"name": "test", "base": "encoder/folder", "stages": [longlora()]}
    context = StageContext(Recipe.from_values(values), 0)
    with pytest.raises(
        InputError, match=r"stages\.longlora: trains a language model, and encoder/folder is a finished encoder"
    ):
        LANGUAGE_MODEL.check_base(context)
    ENCODER.check_base(context)
