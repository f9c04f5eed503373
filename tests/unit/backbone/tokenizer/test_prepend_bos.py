"""BOS before every text: seen, pooled as `pool_bos` says, and the same in every loader of the saved
folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, LlamaTokenizer

import bothways as bw
from bothways.backbone.tokenizer.preparation import append_eos, prepend_bos, specials
from bothways.errors import InputError
from tiny import SENTENCES, tiny_llama, tiny_tokenizer
from unit.cli.cli_runner import runner
from unit.training.material import TEXTS, mntp, recipe, simcse

TEXT = "a cat"


@pytest.mark.parametrize("kind", [{}, {"add_bos": True}, {"add_eos": True}, {"add_bos": True, "add_eos": True}])
def test_ids_are_bos_and_those_of_before(kind: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(**kind)
    before = [tokenizer(text)["input_ids"] for text in SENTENCES]
    had = specials(tokenizer).bos_added
    expected = [ids if had else [tokenizer.bos_token_id, *ids] for ids in before]
    for _ in range(2):
        prepend_bos(tokenizer)
        assert [tokenizer(text)["input_ids"] for text in SENTENCES] == expected
    tokenizer.save_pretrained(tmp_path)
    assert [AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] for text in SENTENCES] == expected
    append_eos(tokenizer)
    ended = [ids if ids[-1] == tokenizer.eos_token_id else [*ids, tokenizer.eos_token_id] for ids in expected]
    assert [tokenizer(text)["input_ids"] for text in SENTENCES] == ended


def test_the_class_that_writes_its_own_rule_from_flags(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"\u2581{letter}": n + 3 for n, letter in enumerate("abcdefgh")}}
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=[], add_bos_token=False)
    before = tokenizer("a b c")["input_ids"]
    prepend_bos(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert each("a b c")["input_ids"] == [1, *before]


def test_no_bos_is_said() -> None:
    with pytest.raises(InputError, match=r"add_bos: tokenizer .* has no BOS token; leave add_bos out"):
        prepend_bos(tiny_tokenizer(bos=None))


@pytest.mark.parametrize("pool_bos", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "last", "weighted_mean"])
def test_an_encoder_sees_it_and_pools_it_on_request(tmp_path: Path, pool_bos: bool, pooling: str) -> None:
    base = tiny_llama(tmp_path / "base")
    options = {"pooling": pooling, "device": "cpu", "dtype": "float32"}
    encoder = bw.convert(base, add_bos=True, pool_bos=pool_bos, prompts={"query": "Find:"}, **options)
    (row,) = encoder.tokenize([TEXT])
    assert (row.ids[0], row.pool[0]) == (encoder.tokenizer.bos_token_id, pool_bos)
    assert np.abs(encoder.encode([TEXT]) - bw.convert(base, **options).encode([TEXT])).max() > 1e-3
    encoder.save(tmp_path / "saved")
    again = bw.load(tmp_path / "saved", device="cpu", dtype="float32")
    assert (again.encode(SENTENCES) == encoder.encode(SENTENCES)).all()
    stock = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    found = stock.encode(list(SENTENCES), prompt_name="query")
    if pooling != "weighted_mean":  # which counts positions from the prompt's start there, as the folder says
        np.testing.assert_allclose(found, encoder.encode(SENTENCES, prompt_name="query"), atol=2e-5)
    without = np.abs(stock.encode(list(SENTENCES)) - encoder.encode(SENTENCES)).max()
    assert bool(without < 2e-5) is (pool_bos or pooling == "last")
    notes = " ".join(again.provenance.get("loader_notes", []))
    assert notes == "" or "BOS" in notes


def test_a_recipe_and_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = recipe(tmp_path, mntp(), simcse(), add_bos=True, pool_bos=False)
    encoder = bw.train(made, tmp_path / "out", texts=TEXTS)
    (row,) = encoder.tokenize([TEXT])
    assert (row.ids[0], row.pool[0]) == (encoder.tokenizer.bos_token_id, False)
    kept = bw.load(tmp_path / "out" / "adapters" / "2-simcse", dtype="float32", device="cpu")
    assert np.abs(kept.encode(SENTENCES) - bw.load(tmp_path / "out", dtype="float32").encode(SENTENCES)).max() < 2e-5
    # an encoder that was trained without goes on with it
    bw.train(recipe(tmp_path, simcse(), add_bos=None), tmp_path / "plain", texts=TEXTS)
    on = bw.train(recipe(tmp_path, simcse(), base=str(tmp_path / "plain"), add_bos=True), tmp_path / "on", texts=TEXTS)
    assert on.tokenize([TEXT])[0].ids[0] == on.tokenizer.bos_token_id
    words = ("convert", tmp_path / "base", "--out", tmp_path / "cli", "--add-bos", "--add-eos", "--no-pool-bos")
    assert runner(capsys)(*words).code == 0
    (row,) = bw.load(tmp_path / "cli").tokenize([TEXT])
    assert (row.ids[0], row.ids[-1], row.pool[0]) == (encoder.tokenizer.bos_token_id, encoder.tokenizer.eos_token_id, False)
