"""The published masking table, entry by entry against methods as published."""

from __future__ import annotations

import pytest

from bothways.objectives.published import published_masking


@pytest.mark.parametrize(
    ("model", "probability", "style"),
    [
        ("mistralai/Mistral-7B-Instruct-v0.2", 0.8, "all_mask"),
        ("mistral", 0.8, "all_mask"),
        ("princeton-nlp/Sheared-LLaMA-1.3B", 0.2, "bert"),
        ("meta-llama/Llama-2-7b-chat-hf", 0.2, "bert"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", 0.2, "bert"),
        ("llama", 0.2, "bert"),
    ],
)
def test_published_values(model, probability, style):
    entry = published_masking(model)
    assert entry is not None
    assert (entry.probability, entry.style, entry.mask_token) == (probability, style, "blank")
    assert "llm2vec" in entry.source


def test_word_level_mistral_is_masked_like_bert():
    entry = published_masking("mistralai/Mistral-7B-v0.1", word_level=True)
    assert entry is not None
    assert (entry.probability, entry.style) == (0.2, "bert")


def test_a_family_without_a_published_run_has_none():
    assert published_masking("gpt2") is None
