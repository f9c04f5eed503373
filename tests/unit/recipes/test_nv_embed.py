"""NV-Embed as a recipe: the published numbers, what is pooled, and a whole run on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MistralConfig

import bothways as bw
from bothways import recipes
from bothways.backbone.adapter.lora import meta_model, trainable_counts
from bothways.pooling import PoolingConfig
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.base_encoder import open_base
from bothways.training.stage.stage_context import StageContext
from tiny import SENTENCES, tiny_llama

TOPICS = ("rivers", "kettles", "violins", "glaciers", "ledgers", "orchards", "engines", "lanterns")


def rows(path: Path, *, negatives: bool = False) -> str:
    """Labelled rows that share words, so that BM25 finds negatives among them."""
    found = []
    for number, topic in enumerate(TOPICS * 3):
        row = {"query": f"tell me about {topic} number {number}", "pos": [f"{topic} number {number} are described here"]}
        found.append(row | {"neg": [f"nothing about {topic} {k}" for k in range(3)]} if negatives else row)
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def small(tmp_path: Path, texts: object, *, bos: bool = False, **changes: object) -> Recipe:
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": bos})
    values: dict[str, object] = {
        "pooling": {"mode": "latent_attention", "latents": 8, "heads": 2, "head_width": 8},
        "dtype": "float32",
        "stages__0__optim__steps": 3,
        "stages__*__optim__warmup_steps": 1,
        "stages__*__batch__size": 4,
        "stages__*__objective__max_length": 160,
    }
    return recipes.nv_embed(str(base), texts, "laptop", **{**values, **changes})  # type: ignore[arg-type]


def test_the_published_values() -> None:
    made = recipes.nv_embed("mistralai/Mistral-7B-v0.1", "rows.jsonl")
    assert isinstance(made.pooling, PoolingConfig)
    assert (made.pooling.mode, made.pooling.latents, made.pooling.heads, made.pooling.head_width) == (
        "latent_attention",
        512,
        8,
        None,
    )
    assert (made.direction, made.max_length, made.pool_bos, made.add_eos) == ("bidirectional", 512, False, True)
    assert [stage.name for stage in made.stages] == ["retrieval", "blended"]
    assert [stage.objective.in_batch for stage in made.stages] == [True, False]
    assert [(stage.optim.lr, stage.optim.steps) for stage in made.stages] == [(2e-5, 20_000), (1.5e-5, 18_000)]
    for stage in made.stages:
        assert (stage.optim.warmup_steps, stage.optim.schedule, stage.optim.weight_decay) == (500, "linear", 0.03)
        assert (stage.batch.size, stage.objective.negatives, stage.objective.max_length) == (128, 7, 512)
        assert (stage.objective.scale, stage.data.batches) == (50, "blended")
        assert stage.adapter is not None
        assert (stage.adapter.r, stage.adapter.alpha, stage.adapter.dropout) == (16, 32, 0.1)


def test_trainable_parameters_of_the_real_configurations() -> None:
    """LoRA r16 on Mistral-7B, and NVIDIA's latent block beside it; then what a laptop trains in its
    place.
    """
    made = recipes.nv_embed("mistralai/Mistral-7B-v0.1", "rows.jsonl")
    mistral = meta_model(MistralConfig(vocab_size=32000, sliding_window=None))
    assert trainable_counts(mistral, made.stages[0].adapter).trainable == 41_943_040
    assert _pooling(made, 4096) == 740_356_096
    assert _pooling(recipes.nv_embed(), 576) == 14_901_696
    assert _pooling(recipes.nv_embed(preset="laptop"), 576) == 5_353_920


def _pooling(made: Recipe, width: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in PoolingConfig.of(made.pooling).build(width).parameters())


@pytest.mark.parametrize(
    ("order", "plan"),
    [
        ("two_stage", [("retrieval", True, 2e-5, 20_000), ("blended", False, 1.5e-5, 18_000)]),
        ("reversed", [("blended", False, 2e-5, 20_000), ("retrieval", True, 1.5e-5, 18_000)]),
        ("single", [("blended", False, 2e-5, 38_000)]),
        ("single_in_batch", [("blended", True, 2e-5, 38_000)]),
    ],
)
def test_orders_of_the_papers_comparison(order: str, plan: list[tuple[str, bool, float, int]]) -> None:
    made = recipes.nv_embed(texts={"retrieval": "r.jsonl", "blended": "b.jsonl"}, order=order)  # type: ignore[arg-type]
    assert [(stage.name, stage.objective.in_batch, stage.optim.lr, stage.optim.steps) for stage in made.stages] == plan
    assert [stage.data.source for stage in made.stages] == [(f"{name[0]}.jsonl",) for name, *_ in plan]


def test_what_is_pooled(tmp_path: Path) -> None:
    """BOS and instruction are seen and not pooled; the text and the appended EOS are. So it is for
    passages, which have none.
    """
    made = small(tmp_path, {"source": "r.jsonl", "instruction": "Find it"}, bos=True)
    encoder = open_base(StageContext(made, 0), device=torch.device("cpu"), dtype=torch.float32)
    bos, eos = encoder.tokenizer.bos_token_id, encoder.tokenizer.eos_token_id
    prompt = encoder.prompts["query"]
    assert prompt == "Instruct: Find it\nQuery: "
    alone = len(encoder.tokenizer(SENTENCES[0], add_special_tokens=False)["input_ids"])
    for text in (SENTENCES[0], (prompt, SENTENCES[0])):
        (row,) = encoder.tokenize([text])
        assert (row.ids[0], row.ids[-1], row.ids.count(eos)) == (bos, eos, 1)
        assert row.pool == [False] * (len(row.ids) - alone - 1) + [True] * (alone + 1)


def test_both_stages_train_the_pooling_and_leave_an_encoder_that_appends_eos(tmp_path: Path) -> None:
    source = {"source": rows(tmp_path / "rows.jsonl"), "instruction": "Find it"}
    made = small(tmp_path, source, stages__1__optim__steps=2)
    encoder = bw.train(made, tmp_path / "out", progress=False)
    first, second = encoder.provenance["stages"]
    assert (first["name"], first["steps"], second["name"], second["steps"]) == ("retrieval", 3, "blended", 2)
    adapter = trainable_counts(encoder.backbone, made.stages[0].adapter).trainable
    latent = sum(parameter.numel() for parameter in encoder.pooling.parameters())
    assert first["trainable"] == second["trainable"] == adapter + latent
    between = bw.load(tmp_path / "out" / "stages" / "1-retrieval", dtype="float32")
    before, after = between.pooling.state_dict(), encoder.pooling.state_dict()
    assert [name for name in after if torch.equal(before[name], after[name])] == []
    eos = encoder.tokenizer.eos_token_id
    assert [row.ids[-1] for row in encoder.tokenize(["a b"]) + between.tokenize(["a b"])] == [eos, eos]
    assert encoder.prompts["query"] == "Instruct: Find it\nQuery: "

    from sentence_transformers import SentenceTransformer

    stock = SentenceTransformer(str(tmp_path / "out"), trust_remote_code=True, device="cpu")
    ours, theirs = encoder.encode(list(SENTENCES)), stock.encode(list(SENTENCES))
    # float32 sums in another order
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(ours).max()


def test_the_dry_run_counts_without_writing(tmp_path: Path) -> None:
    made = small(tmp_path, rows(tmp_path / "rows.jsonl", negatives=True), order="single")
    plan = bw.train(made, dry_run=True)
    (stage,) = plan.stages
    latent = _pooling(made, 32)
    adapter = trainable_counts(bw.convert(str(tmp_path / "base")).backbone, made.stages[0].adapter).trainable
    assert (stage.name, stage.objective, stage.steps, stage.trainable) == ("blended", "supervised", 3, adapter + latent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "rows.jsonl"]


def test_one_scale_serves_every_stage() -> None:
    made = recipes.nv_embed(texts="rows.jsonl", scale=20)
    assert [stage.objective.scale for stage in made.stages] == [20.0, 20.0]
    assert recipes.nv_embed(texts="rows.jsonl").stages[0].objective.scale == 50.0
