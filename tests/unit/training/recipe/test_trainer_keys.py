"""Settings of the Hugging Face Trainer that would change a result: taken when they are off, refused
when they are on.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from transformers import TrainingArguments

from bothways.errors import InputError
from bothways.training.recipe.recipe_files import read_recipe
from bothways.training.recipe.trainer_keys import REFUSED
from unit.training.recipe.test_recipe_files import MNTP, write

DEFAULTS = {each.name: each.default for each in fields(TrainingArguments) if each.name in REFUSED}


@pytest.mark.parametrize("key", REFUSED)
def test_a_setting_that_changes_results_is_taken_only_when_off(tmp_path: Path, key: str) -> None:
    """Off is null, or the Trainer's own default."""
    off = {"optim": {"adamw_torch", "adamw_hf"}, "trust_remote_code": {None, False}}.get(key, {None, DEFAULTS.get(key)})
    for value in off:
        read_recipe(write(tmp_path, {**MNTP, key: value}))
    other = {"label_smoothing_factor": 0.1, "neftune_noise_alpha": 5, "optim": "adafactor"}.get(
        key, "x" if isinstance(DEFAULTS.get(key), str) or key not in DEFAULTS else True
    )
    with pytest.raises(InputError, match=f"{key}: .* is not supported"):
        read_recipe(write(tmp_path, {**MNTP, key: True if key == "trust_remote_code" else other}))
