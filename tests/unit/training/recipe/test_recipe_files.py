"""Recipe files: our YAML, LLM2Vec's configurations as published, and what is refused in them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from bothways import recipes
from bothways.errors import InputError
from bothways.training.recipe.recipe_files import output_dir, read_recipe
from unit.training.material import TEXTS, mntp, recipe, simcse

# Keys and values of train_configs/mntp/Mistral.json and train_configs/simcse/Mistral.json
# (McGill-NLP/llm2vec @312adcf).
MNTP: dict[str, Any] = {
    "model_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2",
    "dataset_name": "wikitext",
    "dataset_config_name": "wikitext-103-raw-v1",
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 32,
    "gradient_accumulation_steps": 1,
    "do_train": True,
    "do_eval": True,
    "max_seq_length": 512,
    "mask_token_type": "blank",
    "data_collator_type": "all_mask",
    "mlm_probability": 0.8,
    "overwrite_output_dir": True,
    "output_dir": "output/mntp/Mistral-7B-Instruct-v0.2",
    "evaluation_strategy": "steps",
    "eval_steps": 100,
    "save_steps": 200,
    "stop_after_n_steps": 1000,
    "lora_r": 16,
    "gradient_checkpointing": True,
    "torch_dtype": "bfloat16",
    "attn_implementation": "flash_attention_2",
}
SIMCSE: dict[str, Any] = {
    "model_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2",
    "peft_model_name_or_path": "McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp",
    "simcse_dropout": 0.3,
    "bidirectional": True,
    "pooling_mode": "mean",
    "dataset_name": "Wiki1M",
    "dataset_file_path": "cache/wiki1m_for_simcse.txt",
    "remove_unused_columns": False,
    "learning_rate": 3e-5,
    "loss_scale": 20,
    "per_device_train_batch_size": 128,
    "gradient_accumulation_steps": 1,
    "do_train": True,
    "disable_tqdm": False,
    "max_seq_length": 128,
    "overwrite_output_dir": True,
    "output_dir": "output/mntp-simcse/Mistral-7B-Instruct-v0.2",
    "logging_steps": 50,
    "save_steps": 200,
    "save_only_model": True,
    "stop_after_n_steps": 1000,
    "lora_r": 16,
    "gradient_checkpointing": True,
    "torch_dtype": "bfloat16",
    "attn_implementation": "flash_attention_2",
    "seed": 42,
}


# train_configs/supervised/MetaLlama3.json
SUPERVISED: dict[str, Any] = {
    "model_name_or_path": "meta-llama/Meta-Llama-3-8B-Instruct",
    "peft_model_name_or_path": "McGill-NLP/LLM2Vec-Meta-Llama-3-8B-Instruct-mntp",
    "bidirectional": True,
    "pooling_mode": "mean",
    "dataset_name": "E5",
    "dataset_file_path": "cache/E5-data",
    "remove_unused_columns": False,
    "learning_rate": 2e-4,
    "num_train_epochs": 3,
    "warmup_steps": 300,
    "per_device_train_batch_size": 64,
    "per_device_eval_batch_size": 64,
    "gradient_accumulation_steps": 1,
    "do_train": True,
    "disable_tqdm": False,
    "max_seq_length": 512,
    "overwrite_output_dir": True,
    "output_dir": "output/supervised/Meta-Llama-3-8B-Instruct",
    "logging_steps": 50,
    "save_steps": 200,
    "save_only_model": True,
    "stop_after_n_steps": 1000,
    "lora_r": 16,
    "gradient_checkpointing": True,
    "torch_dtype": "bfloat16",
    "attn_implementation": "flash_attention_2",
    "seed": 42,
}


def write(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(values))
    return path


def test_the_published_mntp_configuration_as_it_is(tmp_path: Path, caplog) -> None:
    path = write(tmp_path, MNTP)
    with caplog.at_level(logging.INFO, "bothways"):
        made = read_recipe(path)
    named = [record.message for record in caplog.records if "no meaning here" in record.message]
    assert len(named) == 1
    assert "do_train, per_device_eval_batch_size" in named[0]
    (stage,) = made.stages
    assert (made.base, made.dtype, made.direction, made.seed) == (MNTP["model_name_or_path"], "bfloat16", "bidirectional", 42)
    objective = stage.objective
    assert objective.kind == "mntp"
    assert (objective.mask_probability, objective.style, objective.mask_token, objective.row_length) == (
        0.8,
        "all_mask",
        "blank",
        512,
    )
    assert stage.data.source == ("Salesforce/wikitext:wikitext-103-raw-v1/train",)
    assert stage.heldout is not None
    assert (stage.heldout.data.source, stage.heldout.every) == (("Salesforce/wikitext:wikitext-103-raw-v1/validation",), 100)
    # absent keys: the Trainer's defaults
    assert (stage.optim.lr, stage.optim.epochs, stage.optim.schedule, stage.optim.clip_norm) == (5e-5, 3.0, "linear", 1.0)
    assert stage.optim.stop_after_steps == 1000
    assert (stage.batch.size, stage.batch.accumulation, stage.save_every, stage.log_every) == (32, 1, 200, 500)
    assert stage.adapter is not None
    assert (stage.adapter.r, stage.adapter.alpha, stage.adapter.dropout) == (16, 32, 0.05)
    assert stage.gradient_checkpointing
    assert output_dir(path) == MNTP["output_dir"]


def test_the_published_simcse_configuration_as_it_is(tmp_path: Path) -> None:
    made = read_recipe(write(tmp_path, SIMCSE))
    (stage,) = made.stages
    assert made.base_adapter == SIMCSE["peft_model_name_or_path"]
    assert (made.direction, made.pooling) == ("bidirectional", "mean")
    objective = stage.objective
    assert objective.kind == "contrastive"
    assert (objective.scale, objective.attention_dropout, objective.max_length) == (20.0, 0.3, 128)
    assert stage.data.source == ("cache/wiki1m_for_simcse.txt",)
    assert (stage.batch.size, stage.optim.lr, stage.log_every, stage.gradient_checkpointing) == (128, 3e-5, 50, True)
    # about a million sentences: the rate at the stop is still about 96 % of its peak (methods:
    # 3-epoch horizon)
    horizon = stage.optim.horizon(1_000_000 // 128)
    assert 1 - stage.optim.stop(1_000_000 // 128) / horizon == pytest.approx(0.957, abs=1e-3)


def test_the_published_supervised_configuration_as_it_is(tmp_path: Path, caplog) -> None:
    path = write(tmp_path, SUPERVISED)
    with caplog.at_level(logging.INFO, "bothways"):
        made = read_recipe(path)
    named = [record.message for record in caplog.records if "no meaning here" in record.message]
    assert len(named) == 1
    assert "save_only_model" in named[0]
    assert output_dir(path) == SUPERVISED["output_dir"]
    (stage,) = made.stages
    assert (made.base, made.base_adapter) == (SUPERVISED["model_name_or_path"], SUPERVISED["peft_model_name_or_path"])
    assert (made.direction, made.pooling, made.dtype, made.seed) == ("bidirectional", "mean", "bfloat16", 42)
    # texts of chat models are wrapped, and nothing but the text and what follows it is pooled
    assert made.wrapper == ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")
    assert (made.pool_bos, made.add_eos) == (False, None)
    objective = stage.objective
    assert (objective.kind, objective.scale, objective.max_length) == ("supervised", 50.0, 512)
    assert (objective.negatives, objective.in_batch) == (1, True)
    assert objective.false_negatives is not None  # known answers are never negatives
    assert (stage.batch.size, stage.batch.accumulation, stage.data.batches) == (64, 1, "homogeneous")
    assert (stage.optim.lr, stage.optim.warmup_steps, stage.optim.schedule) == (2e-4, 300, "linear")
    assert (stage.optim.epochs, stage.optim.stop_after_steps) == (3, 1000)
    assert stage.adapter is not None
    assert (stage.adapter.r, stage.adapter.alpha, stage.adapter.dropout) == (16, 32, 0.05)
    tasks = {task.name: task for task in stage.data.tasks}
    assert len(tasks) == 16
    assert tasks["nq"].source == ("cache/E5-data/nq.jsonl",)
    nq = "Given a question, retrieve Wikipedia passages that answer the question; "
    assert (tasks["nq"].query_prompt, tasks["nq"].document_prompt) == (nq, "")
    symmetric = {name for name, task in tasks.items() if task.document_prompt}
    assert symmetric == {"allnli_split2", "quora_duplicates_split1", "quora_duplicates_split2"}
    assert all(tasks[name].document_prompt == tasks[name].query_prompt for name in symmetric)
    # two files of the download hold two instructions each, for their rows in turn
    halves = {name: (task.source, task.part) for name, task in tasks.items() if task.part is not None}
    assert halves == {
        "allnli_split1": (("cache/E5-data/allnli.jsonl",), (1, 2)),
        "allnli_split2": (("cache/E5-data/allnli.jsonl",), (2, 2)),
        "quora_duplicates_split1": (("cache/E5-data/quora_duplicates.jsonl",), (1, 2)),
        "quora_duplicates_split2": (("cache/E5-data/quora_duplicates.jsonl",), (2, 2)),
    }


def test_supervised_options(tmp_path: Path, caplog) -> None:
    folder = tmp_path / "e5"
    folder.mkdir()
    (folder / "nq.jsonl").write_text("")
    (folder / "squad.jsonl.gz").write_text("")
    changes = {"dataset_file_path": str(folder), "loss_scale": 20, "pooling_mode": "eos_token", "max_train_samples": 7}
    with caplog.at_level(logging.WARNING, "bothways"):
        made = read_recipe(write(tmp_path, {**SUPERVISED, **changes}), base="mistralai/Mistral-7B-v0.1")
    (stage,) = made.stages
    sources = {"nq": (str(folder / "nq.jsonl"),), "squad": (str(folder / "squad.jsonl.gz"),)}
    assert {task.name: task.source for task in stage.data.tasks} == sources
    assert "has 2 of the E5 portion's 16 tasks; these are missing: allnli_split1" in caplog.text
    assert {task.limit for task in stage.data.tasks} == {7}
    # the adapter and the wrapper belonged to the replaced base
    assert (made.base_adapter, made.wrapper, made.add_eos, made.pooling) == (None, None, True, "eos")
    assert stage.objective.scale == 20
    other = read_recipe(write(tmp_path, SUPERVISED), data=str(folder)).stages[0]
    assert [task.name for task in other.data.tasks] == ["nq", "squad"]
    plain = read_recipe(write(tmp_path, SUPERVISED), data=["a.jsonl", "b.jsonl"]).stages[0]
    assert (plain.data.source, plain.data.batches) == (("a.jsonl", "b.jsonl"), "homogeneous")


def test_absent_keys_have_the_scripts_own_defaults(tmp_path: Path) -> None:
    made = read_recipe(write(tmp_path, {"model_name_or_path": "b", "mlm_probability": 0.15, "train_file": "t.txt"}))
    stage = made.stages[0]
    assert stage.adapter is not None
    assert (stage.adapter.r, stage.batch.size, stage.objective.row_length, stage.heldout) == (8, 8, 1024, None)
    assert stage.optim.stop_after_steps == 10000
    made = read_recipe(write(tmp_path, {"model_name_or_path": "b", "simcse_dropout": 0.2, "dataset_file_path": "t.txt"}))
    # the script switches to bidirectional attention only when asked
    assert (made.direction, made.stages[0].objective.scale, made.stages[0].objective.max_length) == ("causal", 50.0, 512)


def test_every_honoured_key_arrives(tmp_path: Path) -> None:
    changes = {
        "gradient_accumulation_steps": 4,
        "weight_decay": 0.1,
        "adam_beta1": 0.8,
        "adam_beta2": 0.95,
        "adam_epsilon": 1e-6,
        "max_grad_norm": 0,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 7,
        "max_steps": 500,
        "save_total_limit": 3,
        "max_train_samples": 11,
        "lora_dropout": 0.1,
        "seed": 5,
        "pooling_mode": "eos_token",
        "bidirectional": False,
    }
    made = read_recipe(write(tmp_path, {**SIMCSE, **changes}))
    stage = made.stages[0]
    assert stage.adapter is not None
    optim = stage.optim
    assert (optim.weight_decay, optim.betas, optim.eps, optim.clip_norm) == (0.1, (0.8, 0.95), 1e-6, None)
    assert (optim.schedule, optim.warmup_steps, optim.steps, optim.epochs) == ("constant", 7, 500, None)
    assert (stage.batch.accumulation, stage.data.limit, stage.adapter.dropout) == (4, 11, 0.1)
    assert (made.seed, made.keep_checkpoints, made.pooling, made.direction) == (5, 3, "eos", "causal")
    for strategy, token in (("default", "eos"), ("all_mask", "mask")):
        stage = read_recipe(write(tmp_path, {**MNTP, "data_collator_type": strategy, "mask_token_type": token})).stages[0]
        assert (stage.objective.style, stage.objective.mask_token) == ("bert" if strategy == "default" else strategy, token)
    stage = read_recipe(write(tmp_path, {**MNTP, "validation_file": "dev.txt", "max_eval_samples": 9})).stages[0]
    assert stage.heldout is not None
    assert (stage.heldout.data.source, stage.heldout.limit) == (("dev.txt",), 9)


def test_base_data_and_values_can_be_replaced(tmp_path: Path) -> None:
    made = read_recipe(
        write(tmp_path, MNTP), base="smollm2-135m", data="mine.txt", sets=["stages.mntp.optim.lr=1e-3", "seed=7"]
    )
    stage = made.stages[0]
    assert (made.base, stage.data.source, stage.optim.lr, made.seed) == ("smollm2-135m", ("mine.txt",), 1e-3, 7)
    assert stage.heldout is not None
    assert stage.heldout.share == 0.05  # the validation split belonged to the replaced data set
    made = read_recipe(write(tmp_path, SIMCSE), base="smollm2-135m", data=["a.txt", "b.txt"])
    assert made.base_adapter is None  # it belonged to the replaced base
    assert made.stages[0].data.source == ("a.txt", "b.txt")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**MNTP, "mlm_probabilty": 0.2}, "unknown key 'mlm_probabilty'; did you mean 'mlm_probability'"),
        ({**MNTP, "lora_rank": 4}, "unknown key 'lora_rank'"),
        ({**MNTP, "mlm_probability": 1.5}, "mlm_probability.*1.5"),
        ({**MNTP, "data_collator_type": "none"}, "data_collator_type"),
        ({**MNTP, "learning_rate": "fast"}, "learning_rate.*fast"),
        ({**MNTP, "simcse_dropout": 0.1}, "mixes keys of mntp"),
        ({**MNTP, "optim": "adafactor"}, "optim: 'adafactor' is not supported"),
        ({**MNTP, "line_by_line": True}, "line_by_line"),
        ({"model_name_or_path": "b", "learning_rate": 1e-4}, "neither an mntp nor a simcse"),
        ({k: v for k, v in MNTP.items() if k != "dataset_name"}, "no training text; give dataset_name, train_file or --data"),
        ({k: v for k, v in MNTP.items() if k != "model_name_or_path"}, "model_name_or_path is missing"),
        ({**SUPERVISED, "simcse_dropout": 0.3}, "reads 'E5', and has no simcse_dropout"),
        ({**SUPERVISED, "loss_clas": "x"}, "unknown key 'loss_clas'; did you mean 'loss_class'"),
        ({**SUPERVISED, "loss_class": "Cosent"}, "loss_class"),
        ({**SUPERVISED, "mlm_probability": 0.2}, "mixes keys of mntp"),
        ({k: v for k, v in SUPERVISED.items() if k != "dataset_file_path"}, "no labeled rows; give dataset_file_path"),
        ({**SUPERVISED, "dataset_file_path": "."}, "holds none of the E5 portion's files"),
        ({"model_class": "custom", "model_name_or_path": "b"}, "word-level probe"),
    ],
)
def test_wrong_configurations_get_one_line(tmp_path: Path, values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_recipe(write(tmp_path, values))
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_published_comma_before_a_bracket_is_forgiven_and_said(tmp_path: Path, caplog) -> None:
    path = tmp_path / "qwen2.json"
    text = json.dumps({**MNTP, "torch_dtype": "float16", "output_dir": "a,]b"})
    path.write_text(text[:-1] + ',\n "dataloader_num_workers": 4,\n}\n')
    with caplog.at_level(logging.INFO, "bothways"):
        made = read_recipe(path)
    assert made.dtype == "auto"
    assert "comma before a closing bracket" in caplog.text
    assert "float16 needs loss scaling" in caplog.text
    assert output_dir(path) == "a,]b"  # a comma inside a string stays
    path.write_text('{"a": 1,\n "b": tru}')
    with pytest.raises(InputError, match=r"qwen2\.json: line 2, column \d+: not valid JSON"):
        read_recipe(path)


def test_our_own_files_as_yaml_and_json(tmp_path: Path) -> None:
    made = recipe(tmp_path, mntp(), simcse())
    path = tmp_path / "recipe.yaml"
    path.write_text(made.to_yaml())
    assert read_recipe(path) == made
    (tmp_path / "recipe.json").write_text(json.dumps(made.resolved()))
    assert read_recipe(tmp_path / "recipe.json") == made
    changed = read_recipe(path, base="other", data="x.txt", sets=["stages.simcse.batch.size=4"])
    assert (changed.base, changed.stages[1].batch.size) == ("other", 4)
    assert [stage.data.source for stage in changed.stages] == [("x.txt",), ("x.txt",)]
    assert output_dir(path) is None


def test_a_file_may_leave_base_and_data_to_the_command(tmp_path: Path) -> None:
    path = tmp_path / "open.yaml"
    path.write_text("name: open\nstages:\n- name: mntp\n  objective: {kind: mntp}\n  batch: {size: 2}\n  optim: {lr: 1e-3}\n")
    made = read_recipe(path, base="b", data="t.txt")
    assert (made.base, made.stages[0].data.source, made.stages[0].optim.lr) == ("b", ("t.txt",), 1e-3)
    with pytest.raises(InputError, match=r"open\.yaml: base: Field required"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"\xff\xfe\x00", "not UTF-8"), (b"- a\n- b\n", "expected a mapping"), (b"", "mapping")],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_recipe(path)


def test_a_configuration_trains(tmp_path: Path) -> None:
    """The published file with a tiny base and own text runs to its end."""
    import bothways as bw

    base = recipe(tmp_path).base
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    small = {
        "per_device_train_batch_size": 4,
        "max_seq_length": 16,
        "stop_after_n_steps": 3,
        "torch_dtype": "float32",
        "lora_r": 2,
    }
    made = read_recipe(write(tmp_path, {**MNTP, **small}), base=base, data=str(tmp_path / "texts.txt"))
    assert bw.train(made, tmp_path / "mntp").provenance["stages"][0]["steps"] == 3
    made = read_recipe(write(tmp_path, {**SIMCSE, **small}), base=base, data=str(tmp_path / "texts.txt"))
    assert bw.train(made, tmp_path / "simcse").provenance["stages"][0]["steps"] == 3
    folder = tmp_path / "e5"
    folder.mkdir()
    for name in ("nq", "allnli_split2"):
        rows = [{"query": f"{name} {text}", "positive": text, "negative": f"not {text}"} for text in TEXTS[:9]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small |= {"dataset_file_path": str(folder), "max_seq_length": 96, "warmup_steps": 1, "gradient_checkpointing": False}
    made = read_recipe(write(tmp_path, {**SUPERVISED, **small}), base=base)
    entry = bw.train(made, tmp_path / "supervised").provenance["stages"][0]
    assert entry["steps"] == 3
    assert [part["tasks"] for part in entry["data"]] == [["allnli_split2"], ["nq"]]


def test_data_given_on_the_command_line_forgets_the_column_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipes.llm2vec("b", "python-stdlib", preset="laptop").to_yaml())
    assert read_recipe(path).stages[1].data.column == "sentence"
    assert [stage.data.column for stage in read_recipe(path, data="mine.txt").stages] == [None, None]
