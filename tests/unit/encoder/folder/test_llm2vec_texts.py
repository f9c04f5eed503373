"""What LLM2Vec puts around texts, by the base that a name, a folder or an adapter leads back to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.backbone.origin import origin
from bothways.encoder.folder.llm2vec_texts import text_wrapper
from bothways.encoder.texts.wrapping import Wrapper
from bothways.objectives.published import published_masking
from tiny import tiny_llama

LLAMA3 = ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")
INST = ("[INST] ", " [/INST]")
IM = ("<|im_start|>user\n", "<|im_end|>")
GEMMA = ("<bos><start_of_turn>user\n", "<end_of_turn>")


def folder(place: Path, **files: dict) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / f"{name}.json").write_text(json.dumps(content))
    return place


@pytest.mark.parametrize(
    ("base", "plain", "eos"),
    [
        # `prepare_for_tokenization` of llm2vec 0.2.3, case by case
        ("meta-llama/Meta-Llama-3-8B-Instruct", LLAMA3, LLAMA3),
        ("mistralai/Mistral-7B-Instruct-v0.2", INST, ("[INST] ", " [/INST] </s>")),
        ("meta-llama/Llama-2-7b-chat-hf", INST, ("[INST] ", " [/INST] </s>")),
        ("google/gemma-2-9b-it", GEMMA, GEMMA),
        ("Qwen/Qwen2-1.5B-Instruct", IM, (IM[0], "<|im_end|><|endoftext|>")),
        ("Qwen/Qwen2-7B-Instruct", IM, (IM[0], "<|im_end|><|endoftext|>")),
        ("meta-llama/Meta-Llama-3-8B", ("", ""), ("", "<|end_of_text|>")),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", ("", ""), ("", "")),
        ("princeton-nlp/Sheared-LLaMA-1.3B", ("", ""), ("", "")),
    ],
)
def test_every_base_that_the_authors_name(base: str, plain: tuple[str, str], eos: tuple[str, str]) -> None:
    assert text_wrapper(base) == Wrapper(*plain, " ")
    assert text_wrapper(base, eos=True) == Wrapper(*eos, " ")


@pytest.mark.parametrize(
    ("model_type", "token"),
    [("llama", " </s>"), ("mistral", " </s>"), ("gemma", "<eos>"), ("qwen2", "<|endoftext|>"), ("gemma2", ""), ("gpt2", "")],
)
def test_the_end_token_follows_the_family(tmp_path: Path, model_type: str, token: str) -> None:
    base = folder(tmp_path / "base", config={"model_type": model_type})
    assert text_wrapper(base, eos=True) == Wrapper("", token, " ")
    assert text_wrapper("org/unknown", eos=True, model_type=model_type).suffix == token


def test_a_folder_is_followed_to_its_base(tmp_path: Path) -> None:
    chat = "meta-llama/Meta-Llama-3-8B-Instruct"
    copy = folder(tmp_path / "copy", config={"model_type": "llama", "_name_or_path": chat})
    encoder = folder(tmp_path / "out" / "mntp", config={"model_type": "llama"}, bothways={"base": str(copy)})
    adapter = folder(tmp_path / "adapter", adapter_config={"base_model_name_or_path": str(encoder)})
    for place in (copy, encoder, adapter):
        assert origin(place) == (chat, "llama", True)
        assert text_wrapper(place) == Wrapper(*LLAMA3, " ")
    trained = folder(tmp_path / "lm", bothways={"kind": "language model", "base": "out/lm", "origin": chat})
    assert text_wrapper(trained).prefix == LLAMA3[0]
    cached = folder(tmp_path / "models--mistralai--Mistral-7B-Instruct-v0.2" / "snapshots" / "3ad372f", config={})
    assert origin(cached).name == "mistralai/Mistral-7B-Instruct-v0.2"
    assert text_wrapper(cached) == Wrapper(*INST, " ")
    # folders that name each other
    one, two = tmp_path / "one", tmp_path / "two"
    folder(one, bothways={"base": str(two)})
    folder(two, bothways={"base": str(one)})
    assert text_wrapper(one).prefix == ""


def test_the_spelling_of_a_path_alone_decides_nothing(tmp_path: Path) -> None:
    named = "Mistral-7B-Instruct-v0.2"
    other = folder(tmp_path / "mistral" / named, config={"model_type": "llama"})
    assert text_wrapper(other).prefix == ""
    assert published_masking(other) == published_masking("llama")
    same = folder(tmp_path / "x" / named, config={"model_type": "mistral"})
    assert text_wrapper(same).prefix == "[INST] "
    assert published_masking(same) == published_masking("mistral")
    unnamed = folder(tmp_path / "mistral" / "runs", config={"model_type": "gpt2"})
    assert published_masking(unnamed) is None
    assert published_masking(tmp_path / "mistral" / "base") is None
    assert published_masking("mistralai/Sheared-Llama-copy") == published_masking("princeton-nlp/Sheared-LLaMA-1.3B")
    # what a run left is masked as its base is
    run = folder(tmp_path / "out", bothways={"base": "mistralai/Mistral-7B-Instruct-v0.2"}, config={"model_type": "mistral"})
    assert published_masking(run) == published_masking("mistral")


def test_white_space_at_the_end_of_a_wrapped_text(tmp_path: Path) -> None:
    encoder = bw.convert(tiny_llama(tmp_path), wrapper=(*INST, " "), device="cpu", dtype="float32")
    one, two, first = encoder.encode(["a cat", "a cat \n", " a cat"])
    assert (one == two).all()
    assert np.abs(one - first).max() > 1e-3
    (row,) = encoder.tokenize([("Find:", "a cat\t")])
    assert row.ids == encoder.tokenizer("[INST] Find: a cat [/INST]")["input_ids"]


def test_pairs_may_be_lists(tmp_path: Path) -> None:
    encoder = bw.convert(tiny_llama(tmp_path), device="cpu", dtype="float32")
    tuples = [("Find it: ", "a cat"), ("Find it: ", "a dog")]
    lists = [list(pair) for pair in tuples]
    for encode in (encoder.encode, encoder.encode_query, encoder.encode_document):
        assert (encode(lists) == encode(tuples)).all()
        assert encode(lists).shape == (2, 32)
    assert [states.ids for states in encoder.encode_tokens(lists)] == [states.ids for states in encoder.encode_tokens(tuples)]
    assert [chunks.spans for chunks in encoder.encode_chunks(lists)] == [
        chunks.spans for chunks in encoder.encode_chunks(tuples)
    ]
    # a flat list stays two texts, and a tuple one pair
    assert encoder.encode(["Find it: ", "a cat"]).shape == (2, 32)
    assert (encoder.encode(("Find it: ", "a cat")) == encoder.encode(lists)[0]).all()
    streamed = [vectors for _, vectors in encoder.encode_stream(iter(lists))]
    assert (np.concatenate(streamed) == encoder.encode(tuples)).all()
    for wrong in ([["a", 1]], [["a"]], [["a", "b", "c"]]):
        with pytest.raises(bw.InputError, match=r"texts\[0\]: must be a string or a pair"):
            encoder.encode(wrong)
