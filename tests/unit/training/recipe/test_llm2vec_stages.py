"""Settings of LLM2Vec's configurations that mean rows, a part of the data, a token or a folder:
each does what the authors' script does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.training.recipe.recipe_files import read_recipe
from bothways.training.stage.stage_data import read_stage_data
from tiny import tiny_llama
from unit.training.material import TEXTS, metrics, mntp, recipe
from unit.training.recipe.test_recipe_files import MNTP, SIMCSE, write

SMALL: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "max_seq_length": 16,
    "stop_after_n_steps": 4,
    "eval_steps": 2,
    "torch_dtype": "float32",
    "lora_r": 2,
    "gradient_checkpointing": False,
}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return tmp_path / "texts.jsonl"


def small(tmp_path: Path, texts: Path, **changes: Any) -> Any:
    base = tmp_path / "base"
    if not base.exists():
        tiny_llama(base, tokenizer={"add_bos": True})
    return read_recipe(write(tmp_path, {**MNTP, **SMALL, **changes}), base=str(base), data=str(texts))


def test_max_train_samples_counts_packed_rows(tmp_path: Path, texts: Path) -> None:
    made = small(tmp_path, texts, max_train_samples=8, per_device_train_batch_size=2, evaluation_strategy="no", do_eval=False)
    plan = bw.train(made, dry_run=True)
    assert plan.stages[0].examples == 8
    assert plan.stages[0].texts == len(TEXTS)
    assert small(tmp_path, texts, evaluation_strategy="no", do_eval=False).stages[0].data.rows is None
    # the other scripts' rows are texts
    assert read_recipe(write(tmp_path, {**SIMCSE, "max_train_samples": 8})).stages[0].data.limit == 8


def test_five_percent_are_held_out_and_read(tmp_path: Path, texts: Path) -> None:
    """As run_mntp.py divides a data set without a validation split: the first 5 % of its rows."""
    made = small(tmp_path, texts)
    data = read_stage_data(made.stages[0])
    assert len(TEXTS) == 64
    assert (list(data.held_out), list(data.items)) == (TEXTS[:3], TEXTS[3:])  # 5 % are 3.2
    assert data.texts == TEXTS[3:]
    assert data.origin[-1] == {"held_out": 3}
    bw.train(made, tmp_path / "out")
    read = {line["step"]: line for line in metrics(tmp_path / "out") if "heldout_loss" in line}
    assert sorted(read) == [2, 4]
    assert all(line["heldout_loss"] > 0 and 0 <= line["heldout_accuracy"] <= 1 for line in read.values())
    whole = small(tmp_path, texts, evaluation_strategy="no", do_eval=False)
    assert read_stage_data(whole.stages[0]).fingerprint != data.fingerprint
    # other shares; loss at the end only; none of so few texts
    assert len(read_stage_data(small(tmp_path, texts, validation_split_percentage=10).stages[0]).held_out) == 6
    assert small(tmp_path, texts, validation_split_percentage=0).stages[0].heldout is None
    ended = small(tmp_path, texts, evaluation_strategy="no").stages[0].heldout
    assert (ended.share, ended.every) == (0.05, 4)
    assert small(tmp_path, texts, validation_file="dev.txt").stages[0].heldout.sources == ("dev.txt",)
    assert read_stage_data(made.stages[0], TEXTS[:8]).held_out == ()
    assert len(read_stage_data(made.stages[0], TEXTS[:40]).items) == 38


@pytest.mark.parametrize(
    ("heldout", "message"),
    [
        ({"every": 1}, "give either data"),
        ({"every": 1, "share": 0.1, "data": {"source": "x"}}, "not both"),
        ({"every": 1, "share": 1.0}, "share"),
    ],
)
def test_what_cannot_be_held_out(tmp_path: Path, heldout: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(tmp_path, mntp(heldout=heldout))


@pytest.mark.parametrize("tied", [True, False])
def test_a_mask_token_is_added(tmp_path: Path, texts: Path, tied: bool) -> None:
    tiny_llama(tmp_path / "base", tie_word_embeddings=tied)
    made = small(tmp_path, texts, mask_token_type="mask")
    assert made.new_tokens == ("<mask>",)
    encoder = bw.train(made, tmp_path / "out")
    assert encoder.tokenizer.convert_tokens_to_ids("<mask>") == 384
    assert encoder.backbone.get_input_embeddings().weight.shape[0] == 385
    assert encoder.encode(["a <mask> cat"]).shape == (1, 32)
    kept = bw.load(tmp_path / "out" / "adapters" / "1-mntp", dtype="float32", device="cpu")
    merged = bw.load(tmp_path / "out", dtype="float32", device="cpu")
    assert abs(kept.encode(TEXTS[:3]) - merged.encode(TEXTS[:3])).max() < 2e-5
    assert not (tmp_path / "out" / "adapters" / "1-mntp" / "trainable_params.safetensors").exists()  # its row is not trained
    # its own is taken, where there is one, and in a recipe of ours the way is said
    with pytest.raises(InputError, match=r"new_tokens: \['<mask>'\]"):
        bw.train(recipe(tmp_path, mntp(objective={"kind": "mntp", "mask_token": "mask"})), dry_run=True, texts=TEXTS)
