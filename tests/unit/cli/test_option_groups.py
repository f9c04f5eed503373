"""A dataclass among a command's parameters becomes one option for each of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from bothways.cli.option_groups import flat


@dataclass(frozen=True)
class Limits:
    """Options with a heading."""

    PANEL: ClassVar[str] = "Limits of a test"

    most: Annotated[int, typer.Option(min=0, help="upper limit")]
    least: Annotated[int, typer.Option("--at-least", help="lower limit")] = 3


def app() -> tuple[typer.Typer, list[object]]:
    """A program with one command, and the arguments of its calls."""
    program = typer.Typer()
    calls: list[object] = []

    @program.command()
    @flat
    def command(
        names: Annotated[list[str], typer.Argument(help="names")],
        limits: Limits,
        loud: Annotated[bool, typer.Option("--loud", help="speak up")] = False,
    ) -> None:
        """Do nothing."""
        calls.append((names, limits, loud))

    return program, calls


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "--most", "9"], (["a"], Limits(9), False)),
        (["a", "b", "--at-least", "1", "--most", "2", "--loud"], (["a", "b"], Limits(2, 1), True)),
    ],
)
def test_the_command_gets_the_dataclass(words: list[str], expected: object) -> None:
    program, calls = app()
    done = CliRunner().invoke(program, words)
    assert done.exit_code == 0, done.output
    assert calls == [expected]


@pytest.mark.parametrize(("words", "message"), [(["a"], "most"), (["a", "--most", "-1"], "most")])
def test_fields_are_required_and_checked_as_options_are(words: list[str], message: str) -> None:
    program, calls = app()
    done = CliRunner().invoke(program, words)
    assert done.exit_code == 2
    assert message in done.output
    assert calls == []


def test_help_has_the_heading_and_the_texts() -> None:
    done = CliRunner().invoke(app()[0], ["--help"])
    for text in ("Do nothing.", "Limits of a test", "--at-least", "lower limit", "--loud"):
        assert text in done.output


def test_two_options_of_one_name_are_an_error_of_the_program() -> None:
    def command(most: Annotated[int, typer.Option()], limits: Limits) -> None:
        """Declare `--most` twice."""

    with pytest.raises(ValueError, match="most"):
        flat(command)


def test_the_class_itself_is_left_as_it_was() -> None:
    """A heading set by one command must not appear in another that uses the same annotation."""
    app()
    information = Limits.__annotations__["most"]
    assert "Limits of a test" not in str(information)
