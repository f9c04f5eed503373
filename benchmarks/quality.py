"""LLM2Vec's unsupervised recipe on SmolLM2-135M, scored on STS: the tables of docs/results/.

Run: make quality, or .venv/bin/python benchmarks/quality.py [--seeds 0 1 2] [--rows bi+mntp+simcse
…] [--dtype float32] [--out DIR] Needs the data folder ../shared/data. Finished runs and scores are
reused, killed ones resume; the table is printed at the end and written to OUT/table.md. Checkpoints
are chosen on STS-B dev alone; the test sets are scored once per finished encoder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from seeds import cell

import bothways as bw
from bothways.atomic import atomic_file
from bothways.evaluation.tasks.sts import STS
from bothways.recipes.llm2vec import LINE_FEED

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BASE = "smollm2-135m"
TEXTS = (
    "wiki-sentences/wiki1m_first.txt.gz",
    "wiki-sentences/wikisplit_sentences.txt.gz",
    "wikitext2-valid-test",
    "abc-news",
    "masc",
)
SENTENCES = ("wiki-sentences/wiki1m_first.txt.gz", "wiki-sentences/wikisplit_sentences.txt.gz", "abc-news")
DEV = DATA / "stsb" / "dev.jsonl"
TESTS = {
    "STS-B": DATA / "stsb" / "test.jsonl",
    "STS12": DATA / "sts12" / "test.jsonl.gz",
    "STS13": DATA / "sts13",
    "STS14": DATA / "sts14" / "test.jsonl.gz",
    "SICK": DATA / "sick" / "trial.jsonl",
}

# row → (direction, pooling, stages); untrained rows have no prompt but where they say so, SimCSE
# trains with the preset's
ROWS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "uni, mean": ("causal", "mean", ()),
    "uni, weighted mean": ("causal", "weighted_mean", ()),
    "uni, last": ("causal", "last", ()),
    "bi": ("bidirectional", "mean", ()),
    "bi+mntp": ("bidirectional", "mean", ("mntp",)),
    "uni, mean, prompt": ("causal", "mean", ()),
    "bi, prompt": ("bidirectional", "mean", ()),
    "bi+mntp, prompt": ("bidirectional", "mean", ("mntp",)),
    "uni+simcse": ("causal", "mean", ("simcse",)),
    "uni+simcse, weighted mean": ("causal", "weighted_mean", ("simcse",)),
    "bi+simcse": ("bidirectional", "mean", ("simcse",)),
    "bi+mntp+simcse": ("bidirectional", "mean", ("mntp", "simcse")),
}


def recipe(direction: str, pooling: str, stage: str, base: str, seed: int) -> bw.Recipe:
    """One stage of the laptop preset of `llm2vec` as a recipe of its own, so that rows share what
    they have in common.
    """
    values = bw.recipes.llm2vec(
        base=BASE,
        texts={"mntp": [str(DATA / name) for name in TEXTS], "simcse": [str(DATA / name) for name in SENTENCES]},
        preset="laptop",
        dev=f"sts:{DEV}",
        dev_every=50,
    ).resolved()
    values["stages"] = [each for each in values["stages"] if each["name"] == stage]
    if stage == "mntp":  # learns from whole documents, before which no prompt stands
        values |= {"prompts": {}, "default_prompt": None}
    return bw.Recipe.from_values({**values, "base": base, "direction": direction, "pooling": pooling, "seed": seed})


def trained(row: str, seed: int, out: Path) -> tuple[Path | None, float]:
    """The encoder folder of a row and its minutes of training; None for untrained rows."""
    direction, pooling, stages = ROWS[row]
    folder, base, minutes = None, BASE, 0.0
    for index, stage in enumerate(stages):
        name = f"{direction}-{pooling}-{'-'.join(stages[: index + 1])}-seed{seed}"
        folder = out / name
        chosen = recipe(direction, pooling, stage, base, seed)
        bw.train(chosen, folder, resume=folder.exists())
        minutes += sum(json.loads(line).get("seconds", 0) for line in last_lines(folder)) / 60
        base = str(folder)
    return folder, minutes


def last_lines(folder: Path) -> list[str]:
    """The last line of metrics that carries a time."""
    lines = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"seconds"' in line]
    return lines[-1:]


def score(row: str, seed: int, out: Path, tasks: dict[str, STS], dtype: str) -> dict[str, Any]:
    """Spearman x 100 of a row by data set, from the file of an earlier run where there is one."""
    file = out / "scores" / f"{row.replace(', ', '-').replace(' ', '_')}-seed{seed}-{dtype}.json"
    if file.exists():
        return json.loads(file.read_text())
    folder, minutes = trained(row, seed, out)
    direction, pooling, _ = ROWS[row]
    encoder = bw.load(folder, dtype=dtype) if folder else bw.convert(BASE, direction=direction, pooling=pooling, dtype=dtype)
    if row.endswith(", prompt"):
        encoder.options.prompts, encoder.options.default_prompt = dict(LINE_FEED), "default"
    started = time.perf_counter()
    results = bw.evaluate(encoder, list(tasks.values()))
    found = {name: 100 * results.main[task.name] for name, task in tasks.items()}
    found |= {"dtype": dtype, "minutes": minutes, "evaluation_minutes": (time.perf_counter() - started) / 60}
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as part:
        part.write_text(json.dumps(found, indent=2))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    # bfloat16 is what the hardware computes fast; its scores move by hundredths with the
    # composition of passes
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"error: {DATA}: not there; the quality tables need this data folder")
    tasks = {"dev": STS(DEV)} | {name: STS(path) for name, path in TESTS.items()}
    lines = ["| row | STS-B dev | " + " | ".join(TESTS) + " | average of tests | training |", "|---" * (len(TESTS) + 4) + "|"]
    # seed by seed: a run cut short leaves whole tables of fewer seeds
    found: dict[str, list[dict[str, Any]]] = {row: [] for row in options.rows}
    for seed in options.seeds:
        for row in options.rows:
            if ROWS[row][2] or not found[row]:
                found[row].append(score(row, seed, options.out, tasks, options.dtype))
    for row, runs in found.items():
        cells = [cell([run[name] for run in runs]) for name in ("dev", *TESTS)]
        average = cell([statistics.mean(run[name] for name in TESTS) for run in runs])
        minutes = f"{statistics.mean(run['minutes'] for run in runs):.0f} min" if ROWS[row][2] else ""
        lines.append(f"| {row} | " + " | ".join([*cells, average, minutes]) + " |")
    table = "\n".join(lines) + "\n"
    with atomic_file(options.out / "table.md") as part:
        part.write_text(table)
    print(table)


if __name__ == "__main__":
    main()
