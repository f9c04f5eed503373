"""Assembly of the verbs, logging, and what an error looks like to a user.

Verbs import torch and friends inside their functions, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys

import typer

from bothways.cli import convert, demo, doctor, encode, evaluate, families, recipes, search, train
from bothways.errors import BothwaysError

app = typer.Typer(
    name="bothways",
    help="Turn any decoder-only LLM into a text encoder, prove it, and save it in the format that everybody loads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for verb in (demo, convert, doctor, families, recipes, train, encode, search, evaluate):
    app.command(name=verb.NAME)(verb.command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `bothways` command. Exit codes: 0 done, 1 a proof failed, 2 bad input, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("bothways").setLevel(logging.INFO)
    # Before transformers is imported: its own progress bars and advice are about loading, not about the user's job.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(args=arguments)
    except BothwaysError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line's voice
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        # the reader went away (| head); nothing is wrong with the work
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
