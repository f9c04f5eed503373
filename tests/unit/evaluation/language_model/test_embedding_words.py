"""The words of a vector, against logits computed by hand."""

from __future__ import annotations

import pytest
import torch

import bothways as bw
from bothways.backbone.adapter.new_tokens import add_tokens, special_ids
from bothways.backbone.loading.sources import load_pretrained
from bothways.errors import InputError
from bothways.evaluation.language_model.embedding_words import _stands_alone, embedding_words
from bothways.recipes.llara import FORMS
from tiny import SENTENCES, tiny_llama


@pytest.mark.parametrize("mode", FORMS)
def test_words_are_the_head_s_best_tokens(tmp_path, mode):
    form = FORMS[mode]
    base = tiny_llama(tmp_path / "base")
    encoder = bw.convert(base, direction="causal", pooling=form.pooling, prompts=form.prompts, dtype="float32", device="cpu")
    add_tokens(encoder.backbone, encoder.tokenizer, form.new_tokens or ())
    head = load_pretrained(base, dtype="float32", device="cpu", head=True).head
    found = embedding_words(encoder, SENTENCES[:2], words=5, content=False)
    for text, words in zip(SENTENCES, found):
        assert words.text == text and "prediction:" in str(words)
        for side, given in (("document", words.summary), ("query", words.prediction)):
            with torch.no_grad():
                states = encoder.states(encoder.pack(encoder.tokenize([text], prompt=encoder.prompts[side])))
                logits = head(states[-8 if mode == "code" else -1 :]).amax(0)
            order = [token for token in logits.argsort(descending=True).tolist() if token not in special_ids(encoder.tokenizer)]
            expected = [word for token in order if (word := encoder.tokenizer.decode([token]).strip())][:5]
            assert list(given) == expected
    content = embedding_words(encoder, SENTENCES[:1], words=5, head=head)[0]
    assert all(len(word) > 1 and word.isalnum() for word in content.summary)
    assert len({word.lower() for word in content.summary}) == len(content.summary)


@pytest.mark.parametrize(
    ("word", "inner", "kept"),
    [
        ("sea", False, True),
        ("sea", True, False),
        ("s", False, False),
        ("海", True, True),
        ("海岸", False, True),
        ("भाषा", True, True),
    ],
)
def test_a_character_of_a_script_without_blanks_is_a_word(word, inner, kept):
    assert _stands_alone(word, inner=inner) == kept


def test_what_has_no_words(tmp_path):
    base = tiny_llama(tmp_path / "base")
    with pytest.raises(InputError, match="vectors of mean pooling are not states"):
        embedding_words(bw.convert(base, device="cpu"), ["a"])
    with pytest.raises(InputError, match=r"words: must be at least 1 \(got 0\)"):
        embedding_words(bw.convert(base, pooling="last", device="cpu"), ["a"], words=0)
