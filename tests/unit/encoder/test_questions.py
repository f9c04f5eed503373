"""LLaRA's questions as tokens, and encoders that cannot ask them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

import bothways as bw
from bothways.backbone.adapter.new_tokens import add_tokens
from bothways.encoder.encoder import Encoder, EncoderOptions
from bothways.encoder.questions import Questions
from bothways.errors import InputError
from bothways.pooling import Pooling
from bothways.recipes.llara import FORMS
from tiny import tiny_llama


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("questions"), tokenizer={"add_bos": True})


PROMPTS = {"document": "A: {text} Summary:{eos}", "query": "A: {text} Next words:{eos}"}


def test_blocks_are_the_tokens_behind_the_text(base: Path):
    encoder = bw.convert(base, direction="causal", pooling="last", prompts=PROMPTS, dtype="float32", device="cpu")
    questions = Questions.of(encoder)
    for template, block, size in zip((PROMPTS["document"], PROMPTS["query"]), questions.blocks, questions.sizes):
        ending = template.split("{text}")[1].replace("{eos}", encoder.tokenizer.eos_token)
        assert encoder.tokenizer.decode(block) == ending and size == len(block)
    row = encoder.tokenize([(questions.summarize, "a cat")])[0].ids
    assert row[-len(questions.blocks[0]) :] == questions.blocks[0]
    bare = encoder.tokenize([(questions.summarize, "")])[0].ids
    assert questions.overhead(encoder) == len(bare) + len(questions.blocks[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": {"query": "Find: "}}, "objective llara: asks two questions after the text"),
        ({"prompts": {**PROMPTS, "query": "B: {text} Next:{eos}"}}, "both prompts must have the same part before {text}"),
        ({"pooling": "mean"}, "use pooling last or last_tokens (got mean)"),
        ({"pooling": {"mode": "last_tokens", "tokens": 100}}, "100 states are read, but a question has only"),
        ({"wrapper": ("", "</end>")}, "the wrapper adds '</end>' after it; leave the wrapper out"),
    ],
)
def test_encoders_that_cannot_ask(base: Path, options, message):
    encoder = bw.convert(
        base, **{"direction": "causal", "pooling": "last", "prompts": PROMPTS, "dtype": "float32", "device": "cpu", **options}
    )
    with pytest.raises(InputError, match=re.escape(message)):
        Questions.of(encoder)


def test_suffix_lengths_of_a_llama_2_tokenizer():
    """19 and 18 tokens, the numbers that the released code has by heart."""
    pieces = ['▁"', '▁",', "▁summar", "ize", "▁predict", "▁the", "▁above", "▁following", "▁passage"]
    pieces += ["▁within", "▁eight", "▁words", ":", "▁"]
    vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((piece, -1.0) for piece in pieces)]
    vocabulary += [(chr(code), -20.0) for code in range(33, 127) if chr(code) not in pieces]
    raw = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    form = FORMS["code"]

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaModel(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    add_tokens(model, tokenizer, form.new_tokens)
    encoder = Encoder(
        model, tokenizer, Pooling("last_tokens"), direction="causal", options=EncoderOptions(prompts=dict(form.prompts))
    )
    questions = Questions.of(encoder)
    assert questions.sizes == (19, 18)
    assert [tokenizer.convert_ids_to_tokens(block[:11]) for block in questions.blocks] == [
        ['▁",', "▁summar", "ize", "▁the", "▁above", "▁passage", "▁within", "▁eight", "▁words", ":", "▁"],
        ['▁",', "▁predict", "▁the", "▁following", "▁passage", "▁within", "▁eight", "▁words", ":", "▁", "<s9>"],
    ]
