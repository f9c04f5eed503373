"""A small sound world, and the commands that read it: each scene names the files that may be broken
for it.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet

from bothways.cli import app
from tiny import SENTENCES, tiny_llama

VALUES = [
    "",
    "-1",
    "0",
    "1e400",
    "nan",
    "inf",
    "9" * 30,
    "x",
    "\x1b[2J",
    "true",
    "[]",
    "{}",
    "../..",
    "/dev/full",
    "\u202e",
    "a=b",
]


class Scene(NamedTuple):
    """A command of words, where {name} is a file of the world, and the files or folders of it that
    get damaged.
    """

    words: list[str]
    broken: list[str]


SCENES = [
    Scene(["encode", "{model}", "{texts.jsonl}", "--out", "{out.npy}"], ["model", "texts.jsonl"]),
    Scene(["encode", "{encoder}", "{texts.csv}", "--out", "{out.parquet}"], ["encoder", "texts.csv"]),
    Scene(["encode", "{adapter}", "{texts.parquet}", "--out", "{out.npy}"], ["adapter", "texts.parquet"]),
    Scene(["encode", "{model}", "{texts.json}", "--out", "{out.npy}", "--chunks", "sentences"], ["texts.json"]),
    Scene(["convert", "{model}", "--out", "{out}"], ["model"]),
    Scene(["convert", "{adapter}", "--out", "{out}"], ["adapter"]),
    Scene(["doctor", "{encoder}"], ["encoder"]),
    Scene(["evaluate", "{model}", "--task", "sts:{sts.tsv}", "--out", "{out.json}"], ["sts.tsv"]),
    Scene(["evaluate", "{encoder}", "--task", "retrieval:{beir}", "--out", "{out.json}"], ["beir", "encoder"]),
    Scene(["evaluate", "{model}", "--task", "sts:{sts.jsonl}"], ["sts.jsonl", "model"]),
    Scene(["mine", "{rows.jsonl}", "--with", "bm25", "--out", "{out.jsonl}"], ["rows.jsonl"]),
    Scene(["mine", "{rows.jsonl}", "--with", "{encoder}", "--out", "{out.jsonl}"], ["encoder"]),
    Scene(["prepare", "nli", "{nli.jsonl}", "--out", "{out.jsonl}"], ["nli.jsonl"]),
    Scene(["prepare", "classification", "{classes.csv}", "--out", "{out.jsonl}"], ["classes.csv"]),
    Scene(["report", "{one.json}", "{two.json}", "--out", "{out.html}"], ["one.json", "two.json"]),
    Scene(["search", "{encoder}", "{texts.jsonl}", "river"], ["texts.jsonl", "encoder"]),
    Scene(["train", "{recipe.yaml}", "--dry-run"], ["recipe.yaml", "model", "texts.txt"]),
    Scene(["train", "{mntp.json}", "--dry-run"], ["mntp.json"]),
    Scene(["ablate", "{plan.yaml}", "--out", "{out}", "--dry-run"], ["plan.yaml"]),
]

NUMBERS = [
    ["encode", "{model}", "{texts.txt}", "--out", "{out.npy}", "--batch-tokens"],
    ["encode", "{model}", "{texts.txt}", "--out", "{out.npy}", "--limit"],
    ["encode", "{model}", "{texts.txt}", "--out", "{out.npy}", "--dtype"],
    ["encode", "{model}", "{texts.txt}", "--out", "{out.npy}", "--device"],
    ["encode", "{model}", "{texts.txt}", "--out", "{out.npy}", "--chunks"],
    ["encode", "{model}", "{texts.txt}", "--out"],
    ["convert", "{model}", "--out", "{out}", "--max-length"],
    ["convert", "{model}", "--out", "{out}", "--pooling"],
    ["convert", "{model}", "--out", "{out}", "--context", "1024", "--factor"],
    ["evaluate", "{model}", "--task"],
    ["evaluate", "{model}", "--max-length", "16", "--task", "sts:{sts.tsv}", "--seed"],
    ["mine", "{rows.jsonl}", "--with", "bm25", "--out", "{out.jsonl}", "--limit"],
    ["mine", "{rows.jsonl}", "--out", "{out.jsonl}", "--with"],
    ["prepare", "classification", "{classes.csv}", "--out", "{out.jsonl}", "--negatives"],
    ["report", "{one.json}", "--out", "{out.html}", "--seed"],
    ["search", "{model}", "{texts.txt}", "river", "--top"],
    ["train", "{recipe.yaml}", "--dry-run", "--base"],
    ["train", "{recipe.yaml}", "--dry-run", "--set"],
    ["train", "--dry-run"],
    ["doctor"],
]
"""Commands whose last word is one of `VALUES`."""


def build(folder: Path) -> None:
    """Write the world."""
    tiny_llama(folder / "model", tokenizer={"add_bos": True})
    _adapter(folder)
    texts = [{"text": text, "n": i} for i, text in enumerate(SENTENCES)]
    lines = {
        "texts.jsonl": texts,
        "nli.jsonl": [{"premise": t, "hypothesis": SENTENCES[i - 1], "label": i % 3} for i, t in enumerate(SENTENCES)],
        "rows.jsonl": [{"query": t, "positives": [SENTENCES[i - 1]]} for i, t in enumerate(SENTENCES)],
        "sts.jsonl": [{"sentence1": t, "sentence2": SENTENCES[i - 1], "score": i % 5} for i, t in enumerate(SENTENCES)],
        "beir/corpus.jsonl": [{"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(SENTENCES)],
        "beir/queries.jsonl": [{"_id": f"q{i}", "text": t} for i, t in enumerate(SENTENCES[:3])],
    }
    (folder / "beir" / "qrels").mkdir(parents=True)
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "beir/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\nq2\td2\t1\n")
    (folder / "texts.txt").write_text("\n".join(SENTENCES * 4), encoding="utf-8")
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    (folder / "texts.csv").write_text("text,n\n" + "\n".join(f'"{t}",1' for t in SENTENCES), encoding="utf-8")
    (folder / "classes.csv").write_text(
        "text,label\n" + "\n".join(f'"{t}",{i % 2}' for i, t in enumerate(SENTENCES)), encoding="utf-8"
    )
    (folder / "sts.tsv").write_text(
        "sentence1\tsentence2\tscore\n" + "\n".join(f"{t}\t{SENTENCES[i - 1]}\t{i % 5}" for i, t in enumerate(SENTENCES)),
        encoding="utf-8",
    )
    pyarrow.parquet.write_table(pyarrow.table({"text": list(SENTENCES)}), folder / "texts.parquet")
    np.save(folder / "vectors.npy", np.ones((3, 4), np.float32))
    _recipes(folder)
    quiet = contextlib.redirect_stdout(io.StringIO())
    with quiet:
        assert app._run(["convert", str(folder / "model"), "--out", str(folder / "encoder")]) == 0
        for name in ("one.json", "two.json"):
            sts = f"sts:{folder / 'sts.jsonl'}"
            assert app._run(["evaluate", str(folder / "model"), "--task", sts, "--out", str(folder / name)]) == 0


def _adapter(folder: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    made = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    made.save_pretrained(folder / "adapter")
    text = (folder / "adapter/adapter_config.json").read_text()
    (folder / "adapter/adapter_config.json").write_text(text.replace(str(folder / "model"), "model"))
    for leftover in (folder / "adapter").glob("README.md"):
        leftover.unlink()


def _recipes(folder: Path) -> None:
    stage = {
        "name": "mntp",
        "objective": {"kind": "mntp", "row_length": 32},
        "data": {"source": "texts.txt"},
        "batch": {"size": 2},
        "optim": {"lr": 1e-3, "steps": 2},
        "adapter": {"r": 4},
    }
    recipe = {"name": "fuzz", "base": "model", "stages": [stage]}
    plan = {"base": "model", "rows": ["uni", "bi"], "tasks": ["sts:sts.jsonl"], "data": "texts.txt"}
    for name, value in (("recipe.yaml", recipe), ("plan.yaml", plan)):
        # JSON is YAML
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    mntp = {
        "model_name_or_path": "model",
        "train_file": "texts.jsonl",
        "per_device_train_batch_size": 2,
        "max_steps": 2,
        "max_seq_length": 32,
        "mlm_probability": 0.2,
        "mask_token_type": "blank",
        "data_collator_type": "default",
        "lora_r": 4,
        "output_dir": "out",
    }
    (folder / "mntp.json").write_text(json.dumps(mntp), encoding="utf-8")
