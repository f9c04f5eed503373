"""An answer in JSON, which pydantic writes ten times as fast as Python's own module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response
from pydantic_core import PydanticSerializationError, to_json


def json_response(
    value: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Build an answer. Characters that UTF-8 cannot hold are escaped."""
    try:
        body = to_json(value)
    except PydanticSerializationError:  # a lone surrogate of a client's text
        body = json.dumps(value).encode()
    return Response(body, status, dict(headers or {}), media_type="application/json")
