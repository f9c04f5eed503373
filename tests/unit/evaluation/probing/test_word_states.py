"""Word vectors against one sentence at a time through transformers' own attention; the cache and
what it depends on.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bothways.attention.direction import set_direction
from bothways.attention.stock import evaluation_mode, stock
from bothways.errors import InputError
from bothways.evaluation.probing import word_states as module
from bothways.evaluation.probing.encoder_digest import encoder_digest
from bothways.evaluation.probing.word_states import word_states
from bothways.evaluation.task import RunOptions
from unit.evaluation.word_material import encoder

OPTIONS = RunOptions(show_progress_bar=False)
WORDS = ["cats", "run", "1996", "in", ".", "brother's", "Über", "天気", "😀"]


def sentences(count=30, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(count)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "words"


def naive(model, words, alignment):
    """Grow the sentence word by word: a word's tokens are those whose characters end up inside it.
    One unpadded stock pass.
    """
    text, spans, start = " ".join(words), [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    encoding = model.tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
    shift = 0
    if alignment == "next_token":
        shift = -1
        if ids[0] != model.tokenizer.bos_token_id:
            ids, offsets = [model.tokenizer.eos_token_id, *ids], [(0, 0), *offsets]
    with evaluation_mode(model), stock(model.backbone, "eager"):
        states = model.backbone(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0].double().numpy()
    vectors = []
    for a, b in spans:
        # a byte-level token starts at the blank before its word
        mine = [t for t, (s, e) in enumerate(offsets) if s < e and s >= a - 1 and e <= b]
        assert mine
        vectors.append(np.mean([states[t + shift] for t in mine], axis=0))
    return np.array(vectors)


@pytest.mark.parametrize("alignment", ["same_token", "next_token"])
@pytest.mark.parametrize("add_bos", [True, False])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_equals_one_sentence_at_a_time(tmp_path, direction, add_bos, alignment):
    model = encoder(tmp_path, direction=direction, add_bos=add_bos)
    texts = sentences()
    found = word_states(model, texts, alignment, OPTIONS, on_disk=False)
    assert found.starts.tolist() == np.cumsum([0, *map(len, texts)]).tolist()
    assert found.without_tokens == 0
    expected = np.concatenate([naive(model, words, alignment) for words in texts])
    # float16 keeps 11 bits of a number; states here are at most about 4
    np.testing.assert_allclose(found.vectors, expected, atol=1e-4, rtol=2**-10)


def test_disk_and_memory_are_equal_and_the_second_time_is_free(tmp_path, monkeypatch, cache):
    model = encoder(tmp_path)
    texts = sentences()
    memory = word_states(model, texts, "same_token", OPTIONS, on_disk=False)
    first = word_states(model, texts, "same_token", OPTIONS)
    np.testing.assert_array_equal(memory.vectors, first.vectors)

    def never(*args):
        raise AssertionError("the encoder ran again")

    monkeypatch.setattr(module, "row_states", never)
    np.testing.assert_array_equal(word_states(model, texts, "same_token", OPTIONS).vectors, first.vectors)
    assert len(list(cache.glob("*.f16"))) == 1
    with pytest.raises(AssertionError, match="ran again"):
        word_states(model, texts, "next_token", OPTIONS)
    with pytest.raises(AssertionError, match="ran again"):
        word_states(model, texts[::-1], "same_token", OPTIONS)


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TOGETHER", 8)
    model = encoder(tmp_path)
    texts = sentences(30)
    whole = word_states(model, texts, "same_token", OPTIONS, on_disk=False).vectors
    run, seen = module.row_states, []

    def broken(model, rows, options):
        seen.append(len(rows))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return run(model, rows, options)

    monkeypatch.setattr(module, "row_states", broken)
    with pytest.raises(KeyboardInterrupt):
        word_states(model, texts, "same_token", OPTIONS)
    found = word_states(model, texts, "same_token", OPTIONS).vectors
    assert seen == [8, 8, 8, 8, 6]  # two blocks were kept, the third is run again
    np.testing.assert_array_equal(found, whole)


def test_the_digest_sees_weights_direction_adapters_and_tokenizer(tmp_path):
    from peft import LoraConfig, inject_adapter_in_model

    model = encoder(tmp_path)
    digests = [encoder_digest(model)]
    assert encoder_digest(encoder(tmp_path)) == digests[0]  # another load of the same folder
    digests.append(encoder_digest(encoder(tmp_path, seed=1)))
    digests.append(encoder_digest(encoder(tmp_path, add_bos=False)))
    model.direction = "causal"
    digests.append(encoder_digest(model))
    set_direction(model.backbone, "causal")
    digests.append(encoder_digest(model))
    with torch.no_grad():
        next(model.backbone.parameters())[3, 5] += 1e-6
    digests.append(encoder_digest(model))
    digests.append(encoder_digest(model.to(torch.bfloat16)))
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False), model.backbone)
    digests.append(encoder_digest(model))
    for module_ in model.backbone.modules():
        if hasattr(module_, "lora_A"):
            module_.enable_adapters(False)
    digests.append(encoder_digest(model))
    assert len(set(digests)) == len(digests)


def test_words_beyond_the_length_are_zero_and_counted(tmp_path):
    model = encoder(tmp_path)
    model.options.max_length = 6
    found = word_states(model, [("cats",) * 9, ("run",)], "same_token", OPTIONS, on_disk=False)
    missing = ~found.vectors.any(axis=1)
    assert 0 < missing.sum() == found.without_tokens < 9
    assert missing[-2]  # the last word of the long sentence
    assert not missing[-1]


def test_states_that_float16_cannot_hold(tmp_path):
    model = encoder(tmp_path)
    with torch.no_grad():
        model.backbone.norm.weight.mul_(1e6)
    with pytest.raises(InputError, match=r"sentence 0 \('cats run'\): states that are not finite, or too large for float16"):
        word_states(model, [("cats", "run")], "same_token", OPTIONS, on_disk=False)
