"""The open piece of ByteLevel with a blank in front, against the tokenizers of longer texts."""

from __future__ import annotations

import json

import pytest
from tokenizers import pre_tokenizers

from bothways.encoder.long_words.open_piece import open_piece

FURTHER = ("", "a", "ab", " ", "  x", ".", "1", "'s", "é", "\n")


@pytest.mark.parametrize("blank", [True, False])
@pytest.mark.parametrize("text", ["cat", "two words", " two words", "one, two", "it's 12", "x  ", "12.5 is", "a\n\nb", "don"])
def test_its_start_is_certain_and_its_end_is_reached(text: str, blank: bool) -> None:
    stage = pre_tokenizers.ByteLevel(add_prefix_space=blank, use_regex=True)
    piece = open_piece([json.loads(stage.__getstate__())], text, len(text))
    assert piece is not None
    start, reach = piece
    assert 0 <= start < reach <= len(text)
    for more in FURTHER:
        spans = [span for _, span in stage.pre_tokenize_str(text + more)]
        # a piece begins at the start in each longer text, and none ends before the place that is reached
        assert start in [begin for begin, _ in spans], (text, more, spans)
        assert not any(start < begin < reach for begin, _ in spans), (text, more, spans)
