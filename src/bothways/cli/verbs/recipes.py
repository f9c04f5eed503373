"""`bothways recipes [NAME]`: list the recipes, or print all values of one."""

from __future__ import annotations

from typing import Annotated

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import assignments, say
from bothways.errors import InputError

NAME = "recipes"


def command(
    name: Annotated[
        str | None, typer.Argument(help="recipe to print with all its values, as YAML")
    ] = None,
    preset: Annotated[str, typer.Option(help="published or laptop")] = "published",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            help="an option of the recipe, for example supervised=rows.jsonl; repeat for several",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the recipes, or print one as YAML to edit and give to `bothways train`."""
    from bothways import recipes

    if name is None:
        if options:
            raise InputError(f"--option {options[0]}: name the recipe to set it for")
        for known in recipes.NAMES:
            entry = recipes.get(known)
            say(f"{known:10} {entry.description}")
            say(f"{'':10} --option {', '.join(entry.options)}")
        entries = [recipes.get(known) for known in recipes.NAMES]
        print_json(
            {
                "recipes": [
                    {"name": each.name, "description": each.description, "options": each.options}
                    for each in entries
                ]
            }
        )
        return
    recipe = recipes.get(name).make(assignments(options or []), preset=preset)
    print_json(recipe.resolved())
    if not json:
        typer.echo(recipe.to_yaml(), nl=False)
