"""The trainings and tables of `benchmarks/supervised.py`: which recipe makes a row, and what scores it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from supervised_data import BANKING, DEV, SCIFACT, SENTENCES, STS, Files

import bothways as bw
from bothways.data.embedded.stdlib import retrieval_task
from bothways.data.labeled.templates import task_prompts
from bothways.evaluation.task import Task
from bothways.evaluation.tasks.classification import Classification, ClassifierOptions
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.evaluation.tasks.sts import STS as Similarity
from bothways.recipes.labeled import EMBEDDED_INSTRUCTION
from bothways.training.recipe.overrides import override_values

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

    `adapter` is a folder of the training before, for example "adapters/1-mntp": the base is then
    the command's with that adapter merged into it, so that pooling and prompts are free. `tokens`
    is what the training takes, 0 if nobody counted.
    """

    make: Make
    after: str | None = None
    adapter: str | None = None
    tokens: int = 0


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
        return override_values(made, {f"stages.{place}.optim.steps": count for place, count in enumerate(steps)})

    return make


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


def sts_tasks(files: Files) -> Scored:
    """Each set with its metric."""
    return {name: (Similarity(path, name=name), "spearman") for name, path in {"STS-B dev": DEV, **STS}.items()}


def scifact_tasks(files: Files) -> Scored:
    task = Retrieval.from_folder(SCIFACT)
    return {"nDCG@10": (task, "ndcg@10"), "recall@10": (task, "recall@10"), "recall@100": (task, "recall@100")}


def nv_tasks(files: Files) -> Scored:
    """One task of each kind, with the instruction that it was trained with."""
    same, intent = (task_prompts("nv_embed", name).query for name in ("nli", "banking77"))
    question = task_prompts("nv_embed", "stdlib", instruction=EMBEDDED_INSTRUCTION).query
    stdlib = Retrieval(retrieval_task(), name="stdlib", query_prompt=question, document_prompt="")
    # three draws of MTEB's ten
    banking = Classification.from_argument(str(BANKING), options=ClassifierOptions(experiments=3), seed=42, prompt=intent)
    return {
        "retrieval (stdlib nDCG@10)": (stdlib, "ndcg@10"),
        "STS-B test": (Similarity(STS["STS-B"], prompt=same), "spearman"),
        "classification (Banking77)": (banking, "accuracy"),
    }


@dataclass(frozen=True)
class Table:
    """Rows by title, each a training's name, "" for the base as it is, or "bm25"; and what is
    measured.

    `average` names the columns whose mean is the last column, `first` the rows that run before the
    others, and `pairs` the rows whose difference is listed below the table.
    """

    rows: dict[str, str]
    tasks: Callable[[Files], Scored]
    max_length: int | None = None
    average: tuple[str, ...] = ()
    note: str = ""
    first: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()


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
