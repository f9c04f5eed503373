"""`bothways demo`: all steps on the embedded model and the text of Python's library.

It converts the base, proves its direction, measures it, trains MNTP, SimCSE and pairs that code
holds by itself, measures again, saves the encoder and searches. Only the model is downloaded. The
size is chosen by the speed of the machine, so that two CPU cores need some ten minutes
(`cli/demo_size.py`). The recipe is the ordinary `llm2vec` with fewer steps, and every number comes
from the held-out functions of the running Python. No description of a function is a label.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bothways.cli.demo_size import SIZES, DemoSize, by_name, by_rate, measured_rate, of_run
from bothways.cli.json_output import Json, print_json
from bothways.cli.options import Device, console, say, say_next

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder
    from bothways.evaluation.tasks.stdlib import Remembered, Stdlib
    from bothways.search.bm25_ranker import BM25
    from bothways.training.recipe.recipe import Recipe

NAME = "demo"

# Not in the words of the documentation. turtle's pensize, tarfile and calendar have held-out
# functions in every version of Python.
SEARCHES = (
    "set the thickness of the drawing pen",
    "permissions of a file inside a tar archive",
    "how many days does this month have",
)
SEARCHED = ("turtle", "tarfile", "calendar")
"""Modules whose held-out functions are searched in every size."""
MAX_LENGTH = 96
"""Tokens of a function that are read when measuring. A quarter of the documents is longer."""


def command(
    out: Annotated[
        Path, typer.Option(help="folder for the encoder; a stopped demo in it continues")
    ] = Path("runs/demo"),
    base: Annotated[str, typer.Option(help="base LLM")] = "smollm2-135m",
    seed: Annotated[
        int, typer.Option(help="seed; the same one gives the same numbers on the same machine")
    ] = 42,
    size: Annotated[
        str | None,
        typer.Option(
            help="full, medium or small; chosen for ten minutes by the speed of this machine if not given",
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Turn SmolLM2-135M into a text encoder, and show the effect of each step."""
    from bothways.encoder.load import load
    from bothways.evaluation.task import RunOptions
    from bothways.evaluation.tasks.stdlib import Remembered, Stdlib
    from bothways.search.bm25_ranker import BM25
    from bothways.training.loop.trainer import train

    started = time.perf_counter()
    chosen = _size(size, base, seed, out, device)
    task = Stdlib(chosen.candidates)
    say(
        f"Task: find one of {len(task.collection.corpus)} functions of this Python's library by its description."
    )
    rows = [("BM25", _score(BM25(), task))]
    rows += _untrained(base, task, device)

    recipe = demo_recipe(base, seed, chosen)
    say(
        "\nTraining: MNTP (predict masked words from both sides), SimCSE (two dropout views of a text belong together), "
        "then pairs (a name or a comment belongs to its code)"
    )
    resume = out.exists()
    train(recipe, out, resume=resume, device=device)
    first, second = (out / "stages" / recipe.stage_folder(stage) for stage in (0, 1))
    for name, folder in (("+ MNTP", first), ("+ SimCSE", second), ("+ pairs", out)):
        encoder = load(folder, device=device)
        encoder.options.max_length = MAX_LENGTH
        remembered = Remembered(encoder, RunOptions())
        rows.append((name, _score(remembered, task)))
    _table(rows, chosen)
    _searches(remembered, task)
    say(f"\nThe encoder is in {out}. It loads without bothways too:")
    say(f'  SentenceTransformer("{out}").encode(["a text"])')
    say(f"Took {(time.perf_counter() - started) / 60:.1f} minutes.")
    print_json(
        {
            "out": out,
            "size": chosen.name,
            "task": task.name,
            "rows": [{"model": n, **m} for n, m in rows],
        }
    )
    say_next("bothways", "search", out, "FILE", "a question")


def _size(name: str | None, base: str, seed: int, out: Path, device: str) -> DemoSize:
    """Return the size of this name, of the stopped run in `out`, or that fits this machine.

    Raises:
        InputError: if `out` is not a place for the demo, or its run began with another size.
    """
    from bothways.encoder.convert import convert
    from bothways.errors import InputError

    asked = None if name is None else by_name(name)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    recipe = out / "recipe.yaml"
    # hidden files are leftovers of a run that was killed at its very beginning
    there = out.is_dir() and any(not each.name.startswith(".") for each in out.iterdir())
    if there and not recipe.is_file():
        raise InputError(f"--out {out}: holds files, but no run; choose another folder")
    begun = of_run(recipe, {each.name: demo_recipe(base, seed, each) for each in SIZES})
    if asked is not None and begun not in (None, asked):
        raise InputError(
            f"--size {asked.name}: the demo in {out} began with another size; leave --size out, or choose another folder"
        )
    if asked is not None:
        return asked
    if begun is not None:
        return begun
    encoder = convert(base, device=device)
    if encoder.device.type != "cpu":
        return SIZES[0]
    rate = measured_rate(encoder)
    found = by_rate(rate)
    say(
        f"This machine encodes with {rate:,.0f} GFLOP/s in {str(encoder.dtype).removeprefix('torch.')}, so the demo has the size "
        f"{found.name} (--size chooses another)."
    )
    return found


def demo_recipe(base: str, seed: int, size: DemoSize) -> Recipe:
    """Return the `llm2vec` recipe with the steps of a size."""
    from bothways.recipes import llm2vec

    small: dict[str, Any] = {
        "stages__mntp__batch__size": 8,
        "stages__mntp__objective__row_length": 128,
        "stages__mntp__optim__steps": size.mntp_steps,
        "stages__mntp__optim__warmup_steps": size.mntp_steps // 4,
        "stages__simcse__batch__size": size.simcse_batch,
        "stages__simcse__optim__steps": size.simcse_steps,
        "stages__supervised__batch__size": size.pairs_batch,
        "stages__supervised__objective__max_length": MAX_LENGTH,
        "stages__supervised__optim__steps": size.pairs_steps,
        "stages__supervised__optim__warmup_steps": size.pairs_steps // 4,
    }
    return llm2vec(
        base=base,
        texts="python-stdlib",
        preset="laptop",
        simcse=True,
        supervised="python-stdlib:names",
        seed=seed,
        **small,
    )


def _untrained(base: str, task: Stdlib, device: str) -> list[tuple[str, dict[str, float]]]:
    """Measure the base model in both directions, and print the proof of each direction."""
    from bothways.encoder.convert import convert
    from bothways.encoder.proof.doctor import doctor

    rows = []
    for direction in ("causal", "bidirectional"):
        encoder = convert(base, direction=direction, device=device, max_length=MAX_LENGTH)
        diagnosis = doctor(encoder, quick=True)
        say(f"\n{base}, {direction}:\n{diagnosis}")
        if not diagnosis.ok:
            raise typer.Exit(1)
        rows.append((direction, _score(encoder, task)))
    return rows


def _score(encoder: Encoder | Remembered | BM25, task: Stdlib) -> dict[str, float]:
    from bothways.evaluation.evaluate import evaluate

    return evaluate(encoder, task)["stdlib"]


def _table(rows: list[tuple[str, dict[str, float]]], size: DemoSize) -> None:
    from rich.table import Table

    table = Table(
        title=f"Find the function by its description (size {size.name}, held-out functions, nDCG and recall in %)"
    )
    table.add_column("")
    columns = (("ndcg@10", 100), ("recall@10", 100), ("alignment", 1), ("uniformity", 1))
    for name, _ in columns:
        table.add_column(name, justify="right")
    for name, metrics in rows:
        table.add_row(
            name,
            *(
                f"{metrics[key] * scale:.{1 if scale == 100 else 2}f}" if key in metrics else ""
                for key, scale in columns
            ),
        )
    console().print(table)
    lexical, last = rows[0][1]["ndcg@10"], rows[-1][1]["ndcg@10"]
    say(
        "alignment: distance of a description to its function (lower is closer); uniformity: lower is more evenly spread"
    )
    if lexical > last:
        say(
            f"BM25 is still ahead by {100 * (lexical - last):.1f} points: descriptions have many words in common with names "
            "and code, and this encoder was trained for minutes, without labels."
        )


def _searches(encoder: Remembered, task: Stdlib) -> None:
    from bothways.evaluation.tasks.stdlib import Stdlib
    from bothways.similarity import unit

    answers = {
        name: text
        for name, text in Stdlib().collection.corpus.items()
        if name.partition(".")[0] in SEARCHED
    }
    documents = {**task.collection.corpus, **answers}
    names = list(documents)
    vectors = unit(encoder.encode_document([documents[name] for name in names]))
    scores = unit(encoder.encode_query(list(SEARCHES))) @ vectors.T
    for query, row in zip(SEARCHES, scores):
        say(f"\n{query}")
        for index in row.argsort()[::-1][:3]:
            say(f"  {row[index]:.2f}  {names[index]}")
