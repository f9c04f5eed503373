"""Turns answers of the hub and of the network into one line that says how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bothways.errors import BothwaysError, InputError, OutputError
from bothways.foreign import why

_STATUS = {
    401: "the hub does not accept the token; create one with write access, and set HF_TOKEN",
    402: "the account's storage is used up",
    403: "the token does not have write access; use one that may write to this organization",
    404: "there is no such repository or revision, or the token has no access to it",
    409: "somebody else has changed or created it in the meantime; look at it and push again",
    412: "somebody else has changed it in the meantime; look at it and push again",
    413: "a file is too large for this hub",
    429: "there were too many requests; wait a few minutes and push again",
}


@contextmanager
def hub_answers(name: str) -> Iterator[None]:
    """Turn errors of huggingface_hub inside the block into one line about the repository.

    Raises:
        InputError: if the hub refuses the card or the name.
        OutputError: for everything else: the token, a conflict, the network.
    """
    try:
        yield
    except BothwaysError:
        raise
    except Exception as error:
        raise _line(name, error) from error


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status of an exception or of its causes. None if there is none."""
    for _ in range(8):
        if error is None:
            return None
        response: Any = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ or error.__context__
    return None


def _line(name: str, error: Exception) -> BothwaysError:
    status = status_of(error)
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if "Invalid metadata in README.md" in text:
        reason = text.split("Invalid metadata in README.md.", 1)[-1].strip() or "no reason given"
        return InputError(
            f"{name}: the hub refuses the front matter of README.md ({reason[:300]}); correct it, or write the card again"
        )
    if kind == "OfflineModeIsEnabled" or "offline mode is enabled" in text.lower():
        return OutputError(f"{name}: HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it")
    if status is not None:
        answer = str(getattr(error, "server_message", None) or "").strip()
        detail = f" ({answer[:200]})" if answer else ""
        remedy = _STATUS.get(
            status, "try again later, or look at the hub's status" if status >= 500 else why(error)
        )
        return OutputError(f"{name}: not uploaded, the hub answers {status}{detail}; {remedy}")
    if any(
        each.__module__.split(".")[0].startswith(("httpx", "httpcore", "requests", "urllib3"))
        for each in type(error).__mro__
    ):
        return OutputError(
            f"{name}: not uploaded, the hub cannot be reached ({why(error)}); check the network and HF_ENDPOINT"
        )
    return OutputError(f"{name}: not uploaded ({why(error)})")
