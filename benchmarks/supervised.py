"""What labels are worth: tables of docs/results/ on SmolLM2-135M, one command each.

    sts         supervised over unsupervised SimCSE on STS (LingNLI + SNLI dev/test triplets)
    negatives   hard negatives over none
    scifact     nDCG@10 before and after training on SciFact's own train queries, beside BM25
    pooling     NV-Embed's comparison: EOS, mean, latent attention, self-attention x causal, bidirectional
    stages      one blended stage with in-batch negatives on or off, two stages, and two in the other order
    ladder      which change of NV-Embed's recipe counts, one a row, causal and bidirectional; dev sets
    directions  pooling x direction, and two stages against one, by the changed recipe; dev sets
    test        the same encoders as directions, on the test sets

Run: .venv/bin/python benchmarks/supervised.py TABLE [--rows …] [--seeds 0 1 2] [--plan] [--tokens N]
     [--out runs/supervised] [--base smollm2-135m]
Needs ../shared/data. Sized, by estimate, for ten minutes of training and scoring a row on two idle
cores; the last three tables state their tokens in `nv_embed_tables.py`. --plan prints which trainings a
table still needs, with their tokens if they are known. --tokens N starts no training beyond N tokens.
Finished trainings and scores are reused, also between tables; killed ones resume. The table is
printed and written to OUT/TABLE.md and OUT/TABLE.json, also with rows and seeds that earlier calls
have measured, and to docs/results/supervised-TABLE.md with machine and command. Checkpoints are chosen
on STS-B dev for `sts` and `negatives`, and not at all elsewhere. `--steps N` cuts every stage to N
steps, to see that all runs; its figures go to a folder of their own. `--base` may hold {seed}:
`--base runs/quality/bidirectional-mean-mntp-seed{seed}`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nv_embed_tables
import supervised_tables
from results_page import Page, command, page_file
from seeds import Budget, cell, comparisons, finished, kept, kept_before, seeds_of, write_table
from supervised_data import SHARED, Files
from supervised_tables import Scored, Table

import bothways as bw
from bothways.errors import BothwaysError
from bothways.search.bm25_ranker import BM25
from bothways.training.loop.metrics import read_metrics
from bothways.training.recipe.overrides import override_values

TRAININGS = {**supervised_tables.TRAININGS, **nv_embed_tables.TRAININGS}
TABLES = {**supervised_tables.TABLES, **nv_embed_tables.TABLES}


@dataclass
class Run:
    """One call of the command."""

    out: Path
    base: str
    dtype: str
    steps: int | None
    budget: Budget = field(default_factory=lambda: Budget(None))
    files: Files = field(init=False)

    def __post_init__(self) -> None:
        # training files do not depend on the number of steps
        self.files = Files(self.out / "data")
        if self.steps is not None:
            self.out = self.out / f"steps-{self.steps}"

    def start(self, seed: int) -> str:
        """The base of a seed."""
        return self.base.replace("{seed}", str(seed))

    def folder(self, name: str, seed: int) -> Path:
        return self.out / f"{name}-seed{seed}"

    def recipe(self, name: str, seed: int) -> bw.Recipe:
        """The recipe of a training, from the encoder, language model or adapter of the one before it."""
        training = TRAININGS[name]
        changes: dict[str, Any] = {"seed": seed, **self._cut()}
        base = self.start(seed)
        if training.after is not None and training.adapter is None:
            base = str(self.folder(training.after, seed))
        elif training.after is not None:
            changes["base_adapter"] = f"{self.folder(training.after, seed)}/{training.adapter}"
        return override_values(training.make(base, self.files), changes)

    def missing(self, name: str, seed: int) -> list[str]:
        """Trainings that a row still needs, the first one first."""
        if name in ("", "bm25"):
            return []
        before = TRAININGS[name].after
        earlier = [] if before is None else self.missing(before, seed)
        return earlier if finished(self.folder(name, seed)) else [*earlier, name]

    def planned(self, names: Sequence[str]) -> int:
        """Tokens of some trainings, as their tables state them, 0 if they do not."""
        return sum(TRAININGS[name].tokens for name in names) if self.steps is None else 0

    def trained(self, name: str, seed: int) -> tuple[Path, dict[str, float]]:
        """The encoder folder of a training, and minutes and tokens of its own steps and those before it."""
        training = TRAININGS[name]
        spent = {"minutes": 0.0, "tokens": 0.0} if training.after is None else self.trained(training.after, seed)[1]
        folder, recipe = self.folder(name, seed), self.recipe(name, seed)
        bw.train(recipe, folder, resume=folder.exists())
        stages = json.loads((folder / "bothways.json").read_text())["stages"][-len(recipe.stages) :]
        spent["minutes"] += sum(stage["seconds"] for stage in stages) / 60
        spent["tokens"] += sum(stage["tokens"] for stage in stages)
        return folder, spent

    def _cut(self) -> dict[str, Any]:
        if self.steps is None:
            return {}
        return {"stages.*.optim.steps": self.steps, "stages.*.optim.warmup_steps": 0, "stages.*.eval": None}

    def _file(self, table: Table, name: str, seed: int) -> Path:
        """The file of a training's figures, by what is measured and not by table, since tables share rows."""
        return self.out / "scores" / f"{table.tasks.__name__}-{name or 'untrained'}-seed{seed}-{self.dtype}.json"

    def _asked(self, table: Table, name: str, seed: int, tasks: Scored) -> dict[str, Any]:
        """The question that the figures answer."""
        asked = {"columns": list(tasks), "max_length": table.max_length, "base": self.start(seed)}
        return asked | ({"recipe": self.recipe(name, seed).fingerprint()} if name in TRAININGS else {})

    def before(self, table: Table, row: str, seed: int, tasks: Scored) -> dict[str, float] | None:
        """Figures of a row that an earlier call has measured."""
        name = table.rows[row]
        file = self._file(table, name, seed)
        # a recipe's training files are made when it asks for them, so only if there are figures
        return kept_before(file, self._asked(table, name, seed, tasks)) if file.is_file() else None

    def score(self, table: Table, row: str, seed: int, tasks: Scored) -> dict[str, float] | None:
        """Figures x 100 of a row, from the file of an earlier call if there is one. None beyond the budget."""
        before = self.before(table, row, seed, tasks)
        if before is not None:
            return before
        name = table.rows[row]
        if not self.budget.allows(f"{row}, seed {seed}", self.planned(self.missing(name, seed))):
            return None
        asked = self._asked(table, name, seed, tasks)
        return kept(self._file(table, name, seed), asked, lambda: self._scored(table, name, seed, tasks))

    def _scored(self, table: Table, name: str, seed: int, tasks: Scored) -> dict[str, float]:
        encoder, spent = self._encoder(table, name, seed)
        started = time.perf_counter()
        results = bw.evaluate(encoder, list({id(task): task for task, _ in tasks.values()}.values()))
        found = {column: 100 * results[task.name][metric] for column, (task, metric) in tasks.items()}
        return found | {**spent, "scoring_minutes": (time.perf_counter() - started) / 60}

    def _encoder(self, table: Table, name: str, seed: int) -> tuple[Any, dict[str, float]]:
        if name == "bm25":
            return BM25(), {"minutes": 0.0, "tokens": 0.0}
        if name:
            folder, spent = self.trained(name, seed)
            watched = [line["mean_cosine"] for line in read_metrics(folder / "metrics.jsonl") if "mean_cosine" in line]
            spent |= {"mean cosine": 100 * watched[-1]} if watched else {}
            encoder = bw.load(folder, dtype=self.dtype)
        else:
            start, spent = self.start(seed), {"minutes": 0.0, "tokens": 0.0}
            saved = (Path(start) / "modules.json").exists()
            encoder = bw.load(start, dtype=self.dtype) if saved else bw.convert(start, dtype=self.dtype)
        if table.max_length is not None:
            encoder.options.max_length = table.max_length
        return encoder, spent


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--rows", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--plan", action="store_true", help="print the trainings that are missing, and train nothing")
    parser.add_argument("--tokens", type=float, help="start no training beyond so many tokens")
    parser.add_argument("--out", type=Path, default=Path("runs/supervised"))
    parser.add_argument(
        "--results", type=Path, help="folder of the page; without it docs/results, if nothing is cut or replaced"
    )
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    table = TABLES[options.table]
    rows = options.rows or [*table.first, *(row for row in table.rows if row not in table.first)]
    unknown = [row for row in rows if row not in table.rows]
    if unknown:
        raise SystemExit(f"error: no row {unknown[0]!r}; there are {', '.join(table.rows)}")
    if not SHARED.is_dir():
        raise SystemExit(f"error: {SHARED}: not there; these tables need this data folder")
    run = Run(options.out, options.base, options.dtype, options.steps, Budget(options.tokens))
    if options.plan:
        for seed in options.seeds:
            for row in rows:
                names = run.missing(table.rows[row], seed)
                print(f"{row}, seed {seed}: {', '.join(names) or 'finished'}, {run.planned(names):,} tokens stated")
        return
    try:
        fill(run, options.table, rows, options.seeds, page(run, options.table, options, arguments))
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None


def page(run: Run, name: str, options: argparse.Namespace, arguments: Sequence[str]) -> Page:
    """The page of docs/results/."""
    trial = options.steps is not None or options.base != "smollm2-135m"
    about = (
        f"SmolLM2-135M. Rows and columns are those of the table `{name}` of `benchmarks/supervised.py`, which describes them. "
        + ("Only development sets are read. " if name in ("ladder", "directions") else "")
        + ("Checkpoints are chosen on STS-B dev alone." if name in ("sts", "negatives") else "No checkpoint is chosen.")
        + " Tokens and minutes are those of a row's training, with everything before it that it starts from."
    )
    file = page_file(f"supervised-{name}", options.results, trial=trial)
    return Page(file, f"What labels are worth: {name}", about, command("supervised.py", arguments))


def fill(run: Run, name: str, rows: Sequence[str], seeds: Sequence[int], page: Page) -> None:
    """Train and score the rows, and write the table after each one.

    The table also holds what earlier calls have measured, for example other seeds.
    """
    table = TABLES[name]
    tasks = table.tasks(run.files)
    done: dict[tuple[str, int], dict[str, float]] = {}
    places = [(row, seed) for row in table.rows for seed in seeds_of(run.out / "scores", seeds)]
    for row, seed in places:
        before = run.before(table, row, seed, tasks)
        if before is not None:
            done[row, seed] = before
    text = ""
    # seed by seed: a call cut short leaves whole tables of fewer seeds
    for seed in seeds:
        for row in rows:
            seedless = table.rows[row] == "bm25" or (table.rows[row] == "" and "{seed}" not in run.base)
            if seedless and any(each == row for each, _ in done):
                continue
            figures = run.score(table, row, seed, tasks)
            if figures is not None:
                done[row, seed] = figures
                found: dict[str, dict[int, dict[str, float]]] = {}
                for each, by in places:
                    if (each, by) in done:
                        found.setdefault(each, {})[by] = done[each, by]
                made = lines(table, list(tasks), found)
                text = write_table(run.out, name, made, found)
                page.write([made], found)
    if text:
        print(text)
    for refused in run.budget.refused:
        print(f"not started, beyond --tokens: {refused}")


def lines(table: Table, columns: list[str], found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> list[str]:
    """The table in Markdown."""
    watched = any("mean cosine" in run for runs in found.values() for run in runs.values()) and bool(table.pairs)
    further = ["mean cosine"] if watched else []
    head = ["row", "seeds", *columns, *(["average"] if table.average else []), *further, "tokens", "training"]
    made = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, by_seed in found.items():
        runs = list(by_seed.values())
        cells = [", ".join(map(str, by_seed)), *(cell([run[column] for run in runs]) for column in columns)]
        if table.average:
            cells.append(cell([statistics.mean(run[column] for column in table.average) for run in runs]))
        for name in further:
            cells.append(cell([run[name] for run in runs]) if all(name in run for run in runs) else "")
        minutes, tokens = (statistics.mean(run[name] for run in runs) for name in ("minutes", "tokens"))
        cells += [f"{tokens:,.0f}" if tokens else "", f"{minutes:.0f} min" if minutes else ""]
        made.append(f"| {' | '.join([row, *cells])} |")
    differences = comparisons(found, table.pairs, columns)
    return [*made, *(["", *differences] if differences else []), *(["", table.note] if table.note else [])]


if __name__ == "__main__":
    main()
