"""Reading: damaged folders, and a config that contradicts bothways.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import processors
from transformers import AutoModel, BertConfig

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.errors import DirectionError, InputError
from tiny import tiny_llama, tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


@pytest.fixture
def encoder(base: Path) -> Encoder:
    return bw.convert(base, dtype="float32", device="cpu", pooling="last", prompts={"query": "Suche – 検索: "}, normalize=True)


def load(folder: Path, dtype: str = "float32") -> Encoder:
    return bw.load(folder, dtype=dtype, device="cpu")


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_damaged_folders_name_the_file(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "out")
    for name, content, message in (
        ("bothways.json", '{"format": 2, "direction": "causal"}', "bothways.json: format: "),
        ("bothways.json", '{"format": 1, "direction": "both"}', "bothways.json: direction: .*got 'both'"),
        ("bothways.json", '{"format": 1, "dir', "bothways.json: cannot be read as JSON"),
        ("1_Pooling/config.json", "[", "1_Pooling/config.json: cannot be read as JSON"),
        ("modules.json", "", "modules.json: cannot be read as JSON"),
        ("sentence_bert_config.json", "{", "sentence_bert_config.json: cannot be read as JSON"),
    ):
        kept = (tmp_path / "out" / name).read_bytes()
        (tmp_path / "out" / name).write_text(content)
        with pytest.raises(InputError, match=message) as caught:
            load(tmp_path / "out")
        assert "\n" not in str(caught.value)
        (tmp_path / "out" / name).write_bytes(kept)
    load(tmp_path / "out")


def test_a_config_that_lost_its_direction_is_noticed(encoder: Encoder, tmp_path: Path) -> None:
    """Other loaders would be causal; putting it right in memory would hide that."""
    encoder.save(tmp_path / "out")
    edit(tmp_path / "out" / "config.json", is_causal=True, use_bidirectional_attention=False)
    with pytest.raises(DirectionError, match=r"config.json: says causal attention but bothways.json says bidirectional"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("written", "meant"), [("cos_sim", "cosine"), ("dot_score", "dot"), ("dot_product", "dot"), ("dot", "dot")]
)
def test_similarities_by_the_names_of_functions(encoder: Encoder, tmp_path: Path, written: str, meant: str) -> None:
    encoder.save(tmp_path / "out")
    edit(tmp_path / "out" / "config_sentence_transformers.json", similarity_fn_name=written)
    assert load(tmp_path / "out").similarity_fn_name == meant


def test_what_the_author_requires_is_checked_as_sentence_transformers_does(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "out")
    file = tmp_path / "out" / "config_sentence_transformers.json"
    edit(file, requirements={"transformers": ">=5", "pytorch": {"specifier": ">=2"}})
    load(tmp_path / "out")
    reason = "older versions ignore is_causal"
    edit(file, requirements={"transformers": {"specifier": ">=99.1", "reason": reason}, "no-such-package": "*"})
    with pytest.raises(ImportError, match=r"transformers>=99\.1, but transformers=="):
        SentenceTransformer(str(tmp_path / "out"), device="cpu")
    with pytest.raises(InputError, match=rf"requirements: .* transformers>=99\.1, but transformers==.*{reason}") as caught:
        load(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_token_types_that_reach_the_model_in_sentence_transformers_are_refused(tmp_path: Path) -> None:
    base = tiny_model(
        tmp_path / "base",
        BertConfig,
        auto=AutoModel,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    stock = SentenceTransformer(modules=[Transformer(str(base)), Pooling(32, "mean")], device="cpu")
    stock.save(str(tmp_path / "out"))
    plain = load(tmp_path / "out").encode("a cat")
    assert abs(plain - stock.encode("a cat")).max() < 1e-5
    rule = processors.TemplateProcessing(single="$A:1 </s>:1", special_tokens=[("</s>", stock.tokenizer.eos_token_id)])
    stock.tokenizer.backend_tokenizer.post_processor = rule
    stock.tokenizer.save_pretrained(tmp_path / "out")
    without = load(tmp_path / "out").encode("a cat")  # the tokenizer gives no types
    edit(tmp_path / "out" / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode("a cat")
    assert abs(without - theirs).max() > 1e-2, "types change nothing, so this shows nothing"
    with pytest.raises(InputError, match=r"tokenizer_config\.json: model_input_names has token_type_ids"):
        load(tmp_path / "out")


def test_a_cache_folder_among_the_settings_has_no_effect(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "out")
    edit(tmp_path / "out" / "sentence_bert_config.json", cache_dir="/somewhere/else")
    assert (load(tmp_path / "out").encode("a text") == encoder.encode("a text")).all()
