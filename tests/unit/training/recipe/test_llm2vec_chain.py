"""Configurations of LLM2Vec over one's own output: each stage leaves an encoder that treats texts
as `LLM2Vec.from_pretrained` does.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

import bothways as bw
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.training.recipe.recipe_files import read_recipe
from bothways.training.stage.base_encoder import open_base
from bothways.training.stage.stage_context import StageContext
from tiny import tiny_llama
from unit.training.material import TEXTS
from unit.training.recipe.test_recipe_files import MNTP, SIMCSE, SUPERVISED, write


def test_every_stage_leaves_what_llm2vec_would_load(tmp_path: Path) -> None:
    """A chain of configurations over one's own output: the wrapper is found by the saved base, and
    BOS is seen and never pooled.
    """
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True, "pad": None})
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "_name_or_path": "meta-llama/Meta-Llama-3-8B-Instruct"}))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"query": t, "positive": t, "negative": "no"}) + "\n" for t in TEXTS)
    )
    small = {
        "per_device_train_batch_size": 4,
        "max_seq_length": 96,
        "stop_after_n_steps": 1,
        "torch_dtype": "float32",
        "lora_r": 2,
    }
    small |= {"warmup_steps": 0, "gradient_checkpointing": False}
    before = str(base)
    wrapper = ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")
    for values, data in ((MNTP, "texts.txt"), (SIMCSE, "texts.txt"), (SUPERVISED, "rows.jsonl")):
        own = {**values, **small, "max_seq_length": 16} if values is MNTP else {**values, **small}
        made = read_recipe(write(tmp_path, own), base=before, data=str(tmp_path / data))
        assert made.wrapper == wrapper
        before = str(tmp_path / f"out-{made.name}")
        bw.train(made, before)
        encoder = bw.load(before, dtype="float32", device="cpu")
        (row,) = encoder.tokenize([("Find it:", "a cat\n")])
        assert row.ids == encoder.tokenizer(f"{wrapper[0]}Find it: a cat{wrapper[1]}")["input_ids"]
        assert row.ids[0] == encoder.tokenizer.bos_token_id
        assert not row.pool[0]
    # an encoder that was saved before, with BOS pooled and no wrapper
    ours = json.loads((tmp_path / "out-llm2vec-mntp" / "bothways.json").read_text())
    (tmp_path / "out-llm2vec-mntp" / "bothways.json").write_text(
        json.dumps({**ours, "pool_bos": True, "wrapper": ["", "", ""]})
    )
    old = read_recipe(
        write(tmp_path, {**SUPERVISED, **small}), base=str(tmp_path / "out-llm2vec-mntp"), data=str(tmp_path / "rows.jsonl")
    )
    options = open_base(StageContext(old, 0), device=torch.device("cpu"), dtype=torch.float32).options
    assert (options.pool_bos, options.wrapper.prefix, options.wrapper.joint) == (False, wrapper[0], " ")


def test_bare_texts_train_simcse_as_run_simcse_does(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    encoder = bw.convert(base, wrapper=("[INST] ", " [/INST]", " "), pool_bos=False, device="cpu", dtype="float32")
    rows = {
        plain: ContrastiveConfig(plain=plain).build(encoder).prepare(["a cat", "a dog"], encoder)[0] for plain in (None, True)
    }
    assert rows[True].ids == encoder.tokenizer("a cat")["input_ids"]
    assert all(rows[True].pool)
    assert rows[None].ids == encoder.tokenizer("[INST] a cat [/INST]")["input_ids"]
