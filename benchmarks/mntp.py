"""What MNTP is worth before SimCSE on SmolLM2-135M: tokens of MNTP x rate of SimCSE, beside longer SimCSE.

Run: .venv/bin/python benchmarks/mntp.py [--seeds 0] [--rows "none, 2e-4" "0.8M, 2e-4"] [--plan] [--tokens 3e6]
     [--test] [--steps N] [--out runs/mntp]

A row is named by its MNTP and by the rate of its SimCSE:

    none    SimCSE from the base
    0.8M    400 steps of 16 rows of 128 tokens: sentences and documents that see each other (laptop preset)
    3.3M    806 steps of 16 rows of 256 tokens: whole documents, hidden from each other
    40%     as 0.8M, with 40 % of the tokens masked, always by the mask token
    longer  no MNTP, and SimCSE for 400 steps in place of 150: as many tokens as 0.8M and its SimCSE together

SimCSE takes 150 steps of 64 sentences (3,270 tokens a step, by an earlier run). STS-B dev is read before the
first step and after 10, 25, 50, 150 and the last; it alone chooses the checkpoint. "area" is the mean of dev
over steps 0 to 150 (trapezoids), "best" the chosen checkpoint's. With --test, the STS test sets are scored once
for each finished encoder, in a table of their own.

Rows run seed by seed, the lower rate first, and the first two are the smallest decisive run: 1.8M tokens a seed.
The first four take 2.8M, and all rows 11.5M. --plan prints the tokens of each row and trains nothing. --tokens N starts
no training that does not fit into N tokens. Finished trainings are reused, and killed ones resume. OUT/dev.md
and OUT/dev.json hold the table and, for differences between rows, mean and standard error over seeds, also of rows
and seeds that earlier calls have finished. docs/results/mntp.md has the same with the machine and the command.
Needs ../shared/data. `--base FOLDER --texts FILE --dev FILE` tries it with other material.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quality import BASE, DATA, DEV, SENTENCES, TESTS, TEXTS
from results_page import Page, command, page_file
from seeds import Budget, Found, cell, comparisons, finished, kept, kept_before, metrics, seeds_of, trained, write_table

import bothways as bw
from bothways.errors import BothwaysError
from bothways.evaluation.tasks.sts import STS
from bothways.training.recipe.overrides import override_values

DOCUMENTS = ("masc", "movie-reviews", "wikitext2-valid-test")
READ = (10, 25, 50, 150)
STEPS, LONGER = 150, 400
STEP_TOKENS = 3_270  # of SimCSE, two views of 64 sentences


class Mntp(NamedTuple):
    """An MNTP stage: steps of 16 rows, tokens of a row, and whether it learns from isolated documents."""

    steps: int
    row: int
    documents: bool = False
    all_mask: float | None = None

    @property
    def tokens(self) -> int:
        return self.steps * 16 * self.row


MNTP = {
    "0.8M": Mntp(400, 128),
    "3.3M": Mntp(806, 256, documents=True),
    "40%": Mntp(400, 128, all_mask=0.4),
}
KINDS = ("none", "0.8M", "longer", "3.3M", "40%")
RATES = {"2e-4": 2e-4, "1e-3": 1e-3}
# the lower rate first: at 1e-3 SimCSE repairs the attention itself
ROWS = {f"{kind}, {rate}": (kind, rate) for kind in KINDS for rate in RATES}
ORDER = [f"{kind}, {rate}" for kinds in (("none", "0.8M"), ("longer", "3.3M"), ("40%",)) for rate in RATES for kind in kinds]
PAIRS = [(f"{kind}, {rate}", f"{other}, {rate}") for rate in RATES for kind in MNTP for other in ("none", "longer")] + [
    (f"3.3M, {rate}", f"0.8M, {rate}") for rate in RATES
]


class Material(NamedTuple):
    """What everything is trained on and chosen by."""

    base: str
    lines: Sequence[str]
    documents: Sequence[str]
    sentences: Sequence[str]
    dev: str


class Run(NamedTuple):
    """One call of the command."""

    material: Material
    out: Path
    steps: int | None
    budget: Budget

    def cut(self, steps: int) -> int:
        return steps if self.steps is None else min(steps, self.steps)

    def recipe(self, stage: str, base: str, seed: int, changes: dict[str, Any]) -> bw.Recipe:
        """One stage of the laptop preset of `llm2vec`, as a recipe of its own."""
        given = self.material
        values = bw.recipes.llm2vec(
            base=given.base,
            texts={"mntp": list(given.lines), "simcse": list(given.sentences)},
            preset="laptop",
            dev=f"sts:{given.dev}",
        ).resolved()
        values["stages"] = [each for each in values["stages"] if each["name"] == stage]
        if stage == "mntp":  # learns from whole documents, which have no prompt before them
            values |= {"prompts": {}, "default_prompt": None}
        made = bw.Recipe.from_values({**values, "base": base, "seed": seed})
        return override_values(made, {f"stages.{stage}.{key}": value for key, value in changes.items()})

    def mntp(self, kind: str, seed: int) -> tuple[Path, bw.Recipe]:
        """The folder and the recipe of a row's MNTP."""
        chosen = MNTP[kind]
        changes: dict[str, Any] = {
            "optim.steps": self.cut(chosen.steps),
            "optim.warmup_steps": 20 if self.steps is None else 0,
            "objective.row_length": chosen.row,
        }
        if chosen.documents:
            changes |= {
                "objective.isolate_documents": True,
                "data.source": list(self.material.documents),
                "data.unit": "auto",
            }
        if chosen.all_mask is not None:
            changes |= {"objective.mask_probability": chosen.all_mask, "objective.style": "all_mask"}
        return self.out / f"mntp-{kind.rstrip('%')}-seed{seed}", self.recipe("mntp", self.material.base, seed, changes)

    def simcse(self, row: str, base: str, seed: int) -> tuple[Path, bw.Recipe]:
        """The folder and the recipe of a row's SimCSE."""
        kind, rate = ROWS[row]
        steps = self.cut(LONGER if kind == "longer" else STEPS)
        read = {"metric": f"sts:{self.material.dev}", "every": steps, "also": list(READ), "at_start": True}
        changes = {"optim.lr": RATES[rate], "optim.steps": steps, "eval": read, "save_every": 50}
        return self.out / f"{kind.rstrip('%')}-{rate}-seed{seed}", self.recipe("simcse", base, seed, changes)

    def planned(self, row: str, seed: int) -> int:
        """Tokens that a row still has to be trained on; an MNTP of another row counts once it exists."""
        kind, rate = ROWS[row]
        folder = self.out / f"{kind.rstrip('%')}-{rate}-seed{seed}"
        if finished(folder):
            return 0
        tokens = self.cut(LONGER if kind == "longer" else STEPS) * STEP_TOKENS
        if kind in MNTP and not finished(self.out / f"mntp-{kind.rstrip('%')}-seed{seed}"):
            tokens += self.cut(MNTP[kind].steps) * 16 * MNTP[kind].row
        return tokens

    def trainings(self, row: str, seed: int) -> list[tuple[Path, bw.Recipe]]:
        """Folders and recipes of a row, in order: its MNTP if it has one, then its SimCSE."""
        kind, made, base = ROWS[row][0], [], self.material.base
        if kind in MNTP:
            made.append(self.mntp(kind, seed))
            base = str(made[0][0])
        return [*made, self.simcse(row, base, seed)]

    def _file(self, row: str, seed: int) -> tuple[Path, dict[str, Any]]:
        """The file of a row's figures, and the recipes that they belong to."""
        trainings = self.trainings(row, seed)
        asked = {"recipes": [recipe.fingerprint() for _, recipe in trainings]}
        return self.out / "rows" / f"{trainings[-1][0].name}.json", asked

    def before(self, row: str, seed: int) -> dict[str, Any] | None:
        """Figures of a row that an earlier call has finished."""
        return kept_before(*self._file(row, seed))

    def row(self, row: str, seed: int) -> dict[str, Any] | None:
        """Figures of a row: dev by step, area, best, tokens and minutes. None if the budget is too small."""
        if not self.budget.allows(f"{row}, seed {seed}", self.planned(row, seed)):
            return None
        return kept(*self._file(row, seed), lambda: self._figures(row, seed))

    def _figures(self, row: str, seed: int) -> dict[str, Any]:
        *mntp, (folder, recipe) = self.trainings(row, seed)
        before = trained(mntp[0][1], mntp[0][0]) if mntp else {"tokens": 0, "minutes": 0.0}
        spent = trained(recipe, folder)
        dev = {step: 100 * value for step, value in metrics(folder, "dev").items()}
        return {
            **{f"dev {step}": value for step, value in dev.items() if step in (0, *READ)},
            "last": dev[max(dev)],
            "best": max(dev.values()),
            "area": area(dev),
            "folder": str(folder),
            "MNTP tokens": before["tokens"],
            "SimCSE tokens": spent["tokens"],
            "minutes": before["minutes"] + spent["minutes"],
        }


def area(dev: dict[int, float]) -> float:
    """Mean of the development metric over steps 0 to 150, by trapezoids.

    For example area({0: 10.0, 100: 30.0}) is 20.
    """
    steps = sorted(step for step in dev if step <= STEPS)
    parts = [(dev[a] + dev[b]) / 2 * (b - a) for a, b in itertools.pairwise(steps)]
    return sum(parts) / (steps[-1] - steps[0])


def test_file(out: Path, found: dict[str, Any], sets: dict[str, STS]) -> tuple[Path, dict[str, Any]]:
    """The file of a finished encoder's test scores, and what they belong to."""
    asked = {"sets": list(sets), "best": found["best"], "recipes": found["asked"]["recipes"]}
    return out / "scores" / f"{Path(found['folder']).name}.json", asked


def scored(out: Path, found: dict[str, Any], sets: dict[str, STS]) -> dict[str, Any]:
    """Spearman x 100 of a finished encoder on each test set, and their average."""

    def make() -> dict[str, float]:
        encoder = bw.load(found["folder"])
        results = bw.evaluate(encoder, list(sets.values()))
        scores = {name: 100 * results.main[task.name] for name, task in sets.items()}
        return {**scores, "average": sum(scores.values()) / len(scores)}

    return kept(*test_file(out, found, sets), make)


def dev_lines(found: Found) -> list[str]:
    """The table, and the differences that answer the question."""
    columns = [f"dev {step}" for step in (0, *READ)] + ["last", "best", "area"]
    head = ["MNTP, rate of SimCSE", "seeds", *columns, "MNTP tokens", "SimCSE tokens", "training"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, runs in found.items():
        cells = [row, ", ".join(map(str, runs))]
        for column in columns:
            values = [run[column] for run in runs.values() if column in run]
            cells.append(cell(values) if values else "")
        cells += [f"{next(iter(runs.values()))[name]:,}" for name in ("MNTP tokens", "SimCSE tokens")]
        minutes = sum(run["minutes"] for run in runs.values()) / len(runs)
        lines.append(f"| {' | '.join([*cells, f'{minutes:.0f} min'])} |")
    return [*lines, "", *comparisons(found, PAIRS, ["dev 10", "dev 50", "best", "area"])]


def tested_lines(found: Found, sets: dict[str, STS]) -> list[str]:
    columns = [*sets, "average"]
    lines = [f"| row | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row, runs in found.items():
        lines.append(f"| {row} | " + " | ".join(cell([run[name] for run in runs.values()]) for name in columns) + " |")
    return [*lines, "", *comparisons(found, PAIRS, ["average"])]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=ORDER, choices=ORDER)
    parser.add_argument("--plan", action="store_true", help="print the tokens of each row, and train nothing")
    parser.add_argument("--tokens", type=float, help="start no training beyond so many tokens")
    parser.add_argument("--steps", type=int, help="cut every stage to so many steps, to see that all runs")
    parser.add_argument("--test", action="store_true", help="score finished encoders on the test sets too")
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--texts", nargs="+", help="other texts for every stage")
    parser.add_argument("--dev", default=str(DEV), help="STS file; with --texts also the only test set")
    parser.add_argument("--out", type=Path, default=Path("runs/mntp"))
    parser.add_argument(
        "--results", type=Path, help="folder of the page; without it docs/results, if nothing is cut or replaced"
    )
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    if options.texts is None and not DATA.is_dir():
        raise SystemExit(f"error: {DATA}: not there; the table needs this data folder, or --texts and --dev")
    lines, documents, sentences = (
        options.texts or [str(DATA / name) for name in names] for names in (TEXTS, DOCUMENTS, SENTENCES)
    )
    out = options.out if options.steps is None else options.out / f"steps-{options.steps}"
    material = Material(options.base, lines, documents, sentences, options.dev)
    run = Run(material, out, options.steps, Budget(options.tokens))
    if options.plan:
        for seed in options.seeds:
            for row in options.rows:
                print(f"{row}, seed {seed}: {run.planned(row, seed):,} tokens to train")
        return
    try:
        fill(run, options, arguments)
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None


def page(run: Run, options: argparse.Namespace, arguments: Sequence[str]) -> Page:
    """The page of docs/results/."""
    trial = options.steps is not None or options.texts is not None or options.base != BASE
    about = (
        "STS-B dev of SmolLM2-135M by step of SimCSE, with and without MNTP before it. Dev alone chooses the checkpoint and "
        "the rate; the table of test sets, if there is one, has the chosen checkpoints. "
        '"longer" has the tokens of 0.8M and its SimCSE together, so it is the equal of 0.8M and 40 % alone: '
        "3.3M has 2.9 times as many."
    )
    file = page_file("mntp", options.results, trial=trial)
    return Page(file, "What MNTP is worth before SimCSE", about, command("mntp.py", arguments))


def fill(run: Run, options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Train and score the rows, seed by seed, and write the tables after each one.

    The tables also hold what earlier calls have finished, for example other seeds.
    """
    paths = {"dev": options.dev} if options.texts else TESTS
    sets = {name: STS(path, name=name) for name, path in paths.items()} if options.test else {}
    places = [(row, seed) for row in ORDER for seed in seeds_of(run.out / "rows", options.seeds)]
    done: dict[tuple[str, int], dict[str, Any]] = {}
    for place in places:
        before = run.before(*place)
        if before is not None and finished(Path(before["folder"])):
            done[place] = before
    tests: dict[tuple[str, int], dict[str, Any]] = {}
    for place, figures in done.items():
        known = kept_before(*test_file(run.out, figures, sets)) if sets else None
        if known is not None:
            tests[place] = known
    made = page(run, options, arguments)
    for seed in options.seeds:
        for row in options.rows:
            made_now = run.row(row, seed)
            if made_now is None:
                continue
            done[row, seed] = figures = made_now
            found = by_row(places, done)
            tables = [dev_lines(found)]
            print(write_table(run.out, "dev", tables[0], found), flush=True)
            if sets:
                tests[row, seed] = scored(run.out, figures, sets)
                scores = by_row(places, tests)
                tables.append(tested_lines(scores, sets))
                print(write_table(run.out, "test", tables[1], scores), flush=True)
            made.write(tables, found)
    for name in run.budget.refused:
        print(f"not started, beyond --tokens: {name}")


def by_row(
    places: Sequence[tuple[str, int]], done: Mapping[tuple[str, int], dict[str, Any]]
) -> dict[str, dict[int, dict[str, Any]]]:
    """Figures by row and seed, in the order of `places`."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row, seed in places:
        if (row, seed) in done:
            found.setdefault(row, {})[seed] = done[row, seed]
    return found


if __name__ == "__main__":
    main()
