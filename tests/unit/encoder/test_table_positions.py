"""A model whose table of positions ends never reads beyond it, whatever length is asked for; rotary
positions go on.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, GPT2Config, GPTJConfig, LlamaConfig

import bothways as bw
from bothways.attention.positions import table_positions, usable_positions
from bothways.backbone.family import zoo
from bothways.errors import InputError
from bothways.evaluation.language_model.language_model import load_language_model
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.perplexity import Perplexity
from bothways.objectives.causal_lm import CausalLm
from tiny import SENTENCES, TINY, tiny_model
from unit.training.material import TEXTS, mntp, recipe, simcse

LONG = " ".join(SENTENCES) * 3
SMALL = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("positions") / "gpt2", GPT2Config, **SMALL)


def test_which_models_have_a_table(gpt2: Path, tmp_path: Path) -> None:
    kinds = {
        GPT2Config: (SMALL, 64),
        GPTJConfig: ({**SMALL, "rotary_dim": 4}, 64),
        LlamaConfig: ({**TINY, "max_position_embeddings": 64}, None),
        BertConfig: ({**TINY, "max_position_embeddings": 64}, 64),
    }
    for kind, (values, expected) in kinds.items():
        values = {key: value for key, value in values.items() if key != "num_key_value_heads"}
        model = AutoModel.from_config(kind(vocab_size=99, **values))
        assert (table_positions(model), usable_positions(model)) == (expected, 64), kind


@pytest.mark.parametrize("family", ["bloom", "xlnet"])
def test_a_config_may_set_no_limit(family: str) -> None:
    """BLOOM has no such field, and XLNet writes -1."""
    assert usable_positions(zoo.build(family)) is None


@pytest.mark.parametrize("length", [65, 10**9, 2**70])
def test_every_length_is_cut_to_the_table(gpt2: Path, length: int) -> None:
    encoder = bw.convert(gpt2, dtype="float32", device="cpu")
    expected = encoder.encode([LONG])
    encoder.options.max_length = length
    assert encoder.max_length == 64
    assert len(encoder.tokenize([LONG])[0].ids) == len(encoder.tokenize([LONG], max_length=length)[0].ids) == 64
    np.testing.assert_array_equal(encoder.encode([LONG]), expected)


def test_a_published_length_beyond_the_table(gpt2: Path, tmp_path: Path) -> None:
    bw.convert(gpt2, dtype="float32", device="cpu").save(tmp_path / "saved")
    file = tmp_path / "saved" / "sentence_bert_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_seq_length": 100_000}))
    encoder = bw.load(tmp_path / "saved", dtype="float32", device="cpu")
    assert encoder.max_length == 64 and np.isfinite(encoder.encode([LONG])).all()


def test_training_lengths(gpt2: Path, tmp_path: Path) -> None:
    """Texts are cut; packed rows, which are not texts, are refused."""
    objective = {"kind": "contrastive", "max_length": 100_000, "attention_dropout": 0.1}
    chosen = recipe(tmp_path, simcse(objective=objective), base=str(gpt2), max_length=100_000)
    assert bw.train(chosen, tmp_path / "out", texts=[LONG, LONG[4:], *TEXTS]).max_length == 64
    with pytest.raises(InputError, match=r"rows of 65 tokens \(objective.row_length\), and the model has 64 positions"):
        bw.train(
            recipe(tmp_path, mntp(objective={**mntp()["objective"], "row_length": 65}), base=str(gpt2)),
            tmp_path / "no",
            texts=TEXTS,
        )


@pytest.mark.parametrize("r", [65, 1_000_000])
def test_a_rank_beyond_every_target_is_refused(tmp_path: Path, gpt2: Path, r: int) -> None:
    chosen = recipe(tmp_path, simcse(adapter={"r": r, "targets": ["c_attn"]}), base=str(gpt2))
    with pytest.raises(InputError, match=rf"adapter\.r: a rank of {r}, and none of the 2 target layers has more than 32"):
        bw.train(chosen, tmp_path / "out", texts=TEXTS)


@pytest.mark.parametrize("kind", ["mntp", "causal_lm", "perplexity"])
def test_an_end_of_document_beyond_the_embedding_is_refused(tmp_path: Path, kind: str) -> None:
    base = tiny_model(tmp_path / "base", LlamaConfig, **TINY)
    file = base / "tokenizer.json"
    state = json.loads(file.read_text())
    state["added_tokens"].append({**state["added_tokens"][0], "id": 5000, "content": "<|new|>"})
    file.write_text(json.dumps(state))
    named = base / "tokenizer_config.json"
    named.write_text(json.dumps({**json.loads(named.read_text()), "eos_token": "<|new|>"}))
    with pytest.raises(InputError, match=r"eos_token\)?: the token '<\|new\|>' has number \d+, but the model embeds 384"):
        if kind == "perplexity":
            model = load_language_model(base, dtype="float32", device="cpu")
            Perplexity(list(TEXTS), name="p", length=16).run(model, RunOptions())
        elif kind == "mntp":
            bw.train(recipe(tmp_path, mntp(), base=str(base)), tmp_path / "out", texts=TEXTS)
        else:
            encoder = bw.convert(base, direction="causal", dtype="float32", device="cpu")
            CausalLm(torch.nn.Identity(), context=16).prepare(TEXTS, encoder)
