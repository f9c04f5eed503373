"""The verbs as one program, logging, and how an error is shown to a user.

Verbs import torch and other large libraries inside their functions, so that `--help` is fast.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from typing import Annotated

import typer

from bothways import __version__
from bothways.cli import json_output
from bothways.cli.command_words import check_words
from bothways.cli.completion import complete_if_asked
from bothways.cli.options import first_process
from bothways.cli.paragraphs import unwrapped
from bothways.cli.signals import exit_code, was_stopped
from bothways.cli.verbs import (
    ablate,
    bench,
    convert,
    demo,
    doctor,
    encode,
    evaluate,
    export,
    families,
    index,
    merge,
    mine,
    prepare,
    push,
    recipes,
    report,
    search,
    serve,
    train,
)
from bothways.errors import BothwaysError
from bothways.printable import PrintableFormatter, printable_line
from bothways.training.loop.signals import Interrupted

_PURPOSE = "Turn any decoder-only LLM into a text encoder, prove it, and save it in a format that other libraries load."

app = typer.Typer(
    name="bothways",
    help=_PURPOSE,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

for verb in (
    demo,
    convert,
    doctor,
    families,
    recipes,
    train,
    encode,
    index,
    search,
    serve,
    mine,
    merge,
    evaluate,
    report,
    bench,
):
    app.command(name=verb.NAME)(verb.command)
app.command(name=export.NAME)(export.command)
app.command(name="verify-export")(export.verify)
app.command(name=push.NAME)(push.command)
app.command(name="card")(push.card)
app.command(name=ablate.NAME, cls=ablate.ManyValues)(ablate.command)
app.add_typer(prepare.group, name=prepare.NAME)
for entry in (*app.registered_commands, *prepare.group.registered_commands):
    entry.help = unwrapped(getattr(entry.callback, "__doc__", None) or "")


def _version(asked: bool) -> None:
    """Print the version and end, if it was asked for."""
    if asked:
        typer.echo(f"bothways {__version__}")
        raise typer.Exit


@app.callback(help=_PURPOSE)
def _every_verb(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="show the traceback of an error; you can write it after the verb too"
        ),
    ] = False,
) -> None:
    """Declare the options of the program itself."""


# The base class of the parser's errors. typer exports only one of the classes, and older versions
# take all of them from click.
_USAGE_ERROR: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def main(arguments: list[str] | None = None) -> None:
    """Run the `bothways` command.

    Exit codes: 0 done, 1 a proof failed, 2 bad input, 130 interrupted by Ctrl-C, 143 by SIGTERM,
    129 by SIGHUP.

    Args:
        arguments: the words after `bothways`. If None, those of the process.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("bothways").setLevel(logging.INFO if first_process() else logging.WARNING)
    # transformers reads these when it is imported. Its progress bars and advice are about loading,
    # not about the user's task.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries warn about their own future
    code = _run(arguments)
    if code:
        sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    """Run one command and return its exit code."""
    complete_if_asked(app)
    json_output.start()
    # `app(…)` would turn Ctrl-C and a closed pipe into the same exit code.
    command = typer.main.get_command(app)
    words, debug = _without_debug(list(sys.argv[1:] if arguments is None else arguments))
    try:
        check_words(words)
        with command.make_context("bothways", words) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except typer.Exit as done:
        return done.exit_code
    except _USAGE_ERROR as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return exit_code()
    except BrokenPipeError:
        # the reader has closed the pipe (| head), which is not an error of the command
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _failed(error, debug=debug)


def _failed(error: Exception, *, debug: bool) -> int:
    """Print an error in one line and return the exit code.

    An error that is not the user's is raised again.
    """
    if isinstance(error, Interrupted):
        _say(f"error: {error}")
        return error.code
    if was_stopped():
        _say("interrupted")  # a library has turned the signal into an error of its own
        return exit_code()
    if isinstance(error, BothwaysError):
        if debug:
            traceback.print_exception(error)
        _say(f"error: {error}")
        return 2
    if not isinstance(error, OSError) or error.strerror is None or debug:
        raise error
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    _say(f"error: {place}{error.strerror}")
    return 2


def _without_debug(words: list[str]) -> tuple[list[str], bool]:
    """Return the words without `--debug`, and whether it was among them.

    `--debug` may come before or after the verb.
    """
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _usage(error: Exception) -> int:
    """Print what is wrong with a command line, and the command that shows the right options."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return 2  # the help has been printed
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "bothways"
    _say(f"error: {' '.join(error.format_message().split())} (see: {path} --help)")  # type: ignore[attr-defined]
    return 2


def _say(line: str) -> None:
    print(printable_line(line), file=sys.stderr)  # noqa: T201 - output of the command line
