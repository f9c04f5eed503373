"""`bothways train RECIPE|FILE`: run a recipe, resume it, or estimate its cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.option_groups import flat
from bothways.cli.options import Device, assignments, say, say_next
from bothways.cli.word_task import run_word_task
from bothways.errors import InputError
from bothways.nearest import meant

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder
    from bothways.training.recipe.recipe import Recipe
    from bothways.training.stage.estimate import DryRun

NAME = "train"


@dataclass(frozen=True)
class RecipeChoices:
    """The choices that a recipe leaves to the user."""

    base: Annotated[str | None, typer.Option(help="base LLM or finished encoder")] = None
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="training texts: file, folder, hub dataset or python-stdlib; repeat for several"
        ),
    ] = None
    preset: Annotated[str, typer.Option(help="for a recipe by name: published or laptop")] = (
        "published"
    )
    dev: Annotated[
        str | None,
        typer.Option(
            help="for a recipe by name: task that chooses the best checkpoint, for example sts:dev.jsonl"
        ),
    ] = None
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            help="for a recipe by name: an option of the recipe, for example supervised=rows.jsonl; repeat for several",
        ),
    ] = None
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="one value by its path, for example stages.mntp.optim.lr=1e-3; repeat for several",
        ),
    ] = None


# Options with a long help, which the signature of the command names.
_Recipe = Annotated[
    str,
    typer.Argument(
        help="name of a recipe (see bothways recipes), a YAML file, or one of LLM2Vec's JSON configurations"
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(help="folder for the encoder, the recipe, metrics and checkpoints"),
]
_Resume = Annotated[bool, typer.Option("--resume", help="continue a stopped run in --out")]
_Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="remove the files of an earlier run in --out, and start from the beginning",
    ),
]
_DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="print the whole recipe, sizes, steps, time and memory; write nothing"
    ),
]


@flat
def command(
    recipe: _Recipe,
    *,
    out: _Out = None,
    choices: RecipeChoices,
    resume: _Resume = False,
    overwrite: _Overwrite = False,
    dry_run: _DryRun = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train an encoder with a recipe.

    bothways train llm2vec --base smollm2-135m --data texts.txt --preset laptop --out runs/mine
    """
    from bothways.training.loop.trainer import train
    from bothways.training.recipe.llm2vec_words import is_word_task

    if is_word_task(recipe):
        if choices.dev is not None or choices.options or choices.sets or resume or overwrite:
            raise InputError(
                f"{recipe}: a word-task configuration takes only --base, --data, --out, --device and --dry-run"
            )
        run_word_task(
            recipe, base=choices.base, data=choices.data, out=out, device=device, dry_run=dry_run
        )
        return
    chosen, folder = _read(recipe, out, choices)
    if dry_run:
        plan = train(chosen, dry_run=True, device=device)
        print_json(plan.as_dict())
        _print_estimate(plan, yaml=not json)
        return
    if folder is None:
        raise InputError("--out: name the folder for the trained encoder")
    if resume and overwrite:
        raise InputError("--overwrite starts again and --resume continues; use only one of them")
    encoder = train(
        chosen,
        folder,
        resume=resume,
        device=device,
        overwrite=overwrite or _file_overwrites(recipe),
    )
    _say_product(encoder, folder, chosen)


def _say_product(encoder: Encoder, folder: Path, recipe: Recipe) -> None:
    """Tell what was trained, and the command that usually comes next."""
    from bothways.objectives.causal_lm import CausalLmConfig

    last = recipe.stages[-1].objective
    if isinstance(last, CausalLmConfig):
        say(
            f"{folder}: language model, {last.context} tokens of context; use it as a base of convert, train and evaluate"
        )
        print_json({"out": folder, "context": last.context})
        say_next("bothways", "convert", folder, "--out", f"{folder}-encoder")
        return
    say(
        f"{folder}: {encoder.direction} encoder, {encoder.dimension} dimensions, {encoder.pooling.mode} pooling"
    )
    print_json(
        {
            "out": folder,
            "direction": encoder.direction,
            "dimension": encoder.dimension,
            "pooling": encoder.pooling.mode,
        }
    )
    say_next("bothways", "evaluate", folder, "--task", "KIND:DATA", "--out", "results.json")


def _read(name: str, out: Path | None, choices: RecipeChoices) -> tuple[Recipe, Path | None]:
    """Return the recipe and the folder to write."""
    from bothways import recipes
    from bothways.training.recipe.overrides import override
    from bothways.training.recipe.recipe_files import output_dir, read_recipe

    options, sets = choices.options or [], choices.sets or []
    if name in recipes.NAMES and not Path(name).is_file():
        common: dict[str, Any] = {"preset": choices.preset, "dev": choices.dev}
        given = (("base", choices.base), ("texts", choices.data))
        common |= {key: value for key, value in given if value is not None}
        return override(recipes.get(name).make(assignments(options), **common), sets), out
    if not Path(name).is_file() and not name.endswith((".yaml", ".yml", ".json")):
        hint = meant(name, recipes.NAMES)
        raise InputError(
            f"{name}: is neither a recipe nor a file; {hint}recipes: {', '.join(recipes.NAMES)}"
        )
    if choices.dev is not None:
        raise InputError(
            "--dev: only for a recipe by name; for a file use --set stages.NAME.eval=…"
        )
    if options:
        raise InputError(f"--option {options[0]}: only for a recipe by name; for a file use --set")
    found = output_dir(name) if out is None else None
    read = read_recipe(name, base=choices.base, data=choices.data, sets=sets)
    return read, out or (Path(found) if found else None)


def _file_overwrites(name: str) -> bool:
    from bothways.training.recipe.recipe_files import overwrites

    return name.endswith(".json") and Path(name).is_file() and overwrites(name)


def _print_estimate(plan: DryRun, *, yaml: bool) -> None:
    if yaml:
        typer.echo(plan.recipe.to_yaml())
    for stage in plan.stages:
        examples = "a stream of" if stage.examples is None else f"{stage.examples:,}"
        cost = f"about {_duration(stage.seconds)}, {stage.memory / 2**30:.1f} GiB, {stage.dtype}"
        say(
            f"{stage.name}: trains {stage.trainable:,} of {stage.parameters:,} parameters; {examples} examples, "
            f"{stage.steps:,} steps, {stage.tokens:,} tokens; {cost}"
        )
    say(
        f"on {plan.device}, {plan.processes} process(es): about {_duration(plan.seconds)} in total, without evaluations"
    )


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
