"""LLaRA on real text: adaptation on novels and Wikipedia, then the same fine-tuning with and
without it, scored on retrieval.

Run: .venv/bin/python benchmarks/llara.py [--seeds 0 1 2] [--rows code …] [--fine scifact stdlib]
[--out runs/llara] Needs the data folder ../shared/data. Finished runs and scores are reused, killed
ones resume. At the end a table (OUT/table.md): for each row the scores after fine-tuning, and
before it where that is cheap, mean and spread over seeds; and for each adapted encoder the words
that its two vectors hold for a few passages that it has not read (OUT/words-*.txt).

Rows: "none", the base with the same prompts and new tokens and no adaptation; "code" and "paper",
the two modes; "code, bidirectional", ours; "paper + text", paper mode with the text's own loss, to
see what keeps it from collapsing.

Sized for two CPU cores, where a seed of three rows takes about an hour: half the recipe's steps,
one of BM25's negatives a row, no refresh (on SciFact it would encode 5,183 abstracts each time),
and of an abstract its first tokens, as in benchmarks/supervised.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import bothways as bw
from bothways.atomic import atomic_file
from bothways.data.text.passages import cut, read_passages
from bothways.evaluation.language_model.embedding_words import embedding_words

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BASE = "smollm2-135m"
TRAINING = (DATA / "novels" / "train_0.jsonl.gz", DATA / "wikitext2-valid-test" / "test.txt.gz")
UNREAD = (DATA / "novels" / "valid.jsonl.gz", DATA / "wikitext2-valid-test" / "valid.txt.gz")
TASKS = {"scifact": f"retrieval:{DATA / 'scifact'}", "stdlib": "stdlib"}
LABELLED = {"scifact": str(DATA / "scifact"), "stdlib": "python-stdlib"}
MAIN = "nDCG@10"
# of a document, in training and scoring, prompts included
TOKENS = {"scifact": 128, "stdlib": 96}
# before fine-tuning only the small collection is ranked
BEFORE = ("stdlib",)
ADAPTATION_STEPS, FINETUNING_STEPS = 150, 60

# row → options of the recipe, and changes of its adaptation; None: not adapted
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]] | None] = {
    "none": None,
    "code": ({}, {}),
    "paper": ({"mode": "paper"}, {}),
    "paper + text": ({"mode": "paper"}, {"stages.adaptation.objective.text_loss": "next_token"}),
    "code, bidirectional": ({"direction": "bidirectional"}, {}),
}


def adapted(row: str, seed: int, documents: int, out: Path) -> Path | None:
    """Folder of the row's adapted encoder; None for the base."""
    chosen = ROWS[row]
    if chosen is None:
        return None
    options, changes = chosen
    folder = out / f"{slug(row)}-seed{seed}"
    texts = {"adaptation": {"source": [str(path) for path in TRAINING], "limit": documents}}
    steps = {"stages.adaptation.optim.steps": ADAPTATION_STEPS, "stages.adaptation.optim.warmup_steps": ADAPTATION_STEPS // 10}
    recipe = bw.recipes.llara(base=BASE, texts=texts, preset="laptop", seed=seed, **options, **steps, **changes)
    bw.train(recipe, folder, resume=folder.exists())
    return folder


def finetuned(row: str, task: str, seed: int, before: Path | None, out: Path) -> Path:
    """Folder of the encoder fine-tuned on the task's training rows, from the adapted one or from
    the base.
    """
    options = ROWS[row][0] if ROWS[row] is not None else {}  # type: ignore[index]
    folder = out / f"{slug(row)}-{task}-seed{seed}"
    base = BASE if before is None else str(before)
    sizes = {
        "objective.max_length": TOKENS[task],
        "objective.negatives": 1,
        "optim.steps": FINETUNING_STEPS,
        "optim.warmup_steps": FINETUNING_STEPS // 10,
        "refresh": None,
    }
    changes = {f"stages.finetune.{key}": value for key, value in sizes.items()}
    recipe = bw.recipes.llara(
        base=base, preset="laptop", supervised=LABELLED[task], adaptation=False, seed=seed, **options, **changes
    )
    bw.train(recipe, folder, resume=folder.exists())
    return folder


def score(encoder: Any, tasks: list[str], file: Path) -> dict[str, float]:
    """The main figure of each task, kept in `file`."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for task in tasks:
        if task not in known:
            scored = encoder()
            scored.options.max_length = TOKENS[task]
            known[task] = bw.evaluate(scored, TASKS[task]).main[TASKS[task]]
            with atomic_file(file) as part:
                part.write_text(json.dumps(known, indent=2), encoding="utf-8")
    return {task: known[task] for task in tasks}


def untrained(seed: int) -> Any:
    """The base as the recipe without adaptation starts: prompts and new tokens, nothing trained."""
    import torch

    from bothways.training.stage.base_encoder import open_base
    from bothways.training.stage.stage_context import StageContext

    recipe = bw.recipes.llara(base=BASE, supervised="python-stdlib", adaptation=False, preset="laptop", seed=seed)
    return open_base(StageContext(recipe, 0), device=torch.device("cpu"), dtype=torch.float32).eval()


def words(folder: Path, file: Path, count: int = 6) -> None:
    """What the two vectors hold, for passages out of books and articles that were not trained
    on.
    """
    if file.exists():
        return
    encoder = bw.load(folder)
    lines = []
    for path in UNREAD:
        for document in read_passages(path, limit=count // 2):
            passages = cut(str(document), 90, lambda texts: [len(text.split()) for text in texts])
            middle = len(passages) // 2
            shown = embedding_words(encoder, [passages[middle]], words=12)[0]
            lines += [str(shown), f"  next:       {' '.join(passages[middle + 1 : middle + 2])[:300]}", ""]
    with atomic_file(file) as part:
        part.write_text("\n".join(lines), encoding="utf-8")


def slug(row: str) -> str:
    return row.replace(", ", "-").replace(" + ", "-").replace(" ", "-")


def spread(values: list[float]) -> str:
    mean = statistics.fmean(values)
    return f"{100 * mean:.2f}" + (f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--fine", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--documents", type=int, default=400, help="of each source")
    parser.add_argument("--out", type=Path, default=Path("runs/llara"))
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA}: the data folder is missing")
    options.out.mkdir(parents=True, exist_ok=True)
    before: dict[str, list[dict[str, float]]] = {row: [] for row in options.rows}
    after: dict[str, list[dict[str, float]]] = {row: [] for row in options.rows}
    for seed in options.seeds:
        for row in options.rows:
            folder = adapted(row, seed, options.documents, options.out)
            name = f"{slug(row)}-seed{seed}"
            start = (lambda seed=seed: untrained(seed)) if folder is None else (lambda folder=folder: bw.load(folder))
            before[row].append(score(start, list(BEFORE), options.out / f"scores-{name}-before.json"))
            if folder is not None:
                words(folder, options.out / f"words-{name}.txt")
            scores = {}
            for task in options.fine:
                fine = finetuned(row, task, seed, folder, options.out)
                scores |= score(lambda fine=fine: bw.load(fine), [task], options.out / f"scores-{name}-{task}.json")
            after[row].append(scores)
            print(name, before[row][-1], scores, flush=True)
    head = [*(f"{task}, before fine-tuning" for task in BEFORE), *(f"{task}, fine-tuned" for task in options.fine)]
    table = [f"| {MAIN} | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for row in options.rows:
        cells = [spread([each[task] for each in before[row]]) for task in BEFORE]
        cells += [spread([each[task] for each in after[row]]) for task in options.fine]
        table.append(f"| {row} | {' | '.join(cells)} |")
    with atomic_file(options.out / "table.md") as part:
        part.write_text("\n".join(table) + "\n", encoding="utf-8")
    print("\n".join(table))


if __name__ == "__main__":
    main()
