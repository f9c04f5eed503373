"""The reference pages of the site: Python from docstrings, the command line, the keys of a recipe.

mkdocs runs this file (plugin gen-files). Everything is read from the code, so no page can be stale.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

import mkdocs_gen_files
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import bothways
from bothways.cli.app import app

RECIPES = ("llm2vec", "simcse", "nv_embed", "llara", "longlora")


def python_page() -> str:
    """Return the page of the public names."""
    names = [name for name in bothways.__all__ if name != "recipes"]
    parts = [
        "# Python",
        "",
        "The names below are attributes of `bothways` (`import bothways as bw`).",
        "",
    ]
    for name in names:
        value = getattr(bothways, name)
        parts += [f"::: {value.__module__}.{value.__qualname__}", ""]
    parts += ["## Recipes", ""]
    for name in RECIPES:
        value = getattr(bothways.recipes, name)
        parts += [
            f"::: {value.__module__}.{value.__qualname__}",
            "    options:",
            "      heading_level: 3",
            "",
        ]
    return "\n".join(parts)


def cell(text: object) -> str:
    """Return a text as one cell of a table."""
    plain = re.sub(r"\[/?[a-z ]+\]", "", str(text)) if text is not None else ""
    return re.sub(r"\s+", " ", plain).replace("|", "\\|").replace("<", "&lt;").strip()


def verbs(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every verb with its command, those of groups after their group's name."""
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from verbs(inner, f"{name} {word}".strip())
    else:
        yield name, command


def cli_page() -> str:
    """Return the page of the verbs and their options."""
    parts = [
        "# Command line",
        "",
        "Exit codes: 0 done, 1 a proof failed, 2 bad input, 130 interrupted.",
        "",
    ]
    for name, command in verbs(typer.main.get_command(app), ""):
        parts += [f"## bothways {name}", "", inspect.cleandoc(command.help or ""), ""]
        parts += ["| option | default | |", "|---|---|---|"]
        for parameter in command.params:
            if parameter.name == "help":
                continue
            names = " ".join(f"`{each}`" for each in [*parameter.opts, *parameter.secondary_opts])
            if parameter.param_type_name == "argument":
                names = f"`{parameter.name.upper()}{'…' if parameter.nargs != 1 else ''}`"
            default = (
                ""
                if callable(parameter.default) or parameter.default in (None, ())
                else parameter.default
            )
            text = cell(getattr(parameter, "help", None))
            parts.append(f"| {names} | {f'`{cell(default)}`' if default != '' else ''} | {text} |")
        parts.append("")
    return "\n".join(parts)


def models(kind: Any) -> Iterator[type[BaseModel]]:
    """Yield the pydantic models in a type, for example in `list[Stage]` or `A | B | None`."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from models(inner)


def shown(field: FieldInfo) -> str:
    """Return the default of a field for a table."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{cell('null' if value is None else value)}`"


def recipe_page() -> str:
    """Return the page of every key of a recipe, one table for each part."""
    parts = [
        "# Recipe keys",
        "",
        "A recipe is one YAML file. `bothways recipes NAME` prints one with all values. Change a value with",
        "`--set PATH=VALUE`, for example `--set stages.simcse.optim.lr=1e-4`.",
        "",
    ]
    waiting: list[type[BaseModel]] = [bothways.Recipe]
    seen: set[type[BaseModel]] = set()
    while waiting:
        model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        parts += [f"## {model.__name__}", "", inspect.cleandoc(model.__doc__ or ""), ""]
        parts += ["| key | type | default | |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            kind = (
                re.sub(r"\b(?:\w+\.)+", "", str(field.annotation))
                .replace("<class '", "")
                .replace("'>", "")
            )
            kind = re.sub(r"Annotated\[(.*?), FieldInfo.*", r"\1", kind)
            parts.append(
                f"| `{name}` | {cell(kind)} | {shown(field)} | {cell(field.description)} |"
            )
            waiting += models(field.annotation)
        parts.append("")
    return "\n".join(parts)


for page, text in (("python", python_page()), ("cli", cli_page()), ("recipe", recipe_page())):
    with mkdocs_gen_files.open(f"reference/{page}.md", "w") as out:
        out.write(text + "\n")
