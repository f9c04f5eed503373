"""LLM2Vec's 24 word-task configurations: each is followed, and `bothways train FILE --data
CONLL2003` trains and tests its probe.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModel

import bothways as bw
from bothways.errors import InputError
from bothways.evaluation.probing.linear_probe import ProbeSettings
from bothways.evaluation.tasks.words import Words
from bothways.training.recipe.llm2vec_words import is_word_task, read_word_task
from bothways.training.recipe.recipe_files import read_recipe
from tiny import tiny_llama
from unit.cli.cli_runner import runner
from unit.evaluation.word_material import write_conll
from unit.training.recipe.test_recipe_files import MNTP, SUPERVISED, write

MODELS = {
    "ShearedLlama": ("princeton-nlp/Sheared-LLaMA-1.3B", "Sheared-LLaMA"),
    "Llama2": ("meta-llama/Llama-2-7b-chat-hf", "Llama-2-7b-chat-hf"),
    "Mistral": ("mistralai/Mistral-7B-Instruct-v0.2", "Mistral-7B-Instruct-v2"),
}
KINDS = ("uni", "bi", "bi-mntp", "bi-mntp-simcse")


def published(model: str, kind: str, *, test: bool = False) -> dict[str, Any]:
    """Keys and values of train_configs/word-task/MODEL-KIND.json and of its namesake in
    test_configs (McGill-NLP/llm2vec @312adcf).
    """
    base, short = MODELS[model]
    mntp = f"McGill-NLP/LLM2Vec-{short}-mntp"
    name, adapter = {"bi-mntp": (base, mntp), "bi-mntp-simcse": (mntp, f"{mntp}-unsup-simcse")}.get(kind, (base, None))
    values: dict[str, Any] = {
        "model_name_or_path": name,
        **({"peft_addr": adapter} if adapter else {}),
        "model_class": "custom",
        "bidirectional": kind != "uni",
        "classifier_dropout": 0.1,
        "torch_dtype": "bfloat16",
        "attn_implementation": "flash_attention_2",
        "merge_subwords": True,
        "retroactive_labels": "next_token" if "mntp" in kind else "same_token",
        "output_dir": f"output/word-task/pos_tags/{model}/{kind}",
        "dataset_name": "conll2003",
        "task": "pos_tags",
    }
    if test:
        return {**values, "cls_addr": f"output/word-task/pos_tags/{model}/{kind}/checkpoint-3000", "max_seq_length": 512}
    training = {
        "num_train_epochs": 10,
        "learning_rate": 5e-4,
        "do_train": True,
        "save_steps": 250,
        "logging_steps": 50,
        "save_strategy": "steps",
        "do_eval": True,
        "eval_steps": 500,
        "evaluation_strategy": "steps",
        "overwrite_output_dir": True,
        "stop_after_n_steps": 4000,
        "remove_unused_columns": False,
    }
    return {**values, **training}


@pytest.mark.parametrize(("model", "kind", "test"), list(product(MODELS, KINDS, (False, True))))
def test_every_published_configuration_is_followed(tmp_path: Path, model: str, kind: str, test: bool) -> None:
    values = published(model, kind, test=test)
    path = write(tmp_path, values)
    assert is_word_task(path)
    config = read_word_task(path)
    assert config.probe == ProbeSettings()  # they are what our task has as defaults
    for key in ("model_name_or_path", "bidirectional", "retroactive_labels", "task", "output_dir"):
        assert getattr(config, key) == values[key]
    assert config.peft_addr == values.get("peft_addr")
    with pytest.raises(
        InputError, match=r"word-level probe, which does not train an encoder; .*bothways train .*config.json --data FOLDER"
    ):
        read_recipe(path)


def test_settings_that_are_not_the_published_ones(tmp_path: Path) -> None:
    changed = {"classifier_dropout": 0.2, "learning_rate": 1e-3, "per_device_train_batch_size": 4, "stop_after_n_steps": 300}
    changed |= {"num_train_epochs": 2, "eval_steps": 20}
    training = read_word_task(write(tmp_path, {**published("Llama2", "bi"), **changed}))
    assert training.probe == ProbeSettings(dropout=0.2, lr=1e-3, batch_size=4, steps=300, epochs=2.0, dev_every=20)
    test = read_word_task(write(tmp_path, {**published("Llama2", "bi", test=True), "classifier_dropout": 0.2}))
    assert test.probe == ProbeSettings(dropout=0.2)
    bare = {key: value for key, value in published("Llama2", "bi", test=True).items() if key != "classifier_dropout"}
    assert read_word_task(write(tmp_path, bare)).probe == ProbeSettings()


def test_another_base_takes_the_adapters_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "bothways"):
        config = read_word_task(write(tmp_path, published("Llama2", "bi-mntp")), base="mine")
    assert (config.model_name_or_path, config.peft_addr) == ("mine", None)
    assert "peft_addr belongs to the replaced base" in caplog.text


def test_what_is_none_of_them(tmp_path: Path) -> None:
    for values in (MNTP, SUPERVISED):
        assert not is_word_task(write(tmp_path, values))
    assert not is_word_task("llm2vec")
    for change, message in (
        ({"model_class": "auto"}, "bothways evaluate meta-llama/Llama-2-7b-chat-hf --task 'words:FOLDER"),
        ({"merge_subwords": False}, "merge_subwords"),
        ({"retroactive_labels": "next_word"}, "retroactive_labels"),
        ({"clasifier_dropout": 0.2}, "unknown key 'clasifier_dropout'; did you mean 'classifier_dropout'"),
    ):
        with pytest.raises(InputError, match=message):
            read_word_task(write(tmp_path, {**published("Llama2", "bi"), **change}))


@pytest.mark.parametrize("kind", ["uni", "bi-mntp"])
def test_the_command_trains_and_tests_the_probe(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    base, data = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True}), write_conll(tmp_path / "conll")
    values = {**published("Llama2", kind), "model_name_or_path": str(base), "output_dir": str(tmp_path / "out")}
    values |= {"stop_after_n_steps": 40, "eval_steps": 20, "learning_rate": 5e-2}
    if "peft_addr" in values:
        values["peft_addr"] = str(tmp_path / "adapter")
        adapted = get_peft_model(
            AutoModel.from_pretrained(base), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
        )
        adapted.save_pretrained(values["peft_addr"])
    path = write(tmp_path, values)
    run = runner(capsys)
    dry = run("train", path, "--data", data, "--dry-run")
    assert dry.code == 0
    assert not (tmp_path / "out").exists()
    done = run("train", path, "--data", data)
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "out" / "results.json").read_text())["tasks"][f"words:{data}"]["metrics"]
    options = {"direction": "causal" if kind == "uni" else "bidirectional", "adapter": values.get("peft_addr")}
    encoder = bw.convert(base, max_length=512, device="cpu", **options)
    probe = ProbeSettings(lr=5e-2, steps=40, dev_every=20)
    alignment = values["retroactive_labels"]
    expected = bw.evaluate(encoder, [Words(data, alignment=alignment, probe=probe, name="w")], seed=42)["w"]
    assert metrics == expected
    assert metrics["accuracy[pos]"] > 0.3  # one word in nine has the commonest tag or two
    assert f"accuracy[pos]            {metrics['accuracy[pos]']:.4f}" in done.out
    for words, message in (((), "needs the folder of CoNLL-2003"), (("--data", data, "--resume"), "takes only --base, --data")):
        refused = run("train", path, *words)
        assert refused.code == 2
        assert message in refused.err
