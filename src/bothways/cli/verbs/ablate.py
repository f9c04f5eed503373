"""`bothways ablate [PLAN.yaml] --base B --rows uni bi bi+mntp … --tasks … --out DIR`.

Trains methods and poolings on one base and measures them next to each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand

from bothways.cli.json_output import Json, print_json
from bothways.cli.option_groups import flat
from bothways.cli.options import Device, assignments, say, say_next
from bothways.errors import InputError

NAME = "ablate"

_MANY = frozenset(
    {
        "--rows",
        "--poolings",
        "--eval-poolings",
        "--tasks",
        "--recipe",
        "--option",
        "--data",
        "--seeds",
        "--set",
    }
)
_STAGE = re.compile(r"([A-Za-z0-9*][A-Za-z0-9_-]*)=(.+)", re.DOTALL)


class ManyValues(TyperCommand):
    """A command with list options that take several values at once.

    `--rows uni bi` is the same as `--rows uni --rows bi`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further value, then parse as usual."""
        # the class of `ctx` is click's or a copy in typer, which differs between versions of typer
        return super().parse_args(ctx, spread(args))


def spread(words: Sequence[str]) -> list[str]:
    """Repeat a list option before each of its values.

    For example, `["--rows", "a", "b"]` becomes `["--rows", "a", "--rows", "b"]`. The first value
    after an option may start with anything, two dashes too.
    """
    found: list[str] = []
    option = ""
    for word in words:
        if found and option and found[-1] == option:
            found.append(word)
        elif word.startswith("--"):
            option = word if word in _MANY else ""
            found.append(word)
        else:
            found += [option, word] if option else [word]
    return found


@dataclass(frozen=True)
class Combinations:
    """The rows, poolings and tasks that are compared."""

    PANEL: ClassVar[str] = "Combinations"

    base: Annotated[str | None, typer.Option(help="base LLM of all rows")] = None
    rows: Annotated[
        list[str] | None,
        typer.Option(
            help="DIRECTION+STAGE…@POOLING,…, for example uni, bi, bi+mntp or bi+mntp+simcse@mean; or NAME=RECIPE.yaml"
        ),
    ] = None
    poolings: Annotated[
        list[str] | None,
        typer.Option(
            help="poolings of the rows that do not name one: mean (default), weighted_mean, last, latent_attention, …"
        ),
    ] = None
    eval_poolings: Annotated[
        list[str] | None,
        typer.Option(
            help="poolings without parameters with which every encoder is measured as well"
        ),
    ] = None
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="tasks as for bothways evaluate: sts:PAIRS, retrieval:FOLDER, …"),
    ] = None


@dataclass(frozen=True)
class TrainingOptions:
    """How the stages of the rows are trained."""

    PANEL: ClassVar[str] = "Training"

    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="recipes, by name or file, that have the stages of the rows; llm2vec if not given"
        ),
    ] = None
    preset: Annotated[
        str | None, typer.Option(help="for recipes by name: published (default) or laptop")
    ] = None
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            help="for recipes by name: an option of the recipe, for example supervised=rows.jsonl",
        ),
    ] = None
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="training data of all stages, or STAGE=SOURCE for one; the recipes' own data if not given"
        ),
    ] = None
    dev: Annotated[
        str | None,
        typer.Option(
            help="for recipes by name: task that chooses the best checkpoint, for example sts:dev.jsonl"
        ),
    ] = None
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="one value of the recipe by its path, for example stages.mntp.optim.steps=50",
        ),
    ] = None
    seeds: Annotated[
        list[int] | None, typer.Option(help="seeds of training, for example 0 1 2; 42 if not given")
    ] = None


@flat
def command(
    combinations: Combinations,
    training: TrainingOptions,
    plan: Annotated[
        Path | None,
        typer.Argument(
            help="YAML file with the keys base, rows, tasks and so on, and --set values under overrides; options on the "
            "command line take precedence"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder for encoders, results and tables; an earlier run in it continues"
        ),
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="train encoders in --out again if their recipe, data or versions have changed, instead of stopping",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="print which rows would be trained, reused and measured, and how long; write nothing",
        ),
    ] = False,
    device: Device = "auto",
    dtype: Annotated[
        str | None,
        typer.Option(help="type in which encoders are measured: auto (default), float32, bfloat16"),
    ] = None,
    json: Json = False,
) -> None:
    """Train and measure every combination of rows and poolings on one base, and print the table.

    Finished work in --out is reused, and an interrupted run continues. List options take several
    values, or are repeated. PLAN comes first.

      bothways ablate --base smollm2-135m --rows uni bi bi+mntp bi+mntp+simcse
        --poolings mean weighted_mean last --tasks sts:stsb sts:sick --data texts.txt
        --preset laptop --seeds 0 1 2 --out runs/ablation
    """
    from bothways.ablation.ablate import ablate

    if out is None:
        raise InputError("--out: name the folder of the ablation")
    choices: dict[str, Any] = {
        **vars(combinations),
        **{name: getattr(training, name) for name in ("recipe", "preset", "dev", "seeds")},
        "options": assignments(training.options or []),
        "data": _by_stage(training.data),
        "overrides": _overrides(training.sets),
        "dtype": dtype,
    }
    choices = {name: value for name, value in choices.items() if value not in (None, [], {})}
    if dry_run:
        forecast = ablate(plan, out, dry_run=True, retrain=retrain, device=device, **choices)
        for line in forecast.lines():
            say(line)
        print_json({"dry_run": True, "seconds": forecast.seconds, "lines": forecast.lines()})
        return
    table = ablate(plan, out, retrain=retrain, device=device, **choices)
    say(table.markdown())
    print_json({"out": out, **table.as_dict()})
    say(f"saved {out / 'table.md'} and table.json")
    say_next("bothways", "report", out / "results", "--out", out / "report.html")


def _by_stage(data: list[str] | None) -> dict[str, list[str]]:
    """Sort sources by stage. Those without a stage are for all other stages, under "*"."""
    found: dict[str, list[str]] = {}
    for item in data or ():
        match = _STAGE.fullmatch(item)
        # a file may have an equals sign in its name
        stage, source = (match[1], match[2]) if match and not Path(item).exists() else ("*", item)
        found.setdefault(stage, []).append(source)
    return found


def _overrides(sets: list[str] | None) -> dict[str, Any]:
    from bothways.training.recipe.yaml_text import load_yaml

    found: dict[str, Any] = {}
    for assignment in sets or ():
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise InputError(
                f"--set {assignment}: expected path=value, for example stages.mntp.optim.lr=1e-3"
            )
        found[path.strip()] = load_yaml(text, where=f"--set {path.strip()}")
    return found
