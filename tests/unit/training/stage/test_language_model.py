"""Stages that train a language model: what they leave, that it is what was trained, and that encoder stages go on from it."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import bothways as bw
from bothways.backbone.adapter.adapter_files import WHOLE
from bothways.backbone.adapter.lora import attach
from bothways.backbone.loading.sources import load_pretrained
from bothways.errors import InputError
from bothways.evaluation.language_model.language_model import as_language_model, load_language_model
from bothways.evaluation.tasks.perplexity import Perplexity
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage import product
from bothways.training.stage.language_model import history
from tiny import tiny_gguf, tiny_llama
from unit.training.material import TEXTS, metrics, mntp, recipe, simcse, state, weights

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
PLUS = {"r": 4, "alpha": 8, "dropout": 0.0, "targets": ATTENTION, "train_whole": ["embed", "norm"]}
IDS = torch.arange(3, 43)


def longlora(**changes: Any) -> dict[str, Any]:
    """A stage on rows of 64 tokens, at a rate high enough that every trained number moves visibly."""
    return {
        "name": "longlora",
        "objective": {"kind": "causal_lm", "context": 64},
        "data": {"source": "python-stdlib"},
        "batch": {"size": 2, "accumulation": 2},
        "optim": {"lr": 1e-2, "steps": 6, "schedule": "constant", "warmup_steps": 2},
        "adapter": PLUS,
        "gradient_checkpointing": True,
        "save_every": 3,
        "log_every": 2,
        **changes,
    }


def made(folder: Path, *stages: dict[str, Any], tied: bool = True, **changes: Any) -> Recipe:
    """A recipe over a base of 32 tokens, brought to 64."""
    if not (folder / "base").exists():
        tiny_llama(folder / "base", max_position_embeddings=32, tie_word_embeddings=tied)
    values = {"rope": {"context": 64}, "max_length": 64, **changes}
    return recipe(folder, *(stages or (longlora(),)), **values)


def logits_of(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(input_ids=IDS[None]).logits[0]


def logits_of_checkpoint(run: Path, step: int, *, lora: bool = True) -> torch.Tensor:
    """Base, unmerged adapter and trained parameters, put together apart from the trainer."""
    chosen = Recipe.from_yaml((run / "recipe.yaml").read_text())
    rope = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}, "max_position_embeddings": 64}
    loaded = load_pretrained(chosen.base, dtype="float32", head=True, config_overrides=rope)
    head: Any = loaded.head
    if lora:
        assert chosen.stages[0].adapter is not None
        attach(loaded.model, chosen.stages[0].adapter)
    saved = load_file(run / "checkpoints" / "1-longlora" / f"step-{step:08d}" / "trainable.safetensors")
    with torch.no_grad():
        for name, value in saved.items():
            where, _, rest = name.partition(".")
            module = loaded.model if where == "encoder" else head
            module.get_parameter(rest.removeprefix("backbone.").removeprefix("head.")).copy_(value)
        return head(loaded.model.eval()(input_ids=IDS[None]).last_hidden_state[0])


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own head"])
def whole(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    bw.train(made(folder, tied=request.param), folder / "out", texts=TEXTS)
    return folder / "out"


# --- what is left --------------------------------------------------------------------------------------------------------------


def test_the_folder_is_a_causal_lm_with_the_logits_of_what_was_trained(whole: Path) -> None:
    found = logits_of(whole)
    # merging rounds once per weight
    torch.testing.assert_close(found, logits_of_checkpoint(whole, 6), atol=1e-4, rtol=1e-4)
    assert (found - logits_of(whole.parent / "base")).abs().max() > 0.1
    config = json.loads((whole / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["rope_parameters"] == {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    assert config["max_position_embeddings"] == 64
    assert not config.keys() & {"is_causal", "use_bidirectional_attention", "bothways_original"}
    assert AutoTokenizer.from_pretrained(whole).model_max_length == 64


def test_embeddings_and_norms_have_moved_and_a_head_of_its_own_has_not(whole: Path) -> None:
    base, out = weights(whole.parent / "base"), weights(whole)
    assert base.keys() == out.keys()
    for name, tensor in out.items():
        trained = "embed" in name or "norm" in name or any(target in name for target in ATTENTION)
        assert torch.equal(tensor, base[name]) != trained, name


def test_the_encoder_that_training_returns_is_causal_and_measures_as_the_folder(whole: Path) -> None:
    encoder = bw.train(made(whole.parent), whole, resume=True, texts=TEXTS)
    assert (encoder.direction, encoder.max_length) == ("causal", 64)
    (entry,) = encoder.provenance["stages"]
    assert (entry["name"], entry["steps"]) == ("longlora", 6)
    assert entry["merge_difference"] < 1e-5
    assert encoder.provenance["origin"] == str(whole.parent / "base")
    task = Perplexity(TEXTS, name="perplexity", length=32, stride=16)
    folder = load_language_model(whole, dtype="float32", device="cpu")
    assert folder.positions == 64
    found = bw.evaluate(folder, [task])[task.name]["perplexity"]
    with as_language_model(encoder) as model:
        torch.testing.assert_close(model.token_losses(IDS[None]), folder.token_losses(IDS[None]), atol=1e-4, rtol=1e-4)
    untrained = bw.evaluate(load_language_model(whole.parent / "base", dtype="float32", device="cpu"), [task])[task.name]
    assert found < untrained["perplexity"]


def test_the_adapter_is_kept_and_merges_to_the_same_decoder(whole: Path) -> None:
    kept = whole / "adapters" / "1-longlora"
    again = bw.convert(
        whole.parent / "base", adapter=kept, rope={"context": 64}, direction="causal", dtype="float32", device="cpu"
    )
    state_dict = again.backbone.state_dict()
    for name, tensor in weights(whole).items():
        if name.startswith("model."):
            torch.testing.assert_close(state_dict[name.removeprefix("model.")], tensor, atol=1e-6, rtol=1e-6, msg=name)


def test_the_kept_adapter_brings_its_positions(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = whole / "adapters" / "1-longlora"
    with caplog.at_level("INFO", logger="bothways"):
        again = bw.convert(whole.parent / "base", adapter=kept, direction="causal", dtype="float32", device="cpu")
    assert again.backbone.config.rope_parameters["factor"] == 2.0
    assert (again.max_length, again.backbone.config.max_position_embeddings) == (64, 64)
    assert "was trained with positions for 64 tokens (linear)" in caplog.text
    # and lost parameters are noticed
    (kept / WHOLE).rename(kept / "away")
    try:
        with pytest.raises(InputError, match=r"trainable_params.safetensors is missing; \d+ parameters were trained in full"):
            bw.convert(whole.parent / "base", adapter=kept, dtype="float32", device="cpu")
    finally:
        (kept / "away").rename(kept / WHOLE)


@pytest.mark.parametrize("tied", [True, False])
def test_training_goes_on_from_base_and_adapter_as_from_what_they_make(tmp_path: Path, tied: bool, caplog) -> None:
    bw.train(made(tmp_path, tied=tied), tmp_path / "out", texts=TEXTS)
    kept = tmp_path / "out" / "adapters" / "1-longlora"
    # MNTP: its head must be of the trained embeddings, where it is tied to them
    one = made(tmp_path, mntp(adapter=None), base_adapter=str(kept), rope=None, save_dtype="float32")
    other = made(tmp_path, mntp(adapter=None), base=str(tmp_path / "out"), rope=None, save_dtype="float32")
    for name, chosen in (("one", one), ("other", other)):
        bw.train(chosen, tmp_path / name, texts=TEXTS)
    losses = [state(tmp_path / name, "1-mntp", 8)["losses"][0] for name in ("one", "other")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    # a second round: its adapter says what was merged before it
    again = made(tmp_path, longlora(name="again"), base_adapter=str(kept), rope=None)
    bw.train(again, tmp_path / "again", texts=TEXTS)
    merged = bw.convert(
        tmp_path / "base",
        adapter=tmp_path / "again" / "adapters" / "1-again",
        direction="causal",
        dtype="float32",
        device="cpu",
    )
    expected = weights(tmp_path / "again")["model.layers.0.self_attn.q_proj.weight"]
    torch.testing.assert_close(merged.backbone.layers[0].self_attn.q_proj.weight, expected, atol=1e-6, rtol=1e-6)
    # nobody has lost a head in all of this
    assert "a head of its own" not in caplog.text


def test_a_head_that_an_encoder_could_not_keep_is_named(tmp_path: Path, caplog) -> None:
    first, second = mntp(adapter=None, name="first"), mntp(name="second")
    chosen = made(tmp_path, first, second, tied=False, rope=None, max_length=32)
    bw.train(chosen, tmp_path / "out", texts=TEXTS)
    assert "stages.second: an earlier stage trained every weight and a head of its own" in caplog.text


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_with_a_token_of_its_own_trains_on(tmp_path: Path, tied: bool) -> None:
    """LongLoRA's published adapters have one row more than their base, for padding."""
    bw.train(made(tmp_path, tied=tied), tmp_path / "out", texts=TEXTS)
    kept = tmp_path / "out" / "adapters" / "1-longlora"
    whole = load_file(kept / WHOLE)
    embeddings = whole["model.embed_tokens.weight"]
    whole["model.embed_tokens.weight"] = torch.cat([embeddings, embeddings.mean(0, keepdim=True)])
    save_file(whole, kept / WHOLE, metadata={"format": "pt"})
    chosen = made(tmp_path, longlora(name="again"), base_adapter=str(kept), rope=None)
    bw.train(chosen, tmp_path / "again", texts=TEXTS)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32)
    rows = len(embeddings) + 1
    assert model.config.vocab_size == rows
    assert model.get_input_embeddings().weight.shape[0] == model.get_output_embeddings().weight.shape[0] == rows
    assert logits_of(tmp_path / "again").shape[1] == rows


def test_losses_are_read_with_groups_in_training_and_in_full_when_held_out(tmp_path: Path) -> None:
    source = tmp_path / "held.jsonl"
    source.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    chosen = made(tmp_path, longlora(heldout={"data": {"source": str(source)}, "every": 3}, optim={"lr": 1e-2, "steps": 3}))
    bw.train(chosen, tmp_path / "out", texts=TEXTS)
    read = [line for line in metrics(tmp_path / "out") if "heldout_loss" in line]
    assert [line["step"] for line in read] == [3]
    # the rows of the objective, read by transformers with full attention
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    stream = [
        token for text in TEXTS for token in [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    ]
    rows = torch.tensor(stream[:-1])[: (len(stream) - 1) // 64 * 64].view(-1, 64)
    with torch.no_grad():
        expected = float(model(input_ids=rows, labels=rows).loss)
    assert read[0]["heldout_loss"] == pytest.approx(expected, rel=1e-4)
    assert read[0]["heldout_perplexity"] == pytest.approx(math.exp(expected), rel=1e-4)


# --- resuming, precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 4])
def test_resuming_equals_the_uninterrupted_run(whole: Path, tmp_path: Path, monkeypatch, step: int) -> None:
    chosen, out = made(whole.parent), tmp_path / "out"
    plain = Stepper.__call__

    def with_signal(self, number, lr, *, interrupted=False):
        if number + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", with_signal)
        with pytest.raises(Interrupted):
            bw.train(chosen, out, texts=TEXTS)
    assert not (out / "config.json").exists()
    bw.train(chosen, out, resume=True, texts=TEXTS)
    assert state(out, "1-longlora", 6)["losses"] == state(whole, "1-longlora", 6)["losses"]
    assert metrics(out) == metrics(whole)
    one, other = weights(whole), weights(out)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_bfloat16_trains_in_float32_and_merges_into_what_was_stored(tmp_path: Path) -> None:
    encoder = bw.train(made(tmp_path, dtype="bfloat16"), tmp_path / "out", texts=TEXTS)
    assert {parameter.dtype for parameter in encoder.backbone.parameters()} == {torch.bfloat16}
    saved = load_file(tmp_path / "out" / "checkpoints" / "1-longlora" / "step-00000006" / "trainable.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert "encoder.backbone.embed_tokens.weight" in saved
    base, out = weights(tmp_path / "base"), weights(tmp_path / "out")
    assert torch.equal(out["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])
    assert torch.equal(out["model.embed_tokens.weight"], saved["encoder.backbone.embed_tokens.weight"])
    torch.testing.assert_close(logits_of(tmp_path / "out"), logits_of_checkpoint(tmp_path / "out", 6), atol=1e-4, rtol=1e-4)


def test_saved_in_bfloat16_on_request(tmp_path: Path) -> None:
    bw.train(made(tmp_path, save_dtype="bfloat16"), tmp_path / "out", texts=TEXTS)
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_can_train_the_head_too(tmp_path: Path, tied: bool) -> None:
    bw.train(made(tmp_path, longlora(adapter=None), tied=tied), tmp_path / "out", texts=TEXTS)
    base, out = weights(tmp_path / "base"), weights(tmp_path / "out")
    assert ("lm_head.weight" in out) is not tied
    assert all(not torch.equal(out[name], base[name]) for name in base)
    found = logits_of_checkpoint(tmp_path / "out", 6, lora=False)
    torch.testing.assert_close(logits_of(tmp_path / "out"), found, atol=1e-5, rtol=1e-5)
    assert not (tmp_path / "out" / "adapters").exists()


def test_gradient_checkpointing_changes_nothing(whole: Path, tmp_path: Path) -> None:
    bw.train(made(whole.parent, longlora(gradient_checkpointing=False)), tmp_path / "out", texts=TEXTS)
    losses = [state(folder, "1-longlora", 6)["losses"] for folder in (whole, tmp_path / "out")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


# --- stages together -----------------------------------------------------------------------------------------------------------


def test_encoder_stages_go_on_from_the_language_model(tmp_path: Path, monkeypatch) -> None:
    heads = []
    plain = product.open_head

    def watched(context, encoder, dtype, **options):
        heads.append((context.index, plain(context, encoder, dtype, **options)))
        return heads[-1][1]

    monkeypatch.setattr(product, "open_head", watched)
    chosen = made(tmp_path, longlora(), mntp(), simcse(), pooling="weighted_mean")
    encoder = bw.train(chosen, tmp_path / "out", texts=TEXTS)
    assert (encoder.direction, encoder.pooling.mode, encoder.max_length) == ("bidirectional", "weighted_mean", 64)
    assert [stage["name"] for stage in encoder.provenance["stages"]] == ["longlora", "mntp", "simcse"]
    assert encoder.provenance["origin"] == str(tmp_path / "base")
    assert encoder.backbone.config.rope_parameters["factor"] == 2.0
    trained = tmp_path / "out" / "stages" / "1-longlora"
    # MNTP predicts with the head of the language model that was trained, not with the base's
    head = next(found for index, found in heads if index == 1)
    assert torch.equal(head.causal.lm_head.weight, weights(trained)["model.embed_tokens.weight"])
    # and by hand: the language model's folder as the base of what follows, which its history tells
    other = Recipe.from_values({**chosen.resolved(), "base": str(trained), "rope": None, "stages": [mntp()]})
    alone = bw.train(other, tmp_path / "other", texts=TEXTS)
    assert [stage["name"] for stage in alone.provenance["stages"]] == ["longlora", "mntp"]
    first, second = (
        bw.convert(place, dtype="float32", device="cpu").encode(TEXTS[:3]) for place in (trained, tmp_path / "base")
    )
    assert np.abs(first - second).max() > 1e-2


def test_a_second_language_model_stage_goes_on_from_the_first(tmp_path: Path) -> None:
    second = longlora(name="again", objective={"kind": "causal_lm", "context": 32, "shifted": None})
    bw.train(made(tmp_path, longlora(), second), tmp_path / "out", texts=TEXTS)
    ours = json.loads((tmp_path / "out" / "bothways.json").read_text())
    assert [stage["name"] for stage in ours["stages"]] == ["longlora", "again"]
    assert ours["kind"] == "language model"
    first = weights(tmp_path / "out" / "stages" / "1-longlora")
    assert not torch.equal(weights(tmp_path / "out")["model.norm.weight"], first["model.norm.weight"])


def test_a_gguf_base_trains_too(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    file = tiny_gguf(tmp_path / "x.gguf", tiny_llama(tmp_path / "llama", max_position_embeddings=32, tie_word_embeddings=True))
    chosen = made(tmp_path, longlora(optim={"lr": 1e-2, "steps": 2}), base=str(file))
    bw.train(chosen, tmp_path / "out", texts=TEXTS)
    assert load_language_model(tmp_path / "out", device="cpu").rope["factor"] == 2.0
    assert torch.isfinite(logits_of(tmp_path / "out")).all()


def test_dry_run_counts_and_writes_nothing(tmp_path: Path) -> None:
    chosen = made(tmp_path, longlora(), mntp())
    before = sorted(tmp_path.rglob("*"))
    plan = bw.train(chosen, dry_run=True, texts=TEXTS)
    assert sorted(tmp_path.rglob("*")) == before
    assert [stage.name for stage in plan.stages] == ["longlora", "mntp"]
    # factors of q, k, v, o (32 by 32, 16, 16, 32) at rank 4, embeddings and five norms
    assert plan.stages[0].trainable == 2 * 4 * (2 * 64 + 2 * 48) + 384 * 32 + 5 * 32
    assert plan.stages[0].tokens == 6 * 4 * 64


@pytest.mark.parametrize(
    ("stages", "changes", "message"),
    [
        ([mntp(), longlora()], {}, r"stages\.longlora: trains a language model, but the stage before it leaves an encoder"),
        ([longlora(eval={"metric": "stdlib", "every": 1})], {}, r"stages\.longlora\.eval: a language model has no vectors"),
        ([longlora(), mntp()], {"rope": {"type": "dynamic", "context": 64}}, r"rope\.type: dynamic frequencies"),
        ([longlora()], {"rope": {"type": "nope", "context": 64}}, r"rope\.type"),
        ([longlora(objective={"kind": "causal_lm", "shifted": {"ratio": 2}})], {}, "ratio"),
        ([longlora(objective={"kind": "causal_lm", "shifted": {"rato": 0.5}})], {}, "rato"),
    ],
)
def test_recipes_that_cannot_be_run(
    tmp_path: Path, stages: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        made(tmp_path, *stages, **changes)
    assert "\n" not in str(caught.value)


def test_a_finished_encoder_is_no_start(tmp_path: Path) -> None:
    tiny_llama(tmp_path / "base", max_position_embeddings=32)
    bw.convert(tmp_path / "base", dtype="float32", device="cpu").save(tmp_path / "encoder")
    for stage, rope, message in ((longlora(), None, "trains a language model"), (mntp(), {"context": 64}, "rope: sets")):
        with pytest.raises(InputError, match=message):
            bw.train(made(tmp_path, stage, base=str(tmp_path / "encoder"), rope=rope), tmp_path / stage["name"], texts=TEXTS)


def test_a_recipe_from_before_these_keys_is_the_same_recipe(tmp_path: Path) -> None:
    from bothways.training.recipe.recipe_changes import changed_keys

    now = recipe(tmp_path).resolved()
    before = json.loads(json.dumps(now))
    del before["rope"]
    for stage in before["stages"]:
        del stage["adapter"]["train_whole"]
        assert stage["objective"].pop("shifted", None) is None
    assert changed_keys(before, now) == []


@pytest.mark.parametrize("content", ["", "[]", "null", '{"kind": "language model"}'])
def test_the_record_of_a_language_model(tmp_path: Path, content: str) -> None:
    (tmp_path / "bothways.json").write_text(content)
    with pytest.raises(InputError, match=r"bothways\.json: "):
        history(str(tmp_path))
