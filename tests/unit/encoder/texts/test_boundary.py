"""A prompt that merges with the text is said when an encoder encodes, saves and loads; the README's
example has no such end.
"""

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import bothways as bw
from bothways.pooling import PoolingConfig
from tiny import tiny_llama

TEXTS = ["a claim", "Yes", "The river runs."]
BLANK = "Find it: "
README = Path(__file__).parents[4] / "README.md"


@pytest.fixture
def encoder(tmp_path):
    return bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu", prompts={"query": BLANK})


def test_a_prompt_that_merges_is_said_once_by_every_door(encoder, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "bothways"):
        encoder.encode(TEXTS)
        assert not caplog.messages
        for _ in range(2):
            encoder.encode_query(TEXTS)
        encoder.encode([(BLANK, "a claim")])
        assert [message for message in caplog.messages if "of 3 texts" in message] == caplog.messages and len(
            caplog.messages
        ) == 1
        encoder.save(tmp_path / "saved")
        assert len(caplog.messages) == 2
        bw.load(tmp_path / "saved", dtype="float32", device="cpu")
        assert len(caplog.messages) == 3 and "merges with the text" in caplog.messages[-1]
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode_query(TEXTS)
    assert np.abs(theirs - encoder.encode_query(TEXTS)).max() > 1e-3, "both agree, so there is nothing to warn of"


def test_a_tokenizer_that_ends_every_text_is_not_the_cause(tmp_path, caplog):
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True, "add_eos": True})
    with caplog.at_level(logging.WARNING, "bothways"):
        bw.convert(base, dtype="float32", device="cpu", prompts={"query": BLANK}).encode_query(TEXTS)
    assert len(caplog.messages) == 1 and "its last token merges with the text" in caplog.messages[0]


def test_without_a_prompt_the_rule_of_sentence_transformers_leaves_bos_alone(tmp_path):
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    encoder = bw.convert(base, dtype="float32", device="cpu")
    encoder.options.stock_prompts, encoder.options.pool_bos = True, False
    plain, prompted = encoder.tokenize(TEXTS[:1])[0], encoder.tokenize(TEXTS[:1], prompt="Find:\n")[0]
    assert not plain.pool[0] and all(plain.pool[1:])
    length = len(prompted.ids) - len(plain.ids) + 1
    assert not any(prompted.pool[:length]) and all(prompted.pool[length:])


def test_only_prompts_that_give_other_vectors_there_are_said(encoder, caplog):
    """Last tokens are pooled whatever comes before them, and a folder that follows
    sentence-transformers' rule gives its vectors.
    """
    poolings = {"last": PoolingConfig.of("last").build(32), "tokens": PoolingConfig.of("last_tokens").build(32)}
    changes = [{"pooling": each} for each in poolings.values()]
    changes += [{"options": replace(encoder.options, **{name: True})} for name in ("pool_prompt", "stock_prompts")]
    for change in changes:
        before = {name: getattr(encoder, name) for name in change}
        with caplog.at_level(logging.WARNING, "bothways"):
            for name, value in change.items():
                setattr(encoder, name, value)
            encoder.encode_query(TEXTS)
            for name, value in before.items():
                setattr(encoder, name, value)
        assert not caplog.messages, change
    long = "x" * 60 + " Find it: "
    with caplog.at_level(logging.WARNING, "bothways"):
        encoder.encode([(long, "a claim"), "no prompt", (long, "a claim")])
    assert len(caplog.messages) == 1
    assert f"prompt {long[-40:]!r}: " in caplog.messages[0] and "for 2 of 3 texts" in caplog.messages[0]


def test_a_prompt_that_ends_in_a_special_token_is_said_with_its_cause(encoder, tmp_path, caplog):
    encoder.options.prompts = {"query": f"Find:{encoder.tokenizer.eos_token}"}
    with caplog.at_level(logging.WARNING, "bothways"):
        ours = encoder.encode_query(TEXTS)
        encoder.save(tmp_path / "saved")
    assert len(caplog.messages) == 2 and all("it ends in a special token" in message for message in caplog.messages)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode_query(TEXTS)
    assert np.abs(theirs - ours).max() > 1e-3, "both agree, so there is nothing to warn of"


def test_the_example_of_the_readme_gives_the_same_vectors_in_both(encoder, tmp_path, caplog):
    found = re.search(r'prompt="(Given a claim[^"]*)"', README.read_text(encoding="utf-8"))
    assert found
    prompt = found.group(1).replace("\\n", "\n")
    encoder.options.prompts = {}
    encoder.save(tmp_path / "saved")
    with caplog.at_level(logging.WARNING, "bothways"):
        ours = encoder.encode(TEXTS, prompt=prompt)
    assert not caplog.messages
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS, prompt=prompt)
    assert np.abs(ours - theirs).max() < 1e-5


def test_the_card_says_how_prompts_act(encoder, tmp_path):
    encoder.options.prompts = {"query": "Find:\n", "document": ""}
    encoder.save(tmp_path / "saved")
    card = (tmp_path / "saved" / "README.md").read_text()
    for words in ("LangChain", "Chroma", "Haystack", "LlamaIndex", "query_instruction='Find:\\n'", "OpenVINO", "empty text"):
        assert words in card
    encoder.options.prompts = {}
    encoder.save(tmp_path / "without")
    card = (tmp_path / "without" / "README.md").read_text()
    assert "## Prompts" not in card and "query_instruction" not in card
