"""A saved encoder in the hands of others: SentenceTransformer and AutoModel give our vectors, and
we give theirs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    RobertaConfig,
    StableLmConfig,
)

import bothways as bw
from bothways.errors import InputError
from tiny import SENTENCES, TINY, tiny_model

TEXTS = [*SENTENCES, "x", "今日は" * 30, "a longer text, far longer than any window: " * 8]
COSINE = 0.9999
BERT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.1}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.1}
GEMMA = {**TINY, "head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
MHA = {**TINY, "num_key_value_heads": 4}
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, TINY),
    "gpt2": (GPT2Config, GPT2),  # learned positions
    "mistral": (MistralConfig, {**TINY, "sliding_window": 8}),  # window lifted
    "gemma3": (Gemma3TextConfig, GEMMA),  # window by layer type, with a rotary base of its own
    "stablelm": (StableLmConfig, MHA),  # turns causal with SDPA
    "bloom": (BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.1}),  # padded execution
    "bert": (BertConfig, BERT),
    "roberta": (RobertaConfig, {**BERT, "max_position_embeddings": 514, "type_vocab_size": 1}),
}
SPECIALS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bos": {"add_bos": True},
    "bos eos chat": {"add_bos": True, "add_eos": True, "chat_template": True},
    "no pad": {"pad": None},
}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def sentence_transformer(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})


def pooled_by_hand(folder: Path, texts: list[str], batch: int) -> np.ndarray:
    """Mean of AutoModel's states over the attention mask, nothing chosen but the folder."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors = []
    for start in range(0, len(texts), batch):
        inputs = tokenizer(texts[start : start + batch], return_tensors="pt", padding=True, truncation=True)
        with torch.no_grad():
            states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        vectors.append(((states * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(vectors)


def make(folder: Path, family: str, tokenizer: dict[str, Any] | None = None) -> Path:
    kind, config = FAMILIES[family]
    if family == "roberta":
        tokenizer = {**(tokenizer or {}), "pad": "<pad>"}
        config = {**config, "pad_token_id": 2}
    auto = {"auto": AutoModelForMaskedLM} if family in ("bert", "roberta") else {}
    return tiny_model(folder, kind, tokenizer=tokenizer, **config, **auto)


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("bases")
    return {family: make(top / family, family, SPECIALS["bos"]) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_both_loaders(bases, tmp_path: Path, family: str) -> None:
    encoder = bw.convert(bases[family], dtype="float32", device="cpu")
    ours = encoder.encode(TEXTS)
    encoder.save(tmp_path / "out")
    theirs = sentence_transformer(tmp_path / "out")
    for size in (1, len(TEXTS)):  # without padding and with: two code paths in transformers
        assert cosine(theirs.encode(TEXTS, batch_size=size), ours) >= COSINE
        assert cosine(pooled_by_hand(tmp_path / "out", TEXTS, size), ours) >= COSINE
    assert (bw.load(tmp_path / "out", dtype="float32", device="cpu").encode(TEXTS) == ours).all()
    if family not in ("bert", "roberta"):  # or the comparison would be between causal models
        causal = bw.convert(bases[family], dtype="float32", device="cpu", direction="causal").encode(TEXTS)
        assert cosine(causal, ours) < 0.999


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("pooling", ["mean", "weighted_mean", "last", "bos", "max"])
@pytest.mark.parametrize("normalize", [False, True])
def test_every_pooling(bases, tmp_path: Path, pooling: str, normalize: bool, direction: Any) -> None:
    options: dict[str, Any] = {"dtype": "float32", "device": "cpu", "prompts": {"query": "find:", "document": ""}}
    encoder = bw.convert(bases["llama"], direction=direction, pooling=pooling, normalize=normalize, **options)
    encoder.save(tmp_path / "out")
    theirs = sentence_transformer(tmp_path / "out")
    ours = encoder.encode(TEXTS)
    assert np.abs(theirs.encode(TEXTS, batch_size=4) - ours).max() < 1e-5
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() < 1e-5 or not normalize
    if pooling != "weighted_mean":  # whose weights start at the prompt there, see the folder's README
        assert np.abs(theirs.encode_query(TEXTS, batch_size=4) - encoder.encode_query(TEXTS)).max() < 1e-5
    assert np.abs(theirs.encode_document(TEXTS, batch_size=4) - ours).max() < 1e-5
    again = bw.load(tmp_path / "out", dtype="float32", device="cpu")
    assert (again.encode_query(TEXTS) == encoder.encode_query(TEXTS)).all()
    assert (again.direction, again.pooling.mode, again.options) == (direction, pooling, encoder.options)


@pytest.mark.parametrize("specials", SPECIALS)
def test_every_kind_of_tokenizer(tmp_path: Path, specials: str) -> None:
    make(tmp_path / "base", "llama", SPECIALS[specials])
    edit(tmp_path / "base" / "tokenizer_config.json", padding_side="left", truncation_side="left")
    encoder = bw.convert(tmp_path / "base", dtype="float32", device="cpu", max_length=40, prompts={"query": "find:"})
    encoder.save(tmp_path / "out")
    theirs = sentence_transformer(tmp_path / "out")
    texts = [*TEXTS, "so long that it is cut " * 40]
    assert np.abs(theirs.encode(texts) - encoder.encode(texts)).max() < 1e-5
    assert np.abs(theirs.encode_query(texts) - encoder.encode_query(texts)).max() < 1e-5
    assert cosine(pooled_by_hand(tmp_path / "out", texts, 5), encoder.encode(texts)) >= COSINE
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template is None
    assert encoder.tokenizer.padding_side == "left"  # the encoder in memory is left as it was


def test_what_the_stock_layout_cannot_say_is_said_in_words(bases, tmp_path: Path, caplog) -> None:
    prompts = {"query": "find: ", "other": "find:"}
    wrapped = {"wrapper": ("[INST] ", " [/INST]"), "pool_bos": False, "prompts": {"query": "find: "}}
    for name, options, notes in (
        ("wrapper", wrapped, ["inputs are wrapped for a chat model"]),
        ("bos", {"pool_bos": False}, ["BOS is left out of the pool here"]),
        ("joint", {"wrapper": ("", "", " ")}, ["instruction and text are joined by ' ' here"]),
        ("prompt", {"prompts": prompts}, ["prompt 'query': its last token merges with the text ('find: ')"]),
        (
            "weights",
            {"prompts": {"q": "find:"}, "pooling": "weighted_mean"},
            ["prompt 'q': sentence-transformers' weighted mean"],
        ),
    ):
        encoder = bw.convert(bases["llama"], dtype="float32", device="cpu", **options)
        encoder.save(tmp_path / name)
        stored = json.loads((tmp_path / name / "bothways.json").read_text())["loader_notes"]
        assert [note.startswith(start) for note, start in zip(stored, notes, strict=True)] == [True]
        assert notes[0] in (tmp_path / name / "README.md").read_text()
        assert notes[0] in caplog.text
        again = bw.load(tmp_path / name, dtype="float32", device="cpu")
        assert again.options == encoder.options
        assert (again.encode([("find:", text) for text in TEXTS]) == encoder.encode([("find:", text) for text in TEXTS])).all()


# --- the other way: folders that sentence-transformers wrote
# ----------------------------------------------------------------


def theirs_over(
    base: Path, out: Path, mode: str, *, causal: bool = True, normalize: bool = False, **pooling: Any
) -> SentenceTransformer:
    """A sentence-transformers model over a decoder, saved by sentence-transformers."""
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config if causal else {**config, "is_causal": False}))
    body = Transformer(str(base), max_seq_length=64)
    modules = [body, Pooling(32, pooling_mode=mode, **pooling), *([Normalize()] if normalize else [])]
    model = SentenceTransformer(modules=modules, device="cpu", prompts={"query": "find:", "document": "text:"})
    model.save(str(out))
    return sentence_transformer(out)


@pytest.mark.parametrize("mode", ["mean", "lasttoken", "cls", "max", "weightedmean"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_their_folders_give_their_vectors(tmp_path: Path, mode: str, causal: bool, include_prompt: bool) -> None:
    base = make(tmp_path / "base", "llama", SPECIALS["bos"])
    normalize = mode == "lasttoken"
    theirs = theirs_over(base, tmp_path / "out", mode, causal=causal, normalize=normalize, include_prompt=include_prompt)
    ours = bw.load(tmp_path / "out", dtype="float32", device="cpu")
    assert ours.direction == ("causal" if causal else "bidirectional")
    assert (ours.max_length, ours.prompts["query"], ours.options.pool_prompt) == (64, "find:", include_prompt)
    texts = [*TEXTS, "so long that it is cut " * 40]
    assert np.abs(ours.encode(texts) - theirs.encode(texts)).max() < 1e-5
    if mode != "weightedmean" or include_prompt:
        assert np.abs(ours.encode_query(texts) - theirs.encode_query(texts)).max() < 1e-5
    ours.save(tmp_path / "again")
    again = sentence_transformer(tmp_path / "again")
    assert np.abs(again.encode(texts) - theirs.encode(texts)).max() < 1e-5
    assert np.abs(again.encode_query(texts) - theirs.encode_query(texts)).max() < 1e-5


@pytest.mark.parametrize("causal", [True, False])
def test_their_windows_are_kept(tmp_path: Path, causal: bool) -> None:
    base = make(tmp_path / "base", "mistral")
    theirs = theirs_over(base, tmp_path / "out", "lasttoken", causal=causal)
    ours = bw.load(tmp_path / "out", dtype="float32", device="cpu")
    assert ours.provenance["report"]["kept_windows"] == {"0": 8, "1": 8}
    assert np.abs(ours.encode(TEXTS) - theirs.encode(TEXTS)).max() < 1e-5


def test_their_bert(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "bert")
    theirs = theirs_over(base, tmp_path / "out", "mean")
    ours = bw.load(tmp_path / "out", dtype="float32", device="cpu")
    assert ours.direction == "bidirectional"
    assert np.abs(ours.encode(TEXTS) - theirs.encode(TEXTS)).max() < 1e-5


def test_their_older_layout(tmp_path: Path) -> None:
    """Booleans for the pooling, old module paths, the length in sentence_bert_config.json: what
    most published models have.
    """
    base = make(tmp_path / "base", "llama")
    theirs_over(base, tmp_path / "out", "lasttoken")
    out = tmp_path / "out"
    (pooling,) = out.glob("*_Pooling/config.json")
    booleans = {f"pooling_mode_{key}": key == "lasttoken" for key in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
    pooling.write_text(json.dumps({"word_embedding_dimension": 32, **booleans}))
    (out / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20, "do_lower_case": False}))
    modules = json.loads((out / "modules.json").read_text())
    for module in modules:
        module["type"] = "sentence_transformers.models." + module["type"].rsplit(".", 1)[-1]
    (out / "modules.json").write_text(json.dumps(modules))
    ours = bw.load(out, dtype="float32", device="cpu")
    assert ours.max_length == 20
    assert np.abs(ours.encode(TEXTS) - sentence_transformer(out).encode(TEXTS)).max() < 1e-5


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_what_would_change_their_vectors_is_refused_by_name(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "llama", SPECIALS["bos eos chat"])
    theirs_over(base, tmp_path / "chat", "mean")
    with pytest.raises(InputError, match=r"sentence_bert_config.json: texts go through the tokenizer's chat template"):
        bw.load(tmp_path / "chat")
    theirs_over(make(tmp_path / "plain", "llama"), tmp_path / "out", "mean")
    file = tmp_path / "out" / "sentence_bert_config.json"
    for key, value in (("query_length", 32), ("processing_kwargs", {"text": {"stride": 4}})):
        kept = file.read_text()
        edit(file, **{key: value})
        with pytest.raises(InputError, match=rf"sentence_bert_config.json: {key}\S* is"):
            bw.load(tmp_path / "out")
        file.write_text(kept)
    (pooling,) = (tmp_path / "out").glob("*_Pooling/config.json")
    for modes in (["mean", "median"], "median"):
        edit(pooling, pooling_mode=modes)
        with pytest.raises(InputError, match=r"pooling .* cannot be read; known: "):
            bw.load(tmp_path / "out")


def test_modules_we_do_not_know_are_refused(tmp_path: Path) -> None:
    from sentence_transformers.models import CNN

    body = Transformer(str(make(tmp_path / "base", "llama")))
    SentenceTransformer(modules=[body, CNN(32), Pooling(768)], device="cpu").save(str(tmp_path / "out"))
    with pytest.raises(InputError, match=r"modules.json: modules Transformer, CNN, Pooling cannot be read; known"):
        bw.load(tmp_path / "out")
    for content, message in (("{}", "modules none"), ("[1]", "must be a list of modules"), ("[{", "cannot be read as JSON")):
        (tmp_path / "out" / "modules.json").write_text(content)
        with pytest.raises(InputError, match=f"modules.json: .*{message}|modules.json: {message}"):
            bw.load(tmp_path / "out")
