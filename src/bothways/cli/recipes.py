"""`bothways recipes [NAME]`: what there is to train, and every value of one."""

from __future__ import annotations

from typing import Annotated

import typer

from bothways.cli.options import say

NAME = "recipes"


def command(
    name: Annotated[str | None, typer.Argument(help="print this recipe with all its values, as YAML")] = None,
    preset: Annotated[str, typer.Option(help="published or laptop")] = "published",
) -> None:
    """List the recipes, or print one as YAML to edit and give to `bothways train`."""
    from bothways import recipes

    if name is None:
        for known in recipes.NAMES:
            say(f"{known:10} {recipes.get(known).description}")
        return
    typer.echo(recipes.get(name).build(preset=preset).to_yaml(), nl=False)
