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
and the curve are printed and written to OUT/table.md and OUT/table.json. Needs ../shared/data/novels.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longlora import DATA, LONG, RATES, TRAIN, VALID, short_base
from seeds import cell, comparisons, metrics, trained, write_table

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


def lines(found: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[str]:
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
    options = parser.parse_args(arguments)
    if options.text == str(TRAIN) and not DATA.is_dir():
        raise SystemExit(f"error: {DATA}: not there; this table needs this data folder")
    try:
        base = options.base or short_base(options.out.parent / "short", options.base_steps)
        fill(base, options)
    except BothwaysError as error:
        raise SystemExit(f"error: {error}") from None


def fill(base: str, options: argparse.Namespace) -> None:
    """Train the rows, seed by seed, and write the table after each one."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for seed in options.seeds:
        for row in options.rows:
            chosen = recipe(
                base,
                row,
                steps=options.steps,
                every=options.every,
                seed=seed,
                source=options.text,
                held_out=options.held_out,
            )
            folder = options.out / f"{row}-{options.steps}-seed{seed}"
            spent = trained(chosen, folder)
            curve = {f"step {step}": value for step, value in metrics(folder, "heldout_perplexity").items()}
            found.setdefault(row, {})[seed] = {**curve, **spent}
            print(write_table(options.out, "table", lines(found), found), flush=True)


if __name__ == "__main__":
    main()
