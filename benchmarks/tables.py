"""Every evaluation on every set of the data folder: SmolLM2-135M causal, bidirectional, after MNTP,
after SimCSE.

Run: .venv/bin/python benchmarks/tables.py [--models causal bi mntp simcse] [--groups sts korean
tasks …] [--out DIR]

Each group of tasks of each model is one `bothways evaluate` command, printed before it runs and
repeated in OUT/commands.md. The two trained encoders are those of benchmarks/quality.py
(--encoders, --seed). Tasks that are done are not done again; the table is printed at the end and
written to OUT/table.md, and `bothways report OUT/*.json` makes a page of the same files.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from bothways.atomic import atomic_file
from bothways.evaluation.results import Results

DATA = Path("../shared/data")
BASE = "smollm2-135m"
# an abstract has 300 tokens on average, and reading all of them would take longer than everything
# else together
OPTIONS = {"retrieval": ("--max-length", "128")}
MODELS = ("causal", "bi", "mntp", "simcse")
GROUPS: dict[str, tuple[str, ...]] = {
    "sts": (
        f"sts:{DATA}/stsb?name=STS-B",
        *(f"sts:{DATA}/{name}?name={name.upper()}" for name in ("sts12", "sts13", "sts14")),
        f"sts:{DATA}/sick?split=trial&name=SICK trial",
    ),
    "korean": (f"sts:{DATA}/korsts?split=dev&name=KorSTS dev", f"sts:{DATA}/klue-sts?split=dev&name=KLUE-STS dev"),
    "tasks": (
        f"pairs:{DATA}/mrpc?name=MRPC",
        f"reranking:{DATA}/wikiqa?name=WikiQA",
        f"classification:{DATA}/banking77?name=Banking77",
        f"classification:{DATA}/emotion?shots=16&name=Emotion",
        f"classification:{DATA}/emotion?method=knn&shots=16&name=Emotion, kNN",
        f"classification:{DATA}/snips?name=SNIPS",
        f"clustering:{DATA}/stackoverflow-clustering?name=StackOverflow",
    ),
    "retrieval": (f"retrieval:{DATA}/scifact?name=SciFact",),
    "words": (f"words:{DATA}/conll2003?name=CoNLL-2003",),
    "lens": (f"geometry:{DATA}/stsb?name=geometry", f"layers:{DATA}/stsb/test.jsonl?name=layers", "prefix?name=prefix"),
    # of the base as a language model: its direction is its own
    "language": (
        f"perplexity:{DATA}/wikitext2-valid-test/test.txt.gz?length=2048&stride=256&windows=64&unit=line&name=WikiText-2",
        f"perplexity:{DATA}/novels/valid.jsonl.gz?length=2048&stride=256&windows=64&name=novels",
        "passkey?lengths=1024,2048,4096&depths=0,0.5,1&repeats=2&name=passkey",
        "topics?lengths=2048&repeats=5&name=topics",
    ),
}


def command(model: str, group: str, options: argparse.Namespace) -> list[str] | None:
    """The arguments of `bothways evaluate` for one model and group; None where the group is not for
    the model.
    """
    folders = {
        "mntp": options.encoders / f"bidirectional-mean-mntp-seed{options.seed}",
        "simcse": options.encoders / f"bidirectional-mean-mntp-simcse-seed{options.seed}",
    }
    if group == "language" and model != "causal":
        return None
    subject = [str(folders[model])] if model in folders else [BASE]
    if model not in folders and group != "language":
        subject += ["--direction", {"causal": "causal", "bi": "bidirectional"}[model]]
    tasks = [argument for task in GROUPS[group] for argument in ("--task", task)]
    subject += OPTIONS.get(group, ())
    return ["evaluate", *subject, *tasks, "--out", str(options.out / f"{model}-{group}.json"), "--resume"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--encoders", type=Path, default=Path("runs/quality"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/tables"))
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"error: {DATA}: not there; run from the project's root, beside the data folder")
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, dict[str, float]]] = {model: {} for model in options.models}
    commands = []
    for group in options.groups:
        for model in options.models:
            arguments = command(model, group, options)
            if arguments is None:
                continue
            commands.append(f"bothways {shlex.join(arguments)}")
            print(f"\n$ {commands[-1]}", flush=True)
            subprocess.run([str(Path(sys.executable).parent / "bothways"), *arguments], check=True)
            results = Results.load(options.out / f"{model}-{group}.json")
            for task, record in results.records.items():
                found[model][task] = {f"{task}: {record.main}": record.metrics[record.main]} | {
                    f"{task}: {name}": value for name, value in record.metrics.items() if name != record.main
                }
    text = table(found)
    for name, content in (("table.md", text), ("commands.md", "\n".join(f"    {line}" for line in commands) + "\n")):
        with atomic_file(options.out / name) as part:
            part.write_text(content)
    print(text)


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """One line per metric, one column per model; every metric that any of them has, main ones first
    within a task.
    """
    lines = [f"| | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    rows = dict.fromkeys(row for tasks in found.values() for metrics in tasks.values() for row in metrics)
    by_row = {
        model: {row: value for metrics in tasks.values() for row, value in metrics.items()} for model, tasks in found.items()
    }
    for row in rows:
        cells = [f"{by_row[model][row]:.4g}" if row in by_row[model] else "" for model in found]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
