"""Refusals as a client reads them: OpenAI's error object, with one sentence."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from bothways.printable import printable_line

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
}


class Refusal(HTTPException):
    """A request that is not answered.

    Args:
        status: the HTTP status.
        message: one sentence: what is wrong, and what to send instead.
        code: a word for programs, for example "model_not_found".
        param: the field of the request that is wrong.
        retry_after: seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if status == 408:
            headers["Connection"] = "close"  # what comes later is no new request
        super().__init__(status, message, headers=headers)
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """Build the error object, for example {"error": {"message": "…", "type": "…", …}}."""
        return error_body(self.status_code, str(self.detail), code=self.code, param=self.param)


def error_body(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Build OpenAI's error object for a status and a sentence."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "error": {"message": printable_line(message), "type": kind, "param": param, "code": code}
    }
