"""What the form that every server computes costs on STS-B dev: SimCSE of SmolLM2-135M in four forms.

Run: .venv/bin/python benchmarks/servable.py [--seeds 0 1] [--rows servable] [--steps 150] [--out runs/servable]

    line feed               the laptop preset: a line feed before each text, which is not pooled
    servable                `--option servable=true`: BOS before each text, pooled, no prompt and no wrapper
    servable, last token    as servable, but EOS ends each text, and only it is pooled
    no prompt               nothing before a text

Rows are SimCSE of the laptop preset on the bidirectional base, without MNTP, with the same texts, steps and seeds.
3,270 tokens a step, so 150 steps of a row are 490,000 tokens. STS-B dev is read before the first step, and after a third,
two thirds and all of the steps. Finished trainings are reused, and killed ones resume. docs/results/servable.md has the
table with the machine and the command. Needs ../shared/data. `--base FOLDER --texts FILE --dev FILE` tries it with other
material.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quality import BASE, DATA, DEV, SENTENCES
from results_page import Page, command, page_file
from seeds import Found, cell, comparisons, kept, kept_before, metrics, seeds_of, trained, write_table

import bothways as bw
from bothways.errors import BothwaysError
from bothways.training.recipe.overrides import override_values

ROWS: Mapping[str, Mapping[str, Any]] = {
    "line feed": {"servable": False},
    "servable": {"servable": True},
    "servable, last token": {"servable": True, "pooling": "last", "add_eos": True},
    "no prompt": {"servable": False, "prompts": {}, "default_prompt": None},
}
PAIRS = [("servable", "line feed"), ("no prompt", "line feed"), ("servable", "no prompt"), ("servable, last token", "servable")]
COLUMNS = ["start", "third", "two thirds", "last"]


def recipe(row: str, seed: int, options: argparse.Namespace) -> bw.Recipe:
    """SimCSE of the laptop preset in a row's form."""
    made = bw.recipes.llm2vec(
        base=options.base,
        texts=options.texts or [str(DATA / name) for name in SENTENCES],
        preset="laptop",
        mntp=False,
        dev=f"sts:{options.dev}",
        seed=seed,
        **ROWS[row],
    )
    third = max(1, options.steps // 3)
    read = {"metric": f"sts:{options.dev}", "every": options.steps, "also": [third, 2 * third], "at_start": True}
    changes = {"optim.steps": options.steps, "eval": read, "save_every": third}
    return override_values(made, {f"stages.simcse.{key}": value for key, value in changes.items()})


def folder(row: str) -> str:
    """The start of the names of a row's folders."""
    return row.replace(",", "").replace(" ", "-")


def figures(row: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Dev by step, tokens and minutes of a row, from an earlier call if it has been trained."""
    made, name = recipe(row, seed, options), f"{folder(row)}-seed{seed}"

    def train() -> dict[str, Any]:
        spent = trained(made, options.out / name)
        dev = {step: 100 * value for step, value in metrics(options.out / name, "dev").items()}
        steps = [0, *made.resolved()["stages"][0]["eval"]["also"], max(dev)]
        return {**{column: dev[step] for column, step in zip(COLUMNS, steps)}, "best": max(dev.values()), **spent}

    return kept(options.out / "rows" / f"{name}.json", {"recipe": made.fingerprint()}, train)


def finished_seeds(row: str, options: argparse.Namespace) -> dict[int, dict[str, Any]]:
    """Figures of a row by seed, also of earlier calls."""
    runs = {}
    for seed in seeds_of(options.out / "rows", options.seeds):
        file = options.out / "rows" / f"{folder(row)}-seed{seed}.json"
        before = kept_before(file, {"recipe": recipe(row, seed, options).fingerprint()})
        if before is not None:
            runs[seed] = before
    return runs


def lines(found: Found) -> list[str]:
    """The table, and the differences that answer the question."""
    columns = [*COLUMNS, "best"]
    head = ["before a text", "seeds", *columns, "tokens", "training"]
    made = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, runs in found.items():
        cells = [cell([run[column] for run in runs.values()]) for column in columns]
        tokens, minutes = (sum(run[name] for run in runs.values()) / len(runs) for name in ("tokens", "minutes"))
        made.append(f"| {' | '.join([row, ', '.join(map(str, runs)), *cells, f'{tokens:,.0f}', f'{minutes:.0f} min'])} |")
    return [*made, "", *comparisons(found, PAIRS, columns)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--texts", nargs="+", help="other texts")
    parser.add_argument("--dev", default=str(DEV), help="STS file")
    parser.add_argument("--out", type=Path, default=Path("runs/servable"))
    parser.add_argument("--results", type=Path, help="folder of the page; without it docs/results, if the base is SmolLM2-135M")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    if options.texts is None and not DATA.is_dir():
        raise SystemExit(f"error: {DATA}: not there; the table needs this data folder, or --texts and --dev")
    options.out /= f"steps-{options.steps}"
    about = (
        f"STS-B dev (Spearman x 100) of SmolLM2-135M by step of SimCSE, {options.steps} steps of the laptop preset without "
        "MNTP. The rows differ in the token before each text. `servable` is the form that every server computes."
    )
    trial = options.texts is not None or options.base != BASE
    page = Page(
        page_file("servable", options.results, trial=trial),
        "What the servable form costs",
        about,
        command("servable.py", arguments),
    )
    try:
        for seed in options.seeds:
            for row in options.rows:
                figures(row, seed, options)
                found = {each: runs for each in ROWS if (runs := finished_seeds(each, options))}
                table = lines(found)
                print(write_table(options.out, "dev", table, found), flush=True)
                page.write([table], found)
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
