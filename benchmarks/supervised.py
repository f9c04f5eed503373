"""What labels are worth: five tables of docs/results/ on SmolLM2-135M, one command each.

    sts        supervised over unsupervised SimCSE on STS (LingNLI + SNLI dev/test triplets)
    negatives  hard negatives over none
    scifact    nDCG@10 before and after training on SciFact's own train queries, beside BM25
    pooling    NV-Embed's comparison: EOS, mean, latent attention, self-attention x causal, bidirectional
    stages     one blended stage with in-batch negatives on or off, two stages, and two in the other order

Run: .venv/bin/python benchmarks/supervised.py TABLE [--rows …] [--seeds 0 1 2] [--out
runs/supervised] [--base smollm2-135m] Needs ../shared/data. Sized, by estimate, for ten minutes of
training and scoring a row on two idle cores. Finished trainings and scores are reused, also between
tables; killed ones resume. The table is printed and written to OUT/TABLE.md. Checkpoints are chosen
on STS-B dev for `sts` and `negatives`, and not at all elsewhere. `--steps N` cuts every stage to N
steps, to see that all runs; its figures go to a folder of their own. `--base` may hold {seed}:
`--base runs/quality/bidirectional-mean-mntp-seed{seed}`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervised_data import BANKING, DEV, SCIFACT, SENTENCES, SHARED, STS, Files

import bothways as bw
from bothways.atomic import atomic_file
from bothways.data.embedded.stdlib import retrieval_task
from bothways.data.labeled.templates import task_prompts
from bothways.evaluation.task import Task
from bothways.evaluation.tasks.classification import Classification
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.evaluation.tasks.sts import STS as Similarity
from bothways.recipes.labeled import EMBEDDED_INSTRUCTION
from bothways.search.bm25_ranker import BM25

# A whole abstract has 300 tokens on average, and encoding 5,183 of them would take a row's ten
# minutes alone.
SCIFACT_TOKENS = 128
# of a function when measuring; a quarter of them is longer (as in the demo)
STDLIB_TOKENS = 96

Make = Callable[[str, Files], bw.Recipe]


@dataclass(frozen=True)
class Training:
    """A recipe over a base, and the training whose encoder is that base; None for the command's
    base.
    """

    make: Make
    after: str | None = None


def simcse(source: str | None = None, **changes: Any) -> Make:
    """SimCSE's laptop preset, 150 steps of 64 rows cut to 32 tokens, without labels or from the NLI
    triplets.
    """

    def make(base: str, files: Files) -> bw.Recipe:
        options: dict[str, Any] = {"preset": "laptop", "dev": f"sts:{DEV}", "dev_every": 50, **changes}
        if source is None:
            return bw.recipes.simcse(base, SENTENCES, **options)
        return bw.recipes.simcse(base, files.nli, supervised=True, **options)

    return make


def scifact(*, mined: bool) -> Make:
    """LLM2Vec's supervised stage on 807 claims: 60 steps of 16, a good epoch, one negative a
    row.
    """

    def make(base: str, files: Files) -> bw.Recipe:
        task = {"name": "scifact", "source": files.scifact_mined if mined else files.scifact}
        sizes = {
            "objective__max_length": SCIFACT_TOKENS,
            "objective__negatives": int(mined),
            "batch__size": 16,
            "optim__steps": 60,
        }
        changes = {f"stages__supervised__{key}": value for key, value in sizes.items()}
        return bw.recipes.llm2vec(base, preset="laptop", mntp=False, supervised={"tasks": [task]}, **changes)

    return make


def nv_embed(order: str = "two_stage", **changes: Any) -> Make:
    """NV-Embed's laptop preset over four tasks, in 90 steps; weights give every task about as many
    rows.
    """

    def make(base: str, files: Files) -> bw.Recipe:
        retrieval = [
            {"name": "stdlib", "source": files.stdlib, "instruction": EMBEDDED_INSTRUCTION},
            {"name": "scifact", "source": files.scifact_mined, "weight": 2.0},
        ]
        others = [
            {"name": "nli", "source": files.nli, "weight": 0.15},
            {"name": "banking77", "source": files.banking, "weight": 0.3},
        ]
        # negatives are in the files already; the few rows without any stay so
        texts = {"retrieval": {"tasks": retrieval, "mine": None}, "blended": {"tasks": [*retrieval, *others], "mine": None}}
        made = bw.recipes.nv_embed(base, texts, "laptop", order=order, **changes)  # type: ignore[arg-type]
        steps = (50, 40) if len(made.stages) == 2 else (90,)
        return with_values(made, {f"stages.{place}.optim.steps": count for place, count in enumerate(steps)})

    return make


def with_values(recipe: bw.Recipe, changes: Mapping[str, Any]) -> bw.Recipe:
    from bothways.training.recipe.overrides import override_values

    return override_values(recipe, changes)


POOLINGS: dict[str, dict[str, Any]] = {
    "EOS": {"pooling": "last"},
    "mean": {"pooling": "mean"},
    "latent": {},
    # as narrow as the preset's latent attention
    "self-attention": {"pooling": {"mode": "self_attention", "heads": 8, "head_width": 72}},
}
DIRECTIONS = ("causal", "bidirectional")


def pooled(pooling: str, direction: str) -> str:
    """The training of a row of the pooling table; one of them is the recipe itself, and so a row of
    another table.
    """
    return "two-stage" if (pooling, direction) == ("latent", "bidirectional") else f"{pooling}-{direction}"


TRAININGS: dict[str, Training] = {
    "simcse": Training(simcse()),
    "entailment": Training(simcse("nli", stages__supervised__objective__negatives=0)),
    "nli": Training(simcse("nli")),
    "nli-alpha2": Training(simcse("nli", stages__supervised__objective__own_negative_log_weight=0.6931)),
    "simcse-nli": Training(simcse("nli"), after="simcse"),
    "scifact-in-batch": Training(scifact(mined=False), after="nli"),
    "scifact-mined": Training(scifact(mined=True), after="nli"),
    **{
        pooled(name, direction): Training(nv_embed(direction=direction, **changes))
        for name, changes in POOLINGS.items()
        for direction in DIRECTIONS
    },
    "single-in-batch": Training(nv_embed("single_in_batch")),
    "single": Training(nv_embed("single")),
    "reversed": Training(nv_embed("reversed")),
}

Scored = dict[str, tuple[Task, str]]


def sts_tasks() -> Scored:
    """Each set with its metric."""
    return {name: (Similarity(path, name=name), "spearman") for name, path in {"STS-B dev": DEV, **STS}.items()}


def scifact_tasks() -> Scored:
    task = Retrieval.from_folder(SCIFACT)
    return {"nDCG@10": (task, "ndcg@10"), "recall@10": (task, "recall@10"), "recall@100": (task, "recall@100")}


def nv_tasks() -> Scored:
    """One task of each kind, with the instruction that it was trained with."""
    same, intent = (task_prompts("nv_embed", name).query for name in ("nli", "banking77"))
    question = task_prompts("nv_embed", "stdlib", instruction=EMBEDDED_INSTRUCTION).query
    stdlib = Retrieval(retrieval_task(), name="stdlib", query_prompt=question, document_prompt="")
    # three draws of MTEB's ten
    banking = Classification.from_argument(str(BANKING), experiments=3, seed=42, prompt=intent)
    return {
        "retrieval (stdlib nDCG@10)": (stdlib, "ndcg@10"),
        "STS-B test": (Similarity(STS["STS-B"], prompt=same), "spearman"),
        "classification (Banking77)": (banking, "accuracy"),
    }


@dataclass(frozen=True)
class Table:
    """Rows by title, each a training's name, "" for the base as it is, or "bm25"; and what is
    measured.

    `average` names the columns whose mean is the last column.
    """

    rows: dict[str, str]
    tasks: Callable[[], Scored]
    max_length: int | None = None
    average: tuple[str, ...] = ()
    note: str = ""


NV_COLUMNS = ("retrieval (stdlib nDCG@10)", "STS-B test", "classification (Banking77)")
TABLES: dict[str, Table] = {
    "sts": Table(
        {"untrained": "", "SimCSE": "simcse", "SimCSE, NLI": "nli", "SimCSE, then NLI": "simcse-nli"},
        sts_tasks,
        average=tuple(STS),
    ),
    "negatives": Table(
        {"entailment alone": "entailment", "+ contradiction": "nli", "+ contradiction, α = 2": "nli-alpha2"},
        sts_tasks,
        average=tuple(STS),
    ),
    "scifact": Table(
        {"BM25": "bm25", "before": "nli", "in-batch negatives": "scifact-in-batch", "+ BM25's negatives": "scifact-mined"},
        scifact_tasks,
        max_length=SCIFACT_TOKENS,
        note=f"Encoders read the first {SCIFACT_TOKENS} tokens of a document, BM25 all of it.",
    ),
    "pooling": Table(
        {f"{name}, {direction}": pooled(name, direction) for name in POOLINGS for direction in DIRECTIONS},
        nv_tasks,
        max_length=STDLIB_TOKENS,
        average=NV_COLUMNS,
    ),
    "stages": Table(
        {
            "one stage, in-batch on": "single-in-batch",
            "one stage, in-batch off": "single",
            "two stages": "two-stage",
            "two stages, reversed": "reversed",
        },
        nv_tasks,
        max_length=STDLIB_TOKENS,
        average=NV_COLUMNS,
    ),
}


@dataclass
class Run:
    """One call of the command."""

    out: Path
    base: str
    dtype: str
    steps: int | None
    files: Files = field(init=False)

    def __post_init__(self) -> None:
        # training files do not depend on the number of steps
        self.files = Files(self.out / "data")
        if self.steps is not None:
            self.out = self.out / f"steps-{self.steps}"

    def start(self, seed: int) -> str:
        """The base of a seed."""
        return self.base.replace("{seed}", str(seed))

    def trained(self, name: str, seed: int) -> tuple[Path, float]:
        """The encoder folder of a training, and the minutes of its own steps and those before
        it.
        """
        training = TRAININGS[name]
        before, minutes = (self.start(seed), 0.0) if training.after is None else self.trained(training.after, seed)
        folder = self.out / f"{name}-seed{seed}"
        recipe = with_values(training.make(str(before), self.files), {"seed": seed, **self._cut()})
        bw.train(recipe, folder, resume=folder.exists())
        stages = json.loads((folder / "bothways.json").read_text())["stages"]
        return folder, minutes + sum(stage["seconds"] for stage in stages[-len(recipe.stages) :]) / 60

    def _cut(self) -> dict[str, Any]:
        if self.steps is None:
            return {}
        return {"stages.*.optim.steps": self.steps, "stages.*.optim.warmup_steps": 0, "stages.*.eval": None}

    def score(self, table: str, row: str, seed: int, tasks: Scored) -> dict[str, float]:
        """Figures x 100 of a row, from the file of an earlier call where there is one."""
        name = TABLES[table].rows[row] or "untrained"
        # by what is measured and not by table, since tables share rows
        file = self.out / "scores" / f"{TABLES[table].tasks.__name__}-{name}-seed{seed}-{self.dtype}.json"
        if file.exists():
            return json.loads(file.read_text())
        encoder, minutes = self._encoder(table, TABLES[table].rows[row], seed)
        started = time.perf_counter()
        results = bw.evaluate(encoder, list({id(task): task for task, _ in tasks.values()}.values()))
        found = {column: 100 * results[task.name][metric] for column, (task, metric) in tasks.items()}
        found |= {"minutes": minutes, "scoring_minutes": (time.perf_counter() - started) / 60}
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as part:
            part.write_text(json.dumps(found, indent=2))
        return found

    def _encoder(self, table: str, name: str, seed: int) -> tuple[Any, float]:
        if name == "bm25":
            return BM25(), 0.0
        folder, minutes = self.trained(name, seed) if name else (None, 0.0)
        if folder is None:
            start = self.start(seed)
            finished = (Path(start) / "modules.json").exists()
            encoder = bw.load(start, dtype=self.dtype) if finished else bw.convert(start, dtype=self.dtype)
        else:
            encoder = bw.load(folder, dtype=self.dtype)
        if TABLES[table].max_length is not None:
            encoder.options.max_length = TABLES[table].max_length
        return encoder, minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--rows", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/supervised"))
    options = parser.parse_args()
    table = TABLES[options.table]
    rows = options.rows or list(table.rows)
    unknown = [row for row in rows if row not in table.rows]
    if unknown:
        raise SystemExit(f"error: no row {unknown[0]!r}; there are {', '.join(table.rows)}")
    if not SHARED.is_dir():
        raise SystemExit(f"error: {SHARED}: not there; these tables need this data folder")
    run = Run(options.out, options.base, options.dtype, options.steps)
    tasks = table.tasks()
    found: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
    # seed by seed: a call cut short leaves whole tables of fewer seeds
    for seed in options.seeds:
        for row in rows:
            seedless = table.rows[row] == "bm25" or (table.rows[row] == "" and "{seed}" not in options.base)
            if not (seedless and found[row]):
                found[row].append(run.score(options.table, row, seed, tasks))
    text = "\n".join(lines(table, list(tasks), found)) + "\n"
    with atomic_file(run.out / f"{options.table}.md") as part:
        part.write_text(text)
    print(text)


def lines(table: Table, columns: list[str], found: Mapping[str, list[dict[str, float]]]) -> list[str]:
    """The table in Markdown."""
    head = ["row", *columns, *(["average"] if table.average else []), "training"]
    made = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, runs in found.items():
        cells = [cell([run[column] for run in runs]) for column in columns]
        if table.average:
            cells.append(cell([statistics.mean(run[column] for column in table.average) for run in runs]))
        minutes = statistics.mean(run["minutes"] for run in runs)
        made.append(f"| {' | '.join([row, *cells, f'{minutes:.0f} min' if minutes else ''])} |")
    return [*made, "", table.note] if table.note else made


def cell(values: list[float]) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
