"""Trains on pairs that source code holds by itself, names and comments, and scores the demo's task.

    python benchmarks/code_pairs.py [--seeds 0 1] [--steps 70] [--out runs/code-pairs]

Nobody labels such pairs, and no description of a function takes part in them. They are those of
`python-stdlib:names` (`bothways.data.embedded.stdlib_names`).

The task is `stdlib` of `bothways evaluate`: find one of 1,013 held-out functions by the first
paragraph of its docstring. Supervised training of the laptop preset without MNTP on the bidirectional
base: 70 steps of 48 pairs of at most 96 tokens, some 320,000 tokens. Nothing was tuned on the task.
Finished trainings are reused, and killed ones resume. docs/results/code-pairs.md has the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results_page import Page, command, page_file
from seeds import Found, cell, kept, kept_before, seeds_of, trained, write_table

import bothways as bw
from bothways.atomic import atomic_file
from bothways.data.embedded.stdlib_names import name_pairs
from bothways.search.bm25_ranker import BM25
from bothways.training.recipe.overrides import override_values

BASE = "smollm2-135m"
ROW = "pairs of names and comments"
COLUMNS = ["ndcg@10", "recall@10", "alignment", "uniformity"]


def write_pairs(file: Path) -> None:
    """Write the pairs of Python's library, if the file does not exist."""
    if file.is_file():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as part:
        rows = ({"query": pair.query, "positive": pair.positives[0]} for pair in name_pairs())
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recipe(options: argparse.Namespace, seed: int) -> bw.Recipe:
    """Supervised training of the laptop preset on the pairs."""
    made = bw.recipes.llm2vec(
        base=options.base, preset="laptop", mntp=False, supervised=[str(options.out / "pairs.jsonl")], seed=seed
    )
    changes = {"batch.size": 48, "optim.steps": options.steps, "objective.max_length": 96}
    return override_values(made, {f"stages.supervised.{key}": value for key, value in changes.items()})


def scores(encoder: Any) -> dict[str, float]:
    """The measures of the task."""
    found = bw.evaluate(encoder, "stdlib")["stdlib"]
    return {name: found[name] * (100 if "@" in name else 1) for name in COLUMNS if name in found}


def figures(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The measures, tokens and minutes of a seed, from an earlier call if it has been trained."""
    made, folder = recipe(options, seed), options.out / f"steps{options.steps}-seed{seed}"

    def train() -> dict[str, Any]:
        spent = trained(made, folder)
        encoder = bw.load(folder)
        encoder.options.max_length = 96  # as the demo
        return {**scores(encoder), **spent}

    return kept(folder.with_name(f"{folder.name}.json"), {"recipe": made.fingerprint()}, train)


def lines(found: Found, bm25: Mapping[str, float]) -> list[str]:
    """The table in Markdown."""
    made = [f"| {' | '.join(['', *COLUMNS, 'tokens', 'training'])} |", "|---" * (len(COLUMNS) + 3) + "|"]
    made.append(f"| {' | '.join(['BM25', *(f'{bm25[name]:.1f}' if name in bm25 else '' for name in COLUMNS), '', ''])} |")
    for row, runs in found.items():
        cells = [cell([run[name] for run in runs.values()], "{:.1f}" if "@" in name else "{:.2f}") for name in COLUMNS]
        tokens, minutes = (sum(run[name] for run in runs.values()) / len(runs) for name in ("tokens", "minutes"))
        made.append(f"| {' | '.join([row, *cells, f'{tokens:,.0f}', f'{minutes:.0f} min'])} |")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=70)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--out", type=Path, default=Path("runs/code-pairs"))
    parser.add_argument("--results", type=Path, help="folder of the page; without it docs/results, if the base is SmolLM2-135M")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    write_pairs(options.out / "pairs.jsonl")
    about = (
        "Find one of the held-out functions of Python's library by its description, after training SmolLM2-135M on pairs that "
        f"source code holds by itself: names and comments, each with its code. {options.steps} steps of 48 pairs, without MNTP."
    )
    page = Page(
        page_file("code-pairs", options.results, trial=options.base != BASE),
        "Names and comments in place of labels",
        about,
        command("code_pairs.py", arguments),
    )
    bm25 = scores(BM25())
    for seed in options.seeds:
        figures(seed, options)
        runs = {
            each: before
            for each in seeds_of(options.out, options.seeds)
            if (
                before := kept_before(
                    options.out / f"steps{options.steps}-seed{each}.json", {"recipe": recipe(options, each).fingerprint()}
                )
            )
        }
        table = lines({ROW: runs}, bm25)
        print(write_table(options.out, "table", table, {ROW: runs}), flush=True)
        page.write([table], {ROW: runs})


if __name__ == "__main__":
    main()
