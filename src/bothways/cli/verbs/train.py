"""`bothways train RECIPE|FILE`: run a recipe by name or from a file, resume it, or say what it would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bothways.cli.options import Device, assignments, say
from bothways.cli.word_task import run_word_task
from bothways.errors import InputError

NAME = "train"


def command(
    recipe: Annotated[
        str, typer.Argument(help="a recipe's name (bothways recipes), a YAML file, or one of LLM2Vec's JSON configurations")
    ],
    out: Annotated[Path | None, typer.Option(help="folder for the encoder, recipe, metrics and checkpoints")] = None,
    base: Annotated[str | None, typer.Option(help="base LLM or encoder folder")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="texts: file, folder, hub dataset, python-stdlib; repeat for several")
    ] = None,
    preset: Annotated[str, typer.Option(help="for a recipe's name: published or laptop")] = "published",
    dev: Annotated[
        str | None, typer.Option(help="for a recipe's name: task that chooses the best checkpoint, e.g. sts:dev.jsonl")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", help="for a recipe's name: a choice of its own, e.g. supervised=rows.jsonl; repeatable"),
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="one value by its path: stages.mntp.optim.lr=1e-3; repeatable")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue a stopped run in --out")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="begin again in the --out of an earlier run, whose files are removed")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the resolved recipe, sizes, steps, time and memory; write nothing")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train an encoder."""
    from bothways.training.loop.trainer import train
    from bothways.training.recipe.llm2vec_words import is_word_task

    if is_word_task(recipe):
        if dev is not None or options or sets or resume or overwrite:
            raise InputError(f"{recipe}: a word-task configuration takes --base, --data, --out, --device and --dry-run alone")
        run_word_task(recipe, base=base, data=data, out=out, device=device, dry_run=dry_run)
        return
    chosen, folder = _read(recipe, out, base=base, data=data, preset=preset, dev=dev, options=options or [], sets=sets or [])
    if dry_run:
        _print_estimate(train(chosen, dry_run=True, device=device))
        return
    if folder is None:
        raise InputError("--out: name the folder that the trained encoder goes to")
    if resume and overwrite:
        raise InputError("--overwrite: begins again, and --resume goes on; choose one")
    encoder = train(chosen, folder, resume=resume, device=device, overwrite=overwrite or _file_overwrites(recipe))
    last = chosen.stages[-1].objective
    if last.language_model:
        say(f"{folder}: language model, {last.context} tokens of context; a base for convert, train and evaluate")
        return
    say(f"{folder}: {encoder.direction} encoder, {encoder.dimension} dimensions, {encoder.pooling.mode} pooling")


def _read(
    name: str,
    out: Path | None,
    *,
    base: str | None,
    data: list[str] | None,
    preset: str,
    dev: str | None,
    options: list[str],
    sets: list[str],
) -> tuple[Any, Path | None]:
    from bothways import recipes
    from bothways.training.recipe.overrides import override
    from bothways.training.recipe.recipe_files import output_dir, read_recipe

    if name in recipes.NAMES and not Path(name).is_file():
        common: dict[str, Any] = {"preset": preset, "dev": dev}
        common |= {key: value for key, value in (("base", base), ("texts", data)) if value is not None}
        return override(recipes.get(name).make(assignments(options), **common), sets), out
    if not Path(name).is_file() and not name.endswith((".yaml", ".yml", ".json")):
        raise InputError(f"{name}: neither a recipe ({', '.join(recipes.NAMES)}) nor a file")
    if dev is not None:
        raise InputError("--dev: only for a recipe's name; in a file set stages.NAME.eval")
    if options:
        raise InputError(f"--option {options[0]}: only for a recipe's name; in a file use --set")
    found = output_dir(name) if out is None else None
    return read_recipe(name, base=base, data=data, sets=sets), out or (Path(found) if found else None)


def _file_overwrites(name: str) -> bool:
    from bothways.training.recipe.recipe_files import overwrites

    return name.endswith(".json") and Path(name).is_file() and overwrites(name)


def _print_estimate(plan: Any) -> None:
    typer.echo(plan.recipe.to_yaml())
    for stage in plan.stages:
        cost = f"about {_duration(stage.seconds)}, {stage.memory / 2**30:.1f} GiB, {stage.dtype}"
        say(
            f"{stage.name}: {stage.trainable:,} of {stage.parameters:,} parameters train; {stage.examples:,} examples, "
            f"{stage.steps:,} steps, {stage.tokens:,} tokens; {cost}"
        )
    say(f"on {plan.device}, {plan.processes} process(es): about {_duration(plan.seconds)} in all, without evaluations")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
