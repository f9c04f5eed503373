"""Settings: unknown ones and other formats are refused, and long values stay one short line."""

import json

import pytest

from bothways.errors import InputError
from bothways.indexing.settings import IndexSettings, parsed_settings, settings_text

MADE = IndexSettings(model="m", fingerprint="f", dtype="float32", dimension=8)


def test_they_are_read_as_they_were_written() -> None:
    assert parsed_settings(json.loads(settings_text(MADE)), "x") == MADE
    assert parsed_settings(MADE.model_dump(mode="json"), "x") == MADE  # an older index has no digest
    with pytest.raises(InputError, match=r"^x: is an index of format 2, and this bothways reads format 1; index again"):
        parsed_settings({**MADE.model_dump(), "format": 2}, "x")
    with pytest.raises(InputError, match=r"^x: unknown key 'modle'"):
        parsed_settings({**MADE.model_dump(), "modle": "m"}, "x")


def test_a_changed_letter_of_a_prompt_is_refused() -> None:
    text = settings_text(MADE.model_copy(update={"query_prompt": "Find: "}))
    with pytest.raises(InputError, match="the settings of the index have changed since they were written"):
        parsed_settings(json.loads(text.replace("Find", "Fine")), "x")


def test_a_long_prompt_does_not_fill_the_screen() -> None:
    MADE.check_fits(MADE, "x")
    with pytest.raises(InputError) as raised:
        MADE.check_fits(MADE.model_copy(update={"prompt": "word " * 1000}), "x")
    assert len(str(raised.value)) < 200 and "--prompt" in str(raised.value)
