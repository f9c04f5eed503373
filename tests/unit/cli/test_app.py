"""Every verb on tiny models: the files it writes, its output, its exit code. The options are frozen
here on purpose.
"""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file

import bothways as bw
from bothways.cli.app import app
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

MINE = [
    *("sources", "--out", "--summary", "--with"),
    *("--negatives", "--window", "--perc", "--margin", "--relative-margin", "--max-score", "--sampling", "--fill", "--empty"),
    *("--same-label", "--seed", "--corpus", "--column", "--dialect", "--task", "--limit", "--template"),
    *("--query-prompt", "--document-prompt", "--without", "--near", "--near-by"),
    *(
        "--backend",
        "--store",
        "--similarity",
        "--batch-tokens",
        "--device",
        "--dtype",
        "--processes",
        "--resume",
        "--keep",
        "--sample",
    ),
]
VERBS = {
    "demo": ["--out", "--base", "--seed", "--size", "--device"],
    "convert": [
        *("base", "--out", "--direction", "--pooling", "--windows", "--max-length", "--normalize"),
        *("--add-bos", "--add-eos", "--pool-bos", "--adapter", "--context", "--rope", "--factor", "--dtype", "--device"),
    ],
    "doctor": ["model", "--direction", "--quick", "--device", "--dtype", "--quantize", "--graph"],
    "families": ["names", "--out"],
    "merge": ["models", "--out", "--method", "--weights", "--t", "--dev", "--base", "--adapter"],
    "recipes": ["name", "--preset", "--option"],
    "train": [
        "recipe",
        "--out",
        "--base",
        "--data",
        "--preset",
        "--dev",
        "--option",
        "--set",
        "--resume",
        "--overwrite",
        "--dry-run",
        "--device",
    ],
    "encode": [
        *("model", "source", "--out", "--column", "--unit", "--prompt", "--prompt-name", "--normalize", "--chunks"),
        *("--pooling", "--both", "--truncate-dim", "--processes", "--shard-rows", "--on"),
        *("--batch-tokens", "--device", "--dtype"),
        *("--quantize", "--graph"),
    ],
    "index": [
        *("sources", "--model", "--to", "--chunks", "--column", "--unit", "--prompt", "--prompt-name", "--query-prompt"),
        *("--truncate-dim", "--pooling", "--similarity", "--approximate", "--precision", "--rescore", "--rescore-with"),
        *("--keep", "--batch-tokens", "--device", "--dtype"),
    ],
    "search": [
        *("words", "--index", "--model", "--top", "--where", "--hybrid", "--exact", "--limit", "--precision", "--rescore"),
        *("--rescore-with", "--device", "--dtype", "--quantize", "--graph", "--similarity"),
    ],
    "evaluate": [
        *(
            "model",
            "--task",
            "--context",
            "--rope",
            "--factor",
            "--out",
            "--resume",
            "--direction",
            "--pooling",
            "--max-length",
        ),
        *("--similarity", "--batch-tokens", "--seed", "--device", "--dtype"),
    ],
    "serve": [
        *(
            "models",
            "--host",
            "--port",
            "--cors",
            "--allowed-host",
            "--normalize",
            "--accept-token-ids",
            "--int8-texts",
            "--batch-tokens",
        ),
        *("--max-rows", "--max-tokens", "--max-bytes", "--max-requests", "--queue-rows", "--queue-tokens", "--timeout"),
        *("--body-timeout", "--drain", "--index", "--pooling", "--device", "--dtype", "--quantize", "--share-base", "--graph"),
    ],
    "mine": MINE,
    "ablate": [
        *("plan", "--base", "--rows", "--poolings", "--eval-poolings", "--tasks", "--recipe", "--preset", "--option"),
        *("--data", "--dev", "--set", "--seeds", "--out", "--retrain", "--dry-run", "--device", "--dtype"),
    ],
    "export": ["model", "--to", "--out", "--dtype", "--quantize", "--adapters", "--device"],
    "verify-export": ["folder", "--with"],
    "card": ["model", "--license", "--language", "--base-model", "--results", "--name", "--replace"],
    "push": [
        *("model", "name", "--private", "--dry-run", "--revision", "--message", "--license", "--language"),
        *("--base-model", "--results", "--include", "--device"),
    ],
    "bench": [
        *("model", "--texts", "--peers", "--workloads", "--dtype", "--threads", "--rounds", "--minutes", "--scale"),
        *("--out", "--work", "--environments"),
    ],
    "report": ["results", "--out", "--baseline", "--seed"],
    "prepare": [],  # a group; its kinds are frozen in test_prepare.py
}
SMALL = ["adapter.r=2", "batch.size=2", "optim.epochs=null", "save_every=2", "log_every=1"]


def small(stage: str, steps: int, *more: str) -> list[str]:
    """--set options that bring a published stage to the size of a test."""
    values = [*SMALL, f"optim.steps={steps}", *more]
    return [word for value in values for word in ("--set", f"stages.{stage}.{value}")]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base", tokenizer={"add_bos": True})


@pytest.fixture(scope="module")
def saved(base: Path) -> Path:
    folder = base.parent / "encoder"
    bw.convert(base, dtype="float32", device="cpu", prompts={"query": "Find: "}).save(folder)
    return folder


@pytest.fixture(scope="module")
def texts(base: Path) -> Path:
    path = base.parent / "texts.txt"
    path.write_text("\n".join(f"{text} {number}" for number in range(8) for text in SENTENCES), encoding="utf-8")
    return path


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


def test_verbs_and_options_are_these() -> None:
    """A change here is a change of the public command line: say so in the log, then change this
    list.
    """
    group: Any = typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():
        found[name] = [
            *(argument.name for argument in command.params if argument.param_type_name == "argument"),
            *(option.opts[0] for option in command.params if option.param_type_name == "option" and option.opts[0] != "--json"),
        ]  # test_json_output.py asks every verb for --json
    assert found == VERBS


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help(run: Run, verb: str) -> None:
    done = run(*([verb] if verb else []), "--help")
    assert done.code == 0
    assert "Usage: bothways" in done.out


def test_convert_writes_an_encoder(run: Run, base: Path, tmp_path: Path) -> None:
    done = run("convert", base, "--out", tmp_path / "out", "--pooling", "last", "--direction", "causal", "--normalize")
    assert (done.code, done.err) == (0, "")
    assert f"{tmp_path / 'out'}: causal encoder, 32 dimensions, last pooling" in done.out
    encoder = bw.load(tmp_path / "out", dtype="float32")
    assert (encoder.direction, encoder.pooling.mode, encoder.options.normalize) == ("causal", "last", True)
    again = run("convert", base, "--out", tmp_path / "out")
    assert (again.code, again.out) == (2, "")
    assert again.err == f"error: {tmp_path / 'out'}: already exists and is not empty; choose another folder or remove it\n"


def test_doctor_proves(run: Run, base: Path, saved: Path) -> None:
    done = run("doctor", saved)
    assert done.code == 0
    assert done.out.endswith("checks passed\n")
    assert "causal" in run("doctor", base, "--direction", "causal", "--quick").out


def test_doctor_exits_1_on_a_broken_model(run: Run, saved: Path, tmp_path: Path) -> None:
    for broken in ("nan", "claim"):
        folder = tmp_path / broken
        folder.mkdir()
        for file in saved.rglob("*"):
            if file.is_file():
                (folder / file.relative_to(saved)).parent.mkdir(exist_ok=True)
                (folder / file.relative_to(saved)).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "nan" / "model.safetensors")
    weights["layers.1.self_attn.q_proj.weight"][0] = torch.nan
    save_file(weights, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    done = run("doctor", tmp_path / "nan", "--quick")
    assert done.code == 1
    assert "FAIL" in done.out
    config = json.loads((saved / "config.json").read_text())
    del config["is_causal"], config["use_bidirectional_attention"]
    (tmp_path / "claim" / "config.json").write_text(json.dumps(config))
    done = run("doctor", tmp_path / "claim")
    assert done.code == 1
    assert done.out.startswith("FAIL  ")
    assert "says causal attention" in done.out


def test_encode_to_either_format_from_either_source(run: Run, saved: Path, texts: Path, tmp_path: Path) -> None:
    lines = texts.read_text(encoding="utf-8").splitlines()
    expected = bw.load(saved, dtype="float32", device="cpu").encode(lines, normalize_embeddings=True)
    zipped = tmp_path / "texts.jsonl.gz"
    zipped.write_bytes(gzip.compress("".join(json.dumps({"body": line}) + "\n" for line in lines).encode()))
    options = ["--dtype", "float32", "--device", "cpu"]
    done = run("encode", saved, texts, "--out", tmp_path / "v.npy", *options)
    assert (done.code, done.out.splitlines()[0]) == (0, f"{tmp_path / 'v.npy'}: 64 vectors of 32 numbers")
    assert np.abs(np.load(tmp_path / "v.npy") - expected).max() < 1e-5
    done = run("encode", saved, zipped, "--column", "body", "--out", tmp_path / "v.parquet", *options)
    assert done.code == 0
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column("text").to_pylist() == lines
    assert np.abs(np.array(table.column("vector").to_pylist()) - expected).max() < 1e-5
    shaped = ["--no-normalize", "--truncate-dim", "5", "--prompt-name", "query", "--batch-tokens", "64"]
    assert run("encode", saved, texts, "--out", tmp_path / "q.npy", *options, *shaped).code == 0
    queries = bw.load(saved, dtype="float32", device="cpu").encode_query(lines, truncate_dim=5)
    assert np.abs(np.load(tmp_path / "q.npy") - queries).max() < 1e-5


def test_encode_passages_by_late_chunking(run: Run, saved: Path, tmp_path: Path) -> None:
    books, out = tmp_path / "books.jsonl", tmp_path / "passages.parquet"
    texts = [" ".join(text + "." for text in SENTENCES[:4]), SENTENCES[4] + ". 大きい。"]
    books.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    options = ["--dtype", "float32", "--device", "cpu"]
    encoder = bw.load(saved, dtype="float32", device="cpu")
    for given, chunks in (("sentences", "sentences"), ("5", 5)):
        done = run("encode", saved, books, "--out", out, "--chunks", given, *options)
        assert done.code == 0, done.err
        expected = encoder.encode_chunks(texts, chunks, normalize_embeddings=True)  # type: ignore[arg-type]
        rows = pq.read_table(out).to_pylist()
        assert f"{len(rows)} vectors of 32 numbers, for the passages of 2 texts" in done.out
        places = [(number, *span) for number, each in enumerate(expected) for span in each.spans]
        assert [(row["document"], row["start"], row["end"]) for row in rows] == places
        assert [row["text"] for row in rows] == [texts[number][start:end] for number, start, end in places]
        vectors = np.concatenate([each.vectors for each in expected])
        assert np.abs(np.array([row["vector"] for row in rows]) - vectors).max() < 1e-5
    for arguments, line in (
        (["--out", tmp_path / "v.npy", "--chunks", "5"], "v.npy: must end in .parquet with --chunks"),
        (["--out", out, "--chunks", "0"], "--chunks 0: must be sentences, or a number of tokens of at least 1"),
        (["--out", out, "--chunks", "words"], "--chunks words: must be sentences"),
        (["--out", out, "--chunks", "5", "--truncate-dim", "3"], "--truncate-dim: does not work with --chunks"),
    ):
        done = run("encode", saved, books, *arguments, *options)
        assert (done.code, done.out) == (2, "")
        assert line in done.err


def test_search_prints_the_nearest_texts(run: Run, saved: Path, texts: Path) -> None:
    done = run(
        "search", saved, texts, SENTENCES[3] + " 0", SENTENCES[5] + " 0", "--top", "2", "--limit", "8", "--dtype", "float32"
    )
    lines = done.out.splitlines()
    assert done.code == 0
    assert len(lines) == 6
    assert (lines[0], lines[3]) == (SENTENCES[3] + " 0", SENTENCES[5] + " 0")
    scores = [float(line.split()[0]) for line in (lines[1], lines[2])]
    encoder = bw.load(saved, dtype="float32")
    query, documents = encoder.encode_query([lines[0]]), encoder.encode_document([f"{text} 0" for text in SENTENCES])
    expected = np.sort(encoder.similarity(query, documents).numpy()[0])[::-1][:2]
    assert np.abs(scores - expected).max() < 1e-3


def test_evaluate_prints_and_saves(run: Run, base: Path, saved: Path, tmp_path: Path) -> None:
    pairs = [{"sentence1": a, "sentence2": b, "score": i % 5} for i, (a, b) in enumerate(pairwise(SENTENCES))]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    done = run("evaluate", saved, "--task", f"sts:{tmp_path / 'dev.jsonl'}", "--out", tmp_path / "r.json")
    assert done.code == 0
    assert "spearman" in done.out
    results = json.loads((tmp_path / "r.json").read_text())
    (task,) = results["tasks"].values()
    assert f"{task['metrics']['spearman']:.4f}" in done.out
    assert results["provenance"]["model"]["direction"] == "bidirectional"
    done = run("evaluate", base, "--direction", "causal", "--pooling", "last", "--task", f"sts:{tmp_path / 'dev.jsonl'}")
    assert done.code == 0


def test_evaluate_takes_options_and_goes_on(run: Run, saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = [{"sentence1": a, "sentence2": b, "score": i % 5} for i, (a, b) in enumerate(pairwise(SENTENCES))]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    first, second = f"sts:{tmp_path}?split=dev", f"retrieval:{tmp_path / 'dev.jsonl'}?above=2&k=1,5&name=found"
    out = tmp_path / "r.json"
    assert run("evaluate", saved, "--task", first, "--out", out).code == 0
    done = run("evaluate", saved, "--task", first, "--task", second, "--out", out, "--resume")
    assert done.code == 0
    assert f"{first}: finished earlier, taken from {out}" in caplog.messages
    assert "ndcg@5" in done.out
    results = json.loads(out.read_text())
    assert list(results["tasks"]) == [first, "found"]
    assert results["tasks"]["found"]["options"]["k"] == [1, 5, 10]
    other = run("evaluate", saved, "--task", first, "--out", out, "--resume", "--seed", "1")
    assert (other.code, other.out) == (2, "")
    assert "was measured with seed 0, not 1" in other.err
    assert run("evaluate", saved, "--task", first, "--resume").err.startswith("error: --resume needs --out")


def test_of_processes_launched_together_the_first_one_speaks(run: Run, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "0")
    assert run("recipes").out
    monkeypatch.setenv("RANK", "1")
    done = run("recipes")
    assert (done.code, done.out) == (0, "")
    # mistakes are each process's own
    assert "does not exist" in run("recipes", "nothing").err


def test_recipes_are_listed_and_printed_as_files_that_train_takes(run: Run, base: Path, texts: Path, tmp_path: Path) -> None:
    done = run("recipes")
    described, options = done.out.splitlines()[::2], done.out.splitlines()[1::2]
    assert [line.split()[0] for line in described] == list(bw.recipes.NAMES)
    assert "--option order, retrieval, scale, servable, dev_every" in options[2]
    for name in ("llm2vec", "simcse"):
        for preset in ("published", "laptop"):
            done = run("recipes", name, "--preset", preset)
            assert done.code == 0
            (tmp_path / "recipe.yaml").write_text(done.out)
            stages = {"llm2vec": ("mntp", "simcse"), "simcse": ("simcse",)}[name]
            sets = [word for stage in stages for word in small(stage, 2)]
            sets += [] if name == "simcse" else ["--set", "stages.mntp.objective.row_length=16"]
            sets += ["--set", "stages.*.data.column=null"]  # the laptop preset's own source has two columns
            done = run(
                "train", tmp_path / "recipe.yaml", "--base", base, "--data", texts, "--dry-run", "--device", "cpu", *sets
            )
            assert done.code == 0, done.err
            assert "parameters; " in done.out
            assert f"base: {base}" in done.out


def test_train_writes_an_encoder_and_resumes(run: Run, base: Path, texts: Path, tmp_path: Path) -> None:
    sets = [*small("mntp", 2), *small("simcse", 2), "--set", "stages.mntp.objective.row_length=16", "--set", "dtype=float32"]
    words = ["train", "llm2vec", "--base", base, "--data", texts, "--out", tmp_path / "run", "--device", "cpu", *sets]
    done = run(*words)
    assert done.code == 0, done.err
    assert f"{tmp_path / 'run'}: bidirectional encoder, 32 dimensions, mean pooling" in done.out
    encoder = bw.load(tmp_path / "run", dtype="float32")
    assert [stage["name"] for stage in encoder.provenance["stages"]] == ["mntp", "simcse"]
    again = run(*words)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert run(*words, "--resume").code == 0
    assert run("doctor", tmp_path / "run", "--quick").code == 0


def test_train_takes_llm2vecs_own_configurations(run: Run, base: Path, texts: Path, tmp_path: Path) -> None:
    values = {
        "model_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2",
        "dataset_name": "wikitext",
        "dataset_config_name": "wikitext-103-raw-v1",
        "per_device_train_batch_size": 2,
        "max_seq_length": 16,
        "mask_token_type": "blank",
        "data_collator_type": "default",
        "mlm_probability": 0.2,
        "output_dir": str(tmp_path / "run"),
        "stop_after_n_steps": 2,
        "lora_r": 2,
        "torch_dtype": "float32",
    }
    (tmp_path / "mntp.json").write_text(json.dumps(values))
    done = run("train", tmp_path / "mntp.json", "--base", base, "--data", texts, "--device", "cpu")
    assert done.code == 0, done.err
    assert bw.load(tmp_path / "run", dtype="float32").provenance["stages"][0]["steps"] == 2  # output_dir of the file


def test_families_measures_the_ones_named(run: Run, tmp_path: Path) -> None:
    done = run("families", "llama", "mamba", "--out", tmp_path / "table.md")
    assert done.code == 0
    assert "llama" in (tmp_path / "table.md").read_text()
    assert "mamba" in done.out
