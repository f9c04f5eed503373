"""Answers of the hub and of the network become one line that says how to go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import requests

from bothways.errors import InputError, OutputError
from bothways.publishing.hub_answers import hub_answers, status_of


def answered(status: int, message: str = "", server: str = "") -> Exception:
    error: Any = RuntimeError(message or f"{status} from a server\nwith a trace")
    error.response = SimpleNamespace(status_code=status)
    error.server_message = server
    return error


def said(error: Exception, kind: type[Exception] = OutputError) -> str:
    with pytest.raises(kind) as caught, hub_answers("me/mine"):
        raise error
    line = str(caught.value)
    assert line.startswith("me/mine: ") and "\n" not in line
    return line


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "set HF_TOKEN"),
        (403, "write access"),
        (409, "push again"),
        (413, "too large"),
        (429, "wait"),
        (503, "try again later"),
    ],
)
def test_a_status_has_its_remedy(status: int, remedy: str) -> None:
    line = said(answered(status, server="the  reason"))
    assert f"the hub answers {status} (the  reason)" in line and remedy in line


def test_the_status_may_be_that_of_a_cause() -> None:
    outer = RuntimeError("upload failed")
    outer.__cause__ = answered(412)
    assert status_of(outer) == 412
    assert "somebody else has changed it" in said(outer)
    circle = RuntimeError()
    circle.__context__ = circle
    assert status_of(circle) is status_of(None) is None


def test_a_refused_card_is_an_error_of_the_input() -> None:
    error = answered(400, "Bad request.\nInvalid metadata in README.md. \n- Error: license must be one of")
    assert "front matter of README.md (- Error: license must be one of)" in said(error, InputError)


def test_no_network_and_offline_mode() -> None:
    assert "the hub cannot be reached" in said(requests.ConnectionError("refused"))

    class OfflineModeIsEnabled(ConnectionError):
        """Named as huggingface_hub's."""

    assert "HF_HUB_OFFLINE is set" in said(OfflineModeIsEnabled("x"))
    assert said(ValueError("odd\nthing")).startswith("me/mine: not uploaded (")


def test_our_own_errors_pass() -> None:
    with pytest.raises(InputError, match=r"^mine$"), hub_answers("me/mine"):
        raise InputError("mine")
