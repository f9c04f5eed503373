"""LLaRA in the trainer: documents as data, new rows beside an adapter, two stages, resuming, the
named collapse, the command line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.backbone.loading.sources import load_pretrained
from bothways.data.labeled.example import Example
from bothways.data.text.passages import Passage
from bothways.errors import InputError
from bothways.evaluation.language_model.embedding_words import embedding_words
from bothways.recipes.llara import FORMS
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.collapse import Collapse
from bothways.training.stage.stage_data import read_stage_data
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import runner
from unit.training.material import metrics, recipe, weights

DOCUMENTS = [" ".join(f"{sentence} Again {number}." for number in range(3) for sentence in SENTENCES[k:]) for k in range(4)]
ROWS = [Example(f"{sentence} why", (sentence,), (SENTENCES[number - 1],)) for number, sentence in enumerate(SENTENCES)]


def adaptation(**changes: Any) -> dict[str, Any]:
    return {
        "name": "adaptation",
        "objective": {"kind": "llara", "max_length": 128, **changes.pop("objective", {})},
        "data": {"source": "python-stdlib"},
        "batch": {"size": 2, "accumulation": 2},
        "optim": {"lr": 1e-3, "steps": 6},
        "adapter": {"r": 4, "dropout": 0.2},
        "save_every": 3,
        "log_every": 2,
        **changes,
    }


def finetune(**changes: Any) -> dict[str, Any]:
    return {
        "name": "finetune",
        "objective": {"kind": "supervised", "scale": 100.0, "max_length": 96, "negatives": 1},
        "data": {"source": "python-stdlib"},
        "batch": {"size": 4},
        "optim": {"lr": 1e-3, "steps": 4},
        "adapter": {"r": 4, "dropout": 0.0},
        "log_every": 2,
        **changes,
    }


def llara(folder: Path, *stages: dict[str, Any], mode: str = "code", **changes: Any) -> Recipe:
    form = FORMS[mode]
    encoder = {
        "direction": "causal",
        "pooling": form.pooling,
        "prompts": form.prompts,
        "default_prompt": "document",
        "new_tokens": form.new_tokens and list(form.new_tokens),
    }
    return recipe(folder, *(stages or (adaptation(),)), **{**encoder, **changes})


def test_two_stages_keep_prompts_tokens_and_pooling(tmp_path):
    chosen = llara(tmp_path, adaptation(), finetune(refresh={"every": 2, "negatives": 1}))
    encoder = bw.train(chosen, tmp_path / "out", texts={"adaptation": DOCUMENTS, "finetune": ROWS})
    assert encoder.prompts == FORMS["code"].prompts and encoder.pooling.tokens == 8 and encoder.direction == "causal"
    first = bw.load(tmp_path / "out" / "stages" / "1-adaptation", device="cpu", dtype="float32")
    for each in (first, encoder):
        ids = each.tokenizer.convert_tokens_to_ids(list(FORMS["code"].new_tokens))
        assert len(set(ids)) == 16 and each.backbone.get_input_embeddings().weight.shape[0] == max(ids) + 1
    # rows of the new tokens move in the adaptation and no others, and none of them afterwards
    table = weights(tmp_path / "out" / "stages" / "1-adaptation")["embed_tokens.weight"]
    base = weights(tmp_path / "base")["model.embed_tokens.weight"]
    assert torch.equal(table[: len(base)], base)
    assert torch.equal(weights(tmp_path / "out")["embed_tokens.weight"], table)
    untrained = bw.train(llara(tmp_path, adaptation(optim={"lr": 1e-12, "steps": 1})), tmp_path / "still", texts=DOCUMENTS)
    still = untrained.backbone.get_input_embeddings().weight.detach()
    moved = (table - still).abs().amax(1)
    assert bool((moved[len(base) :] > 1e-4).all()), "every one of the sixteen is in every row"
    stages = encoder.provenance["stages"]
    assert [stage["merge_difference"] < 1e-3 for stage in stages] == [True, True]
    assert stages[0]["trainable"] - stages[1]["trainable"] == 16 * 32
    lines = metrics(tmp_path / "out")
    assert {"summarize", "predict", "text", "accuracy"} <= set().union(*lines)
    assert any("refreshed" in line for line in lines)
    queries, documents = encoder.encode_query(SENTENCES), encoder.encode_document(SENTENCES)
    assert np.abs(queries - documents).max() > 1e-3
    np.testing.assert_array_equal(encoder.encode(list(SENTENCES)), documents)


def test_the_adapters_that_are_kept_bring_the_new_tokens(tmp_path):
    """Rows of tokens that the base does not have lie beside the factors, so either stage can be had
    from the plain base.
    """
    stages = adaptation(keep="adapter"), finetune(keep="adapter")
    out = tmp_path / "out"
    encoder = bw.train(llara(tmp_path, *stages), out, texts={"adaptation": DOCUMENTS, "finetune": ROWS})
    bw.train(llara(tmp_path, adaptation(), finetune()), tmp_path / "merged", texts={"adaptation": DOCUMENTS, "finetune": ROWS})
    assert not (out / "model.safetensors").exists()
    for place in (out, out / "adapters" / "2-finetune"):
        again = bw.load(place, dtype="float32", device="cpu")
        assert again.prompts == encoder.prompts
        assert again.pooling.tokens == 8
        table = weights(tmp_path / "merged")["embed_tokens.weight"]
        assert torch.equal(again.backbone.get_input_embeddings().weight, table)
        merged = bw.load(tmp_path / "merged", dtype="float32", device="cpu")
        np.testing.assert_allclose(again.encode_query(SENTENCES), merged.encode_query(SENTENCES), atol=2e-5)


def test_resuming_equals_running_through(tmp_path):
    chosen = llara(tmp_path)
    bw.train(chosen, tmp_path / "whole", texts=DOCUMENTS)
    short = llara(tmp_path, adaptation(optim={"lr": 1e-3, "steps": 6, "stop_after_steps": 3}))
    bw.train(short, tmp_path / "part", texts=DOCUMENTS)
    for name in ("bothways.json", "modules.json"):
        (tmp_path / "part" / name).unlink()
    (tmp_path / "part" / "recipe.yaml").write_text(chosen.to_yaml())
    place = next((tmp_path / "part" / "checkpoints" / "1-adaptation").glob("step-*3")) / "state.json"
    state = json.loads(place.read_text())
    state["facts"]["recipe"] = chosen.fingerprint()
    place.write_text(json.dumps(state))
    bw.train(chosen, tmp_path / "part", resume=True, texts=DOCUMENTS)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "part")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes", [{"adapter": None}, {"gradient_checkpointing": True}, {"objective": {"text_loss": "none"}}], ids=str
)
def test_other_ways_to_train(tmp_path, changes):
    chosen = llara(tmp_path, adaptation(**changes))
    encoder = bw.train(chosen, tmp_path / "out", texts=DOCUMENTS)
    assert np.isfinite(encoder.encode(list(SENTENCES))).all()
    losses = [line["loss"] for line in metrics(tmp_path / "out") if "loss" in line]
    assert np.isfinite(losses).all()


def test_in_bfloat16_rows_and_factors_are_merged_in_float32(tmp_path):
    chosen = llara(tmp_path, dtype="bfloat16")
    encoder = bw.train(chosen, tmp_path / "out", texts=DOCUMENTS)
    assert encoder.provenance["stages"][0]["merge_difference"] < 1e-4
    assert weights(tmp_path / "out")["embed_tokens.weight"].dtype == torch.float32
    base = weights(tmp_path / "base")["model.embed_tokens.weight"]
    assert torch.equal(weights(tmp_path / "out")["embed_tokens.weight"][: len(base)], base), "not the rounded ones"


def test_bidirectional_and_paper_forms(tmp_path):
    for name, options in (("bi", {"direction": "bidirectional"}), ("paper", {"mode": "paper"})):
        stage = adaptation(objective={**FORMS["paper"].objective} if name == "paper" else {})
        encoder = bw.train(llara(tmp_path, stage, **options), tmp_path / name, texts=DOCUMENTS)
        assert encoder.direction == options.get("direction", "causal")
        assert encoder.pooling.mode == ("last" if name == "paper" else "last_tokens")
        again = bw.load(tmp_path / name, device="cpu", dtype="float32")
        np.testing.assert_array_equal(again.encode_query(SENTENCES), encoder.encode_query(SENTENCES))


def test_the_known_collapse_is_named_within_the_first_steps(tmp_path):
    """Bags of words alone at a high rate: all vectors become one, and the message says why and what
    to do.
    """
    stage = adaptation(
        objective=FORMS["paper"].objective, optim={"lr": 0.05, "steps": 60}, adapter=None, on_collapse="stop", save_every=None
    )
    with pytest.raises(Collapse, match="bag-of-words loss without a text loss is known to end here") as caught:
        bw.train(llara(tmp_path, stage, mode="paper"), tmp_path / "out", texts=DOCUMENTS)
    assert "stage adaptation at step 10" in str(caught.value) and "\n" not in str(caught.value)


def test_documents_as_data(tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text(DOCUMENTS[0])
    (tmp_path / "books" / "two.jsonl").write_text(
        json.dumps({"input": "a", "output_summarize": "b", "output_predict": "c"}) + "\n"
    )
    stage = llara(tmp_path, adaptation(data={"source": str(tmp_path / "books")})).stages[0]
    data = read_stage_data(stage)
    assert data.items == [DOCUMENTS[0], Passage("a", "b", "c")]
    assert data.origin[0]["documents"] == 2 and data.origin[0]["sha256"] == data.fingerprint
    assert all(len(text) <= 400 for text in data.texts) and "a" in data.texts
    assert read_stage_data(stage, DOCUMENTS).fingerprint != data.fingerprint
    with pytest.raises(InputError, match=r"texts\[0\]: the objective learns from documents"):
        read_stage_data(stage, [3])
    for key, value, message in (
        ("dialect", "flagembedding", "data.dialect: has no meaning for the objective llara, which learns from documents"),
        ("unit", "page", "data.unit"),
    ):
        with pytest.raises(InputError, match=message):
            llara(tmp_path, adaptation(data={"source": "python-stdlib", key: value}))
    with pytest.raises(
        InputError, match=r"data.unit: has no meaning for the objective supervised, which learns from labeled rows"
    ):
        llara(tmp_path, finetune(data={"source": "python-stdlib", "unit": "line"}))


def test_a_recipe_without_new_tokens_is_the_one_that_it_was(tmp_path):
    from bothways.training.recipe.recipe_changes import binding

    resolved = recipe(tmp_path).resolved()
    assert "new_tokens" in resolved and not {key for key in binding(resolved) if "new_tokens" in key or "unit" in key}


def test_the_command_line_trains_and_estimates(tmp_path, capsys):
    run = runner(capsys)
    llara(tmp_path)  # saves the base
    book = tmp_path / "book.txt"
    book.write_text(" ".join(DOCUMENTS))
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"query": row.query, "pos": list(row.positives), "neg": []}) + "\n" for row in ROWS))
    common = ["train", "llara", "--base", str(tmp_path / "base"), "--data", str(book), "--preset", "laptop"]
    common += ["--option", f"supervised={rows}", "--set", "dtype=float32"]
    for name, size in (("adaptation", 2), ("finetune", 4)):
        common += ["--set", f"stages.{name}.optim.steps=2", "--set", f"stages.{name}.optim.warmup_steps=0"]
        common += ["--set", f"stages.{name}.batch.size={size}"]
    common += ["--set", "stages.finetune.refresh.every=1", "--set", "stages.finetune.data.mine.window=[1, 7]"]
    common += ["--set", "stages.finetune.refresh.window=[1, 7]"]
    dry = run(*common, "--dry-run")
    assert dry.code == 0, dry.err
    assert "adaptation:" in dry.out + dry.err and "<s16>" in dry.out
    done = run(*common, "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "last_tokens pooling" in done.out + done.err


def test_an_encoder_that_is_not_what_the_recipe_says_is_refused(tmp_path):
    """Prompts for one pooling read with another would be silent nonsense."""
    paper, code = tmp_path / "paper", tmp_path / "code"
    bw.train(llara(tmp_path, adaptation(optim={"steps": 1}), mode="paper"), paper, texts=DOCUMENTS)
    bw.train(llara(tmp_path, adaptation(optim={"steps": 1})), code, texts=DOCUMENTS)

    def tried(base, mode, **changes):
        bw.train(
            llara(tmp_path, finetune(optim={"steps": 1}), mode=mode, base=str(base), **changes), tmp_path / "out", texts=ROWS
        )

    with pytest.raises(
        InputError, match=r"^pooling: .*paper has last pooling, but the recipe .* last_tokens, which its prompts"
    ):
        tried(paper, "code")
    with pytest.raises(
        InputError, match=r"^pooling: .*code has last_tokens pooling, .* set pooling=\{'mode': 'last_tokens', 'tokens': 8\}"
    ):
        tried(code, "paper")
    with pytest.raises(
        InputError, match=r"^direction: .*code is a causal encoder and the recipe .* is bidirectional; set direction=causal"
    ):
        tried(code, "code", direction="bidirectional")
    with pytest.raises(InputError, match=r"^new_tokens: .*paper has no <s1>, and no stage of the recipe .* trains it"):
        tried(paper, "code", pooling="last")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tied", [True, False])
def test_a_stage_after_full_training_reads_the_embeddings_that_were_trained(tmp_path, tied, caplog):
    """A frozen head from the base would not fit the states; an untied one is not kept, and that is
    said.
    """
    stage = adaptation(adapter=None, optim={"lr": 5e-3, "steps": 40, "schedule": "constant"})
    tiny_llama(tmp_path / "base", tie_word_embeddings=tied)
    first = llara(tmp_path, stage)
    encoder = bw.train(first, tmp_path / "full", texts=DOCUMENTS)
    found = {}
    for name, adapter in (("lora", {"r": 4, "dropout": 0.0}), ("whole", None)):
        stage = adaptation(adapter=adapter, optim={"lr": 1e-12, "steps": 2})
        bw.train(llara(tmp_path, stage, base=str(tmp_path / "full")), tmp_path / name, texts=DOCUMENTS)
        found[name] = metrics(tmp_path / name)[1]["text"]
    if tied:
        start = metrics(tmp_path / "full")[1]["text"]
        # where every weight trains the head is the embeddings themselves, those of the new tokens
        # with them
        assert found["lora"] == pytest.approx(found["whole"], abs=0.05) and start - found["lora"] > 1
        table = encoder.backbone.get_input_embeddings().weight
        head = load_pretrained(tmp_path / "base", dtype="float32", device="cpu", head=True).head
        head.tie(encoder.backbone)
        assert (
            embedding_words(encoder, SENTENCES[:1])[0].summary == embedding_words(encoder, SENTENCES[:1], head=head)[0].summary
        )
        assert len(table) == len(head.causal.lm_head.weight)
    else:
        assert "an earlier stage trained every weight and a head of its own, which encoders do not keep" in caplog.text


def test_a_perplexity_is_the_text_s_own(tmp_path):
    """The bags of words are no likelihood."""
    held = tmp_path / "held.txt"
    held.write_text("\n".join(DOCUMENTS), encoding="utf-8")
    for loss in ("next_token", "none"):
        stage = adaptation(
            objective={"text_loss": loss}, optim={"steps": 1}, heldout={"data": {"source": str(held)}, "every": 1}
        )
        bw.train(llara(tmp_path, stage), tmp_path / loss, texts=DOCUMENTS)
        (line,) = [line for line in metrics(tmp_path / loss) if "heldout_loss" in line]
        if loss == "none":
            assert "heldout_perplexity" not in line
        else:
            assert line["heldout_perplexity"] == pytest.approx(np.exp(line["heldout_text"]))
