"""LongLoRA's attention patterns on the small model of `longlora.py`, and perplexity against steps of tuning.

Run: .venv/bin/python benchmarks/attention_pattern.py [--rows heads none] [--seeds 0] [--steps 200] [--every 25]
     [--base-steps 1000] [--out runs/longlora/pattern]

Rows are ways to shift groups in training, all LoRA+ from 256 to 1,024 tokens: "heads" (half of the heads, the paper's
S²-Attn), "none" (groups never meet), "layers" (every second layer), "all" (every head of every layer), and "full"
(attention over all tokens). The published order, for 8,192 tokens of Llama 2 7B, is full 8.02, layers 8.03, heads 8.04,
none 8.39 ("Ablation on attention patterns").

The perplexity of the validation books, under full attention, is read each `--every` steps, and chooses nothing. 200
steps of 4 rows of 1,024 tokens are 0.8M tokens a row; the base, trained once, takes 4.1M (25 minutes on one thread with
bfloat16). The first two rows are the smallest decisive run. Finished trainings are reused, killed ones resume. The table
and the curve are printed and written to OUT/table.md, OUT/table.json and docs/results/attention-pattern.md.
Needs ../shared/data/novels.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longlora import DATA, LONG, RATES, TRAIN, VALID, short_base
from results_page import Page, command, page_file
from seeds import Found, cell, comparisons, kept, kept_before, metrics, seeds_of, trained, write_table

import bothways as bw
from bothways.errors import BothwaysError

ROWS = ("heads", "none", "layers", "all", "full")
WINDOWS = 16  # of the validation books


def recipe(base: str, row: str, *, steps: int, every: int, seed: int, source: str, held_out: str) -> bw.Recipe:
    """LoRA+ in rows of 1,024 tokens, with one way to shift groups."""
    changes: dict[str, Any] = {
        "seed": seed,
        "stages__longlora__optim__steps": steps,
        "stages__longlora__optim__lr": RATES["lora+"],
        "stages__longlora__batch__size": 4,
        "stages__longlora__gradient_checkpointing": False,
        "stages__longlora__heldout": {"data": {"source": held_out}, "every": every, "limit": WINDOWS},
    }
    if row != "full":
        changes["stages__longlora__objective__shifted__shift"] = row
    return bw.recipes.longlora(
        base, source, "laptop", context=LONG, train="lora+", shifted=row != "full", rope="linear", **changes
    )


def lines(found: Found) -> list[str]:
    """Perplexity by step, mean and deviation over seeds, and differences from the paper's pattern."""
    first = next(iter(next(iter(found.values())).values()))
    steps = [name for name in first if name.startswith("step ")]
    head = ["shift", "seeds", *steps, "tokens", "training"]
    made = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row, by_seed in found.items():
        runs = list(by_seed.values())
        cells = [cell([run[step] for run in runs], "{:.2f}") for step in steps]
        minutes = sum(run["minutes"] for run in runs) / len(runs)
        facts = [f"{runs[0]['tokens']:,}", f"{minutes:.0f} min"]
        made.append(f"| {' | '.join([row, ', '.join(map(str, by_seed)), *cells, *facts])} |")
    differences = comparisons(found, [(row, "heads") for row in found if row != "heads"], steps[-1:])
    return [*made, *(["", *differences] if differences else [])]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--base-steps", type=int, default=1000)
    parser.add_argument("--base", help="a trained base of 256 positions, in place of the small one")
    parser.add_argument("--text", default=str(TRAIN))
    parser.add_argument("--held-out", default=str(VALID))
    parser.add_argument("--out", type=Path, default=Path("runs/longlora/pattern"))
    parser.add_argument("--results", type=Path, help="folder of the page; without it docs/results, if nothing is replaced")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    if options.text == str(TRAIN) and not DATA.is_dir():
        raise SystemExit(f"error: {DATA}: not there; this table needs this data folder")
    try:
        base = options.base or short_base(options.out.parent / "short", options.base_steps)
        fill(base, options, arguments)
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None


def page(options: argparse.Namespace, arguments: Sequence[str]) -> Page:
    """The page of docs/results/."""
    trial = options.base is not None or options.text != str(TRAIN) or options.held_out != str(VALID)
    about = (
        "Perplexity of held-out novels by step of tuning, always under full attention. A small Llama of 256 positions is "
        "stretched to 1,024 tokens and tuned by LoRA+ on as many tokens in each row. All seeds tune one base, so the spread "
        "is that of tuning. Perplexity chooses nothing. Lower is better."
    )
    file = page_file("attention-pattern", options.results, trial=trial)
    return Page(file, "LongLoRA's attention patterns", about, command("attention_pattern.py", arguments))


def fill(base: str, options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Train the rows, seed by seed, and write the table after each one, with what earlier calls have finished."""

    def place(row: str, seed: int) -> tuple[bw.Recipe, Path, Path, dict[str, Any]]:
        chosen = recipe(
            base, row, steps=options.steps, every=options.every, seed=seed, source=options.text, held_out=options.held_out
        )
        name = f"{row}-{options.steps}-seed{seed}"
        return chosen, options.out / name, options.out / "rows" / f"{name}.json", {"recipe": chosen.fingerprint()}

    def figures(chosen: bw.Recipe, folder: Path) -> dict[str, Any]:
        spent = trained(chosen, folder)
        return {**{f"step {step}": value for step, value in metrics(folder, "heldout_perplexity").items()}, **spent}

    made = page(options, arguments)
    seeds = seeds_of(options.out / "rows", options.seeds)
    known = {(row, seed): kept_before(*place(row, seed)[2:]) for row in ROWS for seed in seeds}
    for seed in options.seeds:
        for row in options.rows:
            chosen, folder, file, asked = place(row, seed)
            known[row, seed] = kept(file, asked, functools.partial(figures, chosen, folder))
            found: dict[str, dict[int, dict[str, Any]]] = {}
            for (each, number), run in known.items():
                if run is not None:
                    found.setdefault(each, {})[number] = run
            table = lines(found)
            print(write_table(options.out, "table", table, found), flush=True)
            made.write([table], found)


if __name__ == "__main__":
    main()
