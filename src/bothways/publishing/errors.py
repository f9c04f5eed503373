"""What the hub and the network answer, as one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bothways.errors import BothwaysError, InputError, OutputError
from bothways.foreign import why

_STATUS = {
    401: "the hub does not accept the token; make one with the right to write, and set HF_TOKEN",
    402: "the account's storage is used up",
    403: "the token may not write there; use one with the right to write into this organization",
    404: "there is no such repository or revision, or the token may not see it",
    409: "it was changed by somebody else meanwhile, or is just being made; look at it and push again",
    412: "it was changed by somebody else meanwhile; look at it and push again",
    413: "a file is too large for this hub",
    429: "the hub has been asked too often; wait a few minutes and push again",
}


@contextmanager
def hub_answers(name: str) -> Iterator[None]:
    """Turn what huggingface_hub raises inside the block into one line about the repository.

    Raises:
        InputError: the card or the name is refused.
        OutputError: everything else: the token, a conflict, the network.
    """
    try:
        yield
    except BothwaysError:
        raise
    except Exception as error:
        raise _line(name, error) from error


def status_of(error: BaseException | None) -> int | None:
    """HTTP status that an exception, or one that led to it, stands for."""
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
        said = text.split("Invalid metadata in README.md.", 1)[-1].strip() or "no reason given"
        return InputError(
            f"{name}: the hub refuses the front matter of README.md ({said[:300]}); correct it, or write the card anew"
        )
    if kind == "OfflineModeIsEnabled" or "offline mode is enabled" in text.lower():
        return OutputError(f"{name}: HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it")
    if status is not None:
        said = str(getattr(error, "server_message", None) or "").strip()
        told = f" ({said[:200]})" if said else ""
        remedy = _STATUS.get(status, "try again later, or look at the hub's status" if status >= 500 else why(error))
        return OutputError(f"{name}: not uploaded, the hub answers {status}{told}; {remedy}")
    if any(
        each.__module__.split(".")[0].startswith(("httpx", "httpcore", "requests", "urllib3")) for each in type(error).__mro__
    ):
        return OutputError(f"{name}: not uploaded, the hub cannot be reached ({why(error)}); check the network and HF_ENDPOINT")
    return OutputError(f"{name}: not uploaded ({why(error)})")
