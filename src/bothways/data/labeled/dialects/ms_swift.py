"""ms-swift's embedding data, both forms (its docs/source_en/BestPractices/Embedding.md).

Up to version 3 a row is `{query, response, rejected_response}`. Since then it is `{messages,
positive_messages, negative_messages}`: lists of chat messages, with one more list around positives
and negatives. A system message is an instruction. Its Qwen3 template puts it before the user's text
with a space. `label` belongs to its pair losses (1 and 0, or a similarity in [0, 1]), and pairs
below 0.8 are not positives. Rows with images, video or audio are skipped, because their texts would
mean something else without them.
"""

from __future__ import annotations

import math

from bothways.data.labeled.dialects.dialect import Dialect, row_by_row
from bothways.data.labeled.labeled_row import Fields, Numbered
from bothways.data.labeled.templates import Prompts
from bothways.data.rows import type_name
from bothways.errors import InputError

_MEDIA = tuple(
    f"{side}{kind}"
    for kind in ("images", "videos", "audios")
    for side in ("", "positive_", "negative_")
)
_SIMILAR = 0.8  # of 1, as 4 of 5 in NV-Embed's use of STS data (arXiv 2405.17428)


def _parse(fields: Fields) -> Numbered | None:
    query = fields.text("query")
    fields.column("response")
    if _beyond_text(fields) or _dissimilar(fields):
        return None
    return fields.example(query, fields.texts("response"), fields.texts("rejected_response"))


def _parse_messages(fields: Fields) -> Numbered | None:
    prompt, query = _chat(fields, fields.row.get("messages"), "messages")
    fields.column("positive_messages")
    if _beyond_text(fields) or _dissimilar(fields):
        return None
    sides: dict[str, list[tuple[str, str]]] = {}
    for name in ("positive_messages", "negative_messages"):
        chats = fields.row.get(name) or []
        if not isinstance(chats, (list, tuple)):
            raise InputError(
                f"{fields.where}: column {name!r} holds a {type_name(chats)}, not a list of chats"
            )
        sides[name] = [_chat(fields, chat, f"{name}[{place}]") for place, chat in enumerate(chats)]
    prompts = {system for chats in sides.values() for system, _ in chats}
    if len(prompts) > 1:  # a row has one prompt for all documents, so different ones become text
        fields.reading.notes["system messages that differ within a row as part of their texts"] = (
            None
        )
        sides = {
            name: [("", f"{system}{text}" if text else "") for system, text in chats]
            for name, chats in sides.items()
        }
    positives, negatives = (
        [text for _, text in sides[name]] for name in ("positive_messages", "negative_messages")
    )
    document = prompts.pop() if len(prompts) == 1 else ""
    return fields.example(query, positives, negatives, prompts=Prompts(prompt, document))


def _chat(fields: Fields, chat: object, name: str) -> tuple[str, str]:
    """Return the system message as a prompt, and the user's text."""
    if not isinstance(chat, (list, tuple)) or not all(
        isinstance(message, dict) for message in chat
    ):
        raise InputError(
            f"{fields.where}: {name} is a {type_name(chat)}, not a list of messages with role and content"
        )
    by_role: dict[str, str] = {}
    for message in chat:
        role = str(message.get("role"))
        if role == "assistant" and name != "messages":  # documents of its reranker data
            role = "user"
        if role in by_role or role not in ("system", "user"):
            raise InputError(
                f"{fields.where}: {name} has a second or unknown role {role!r}; expected one user text, one system"
            )
        by_role[role] = fields.clean(message.get("content"), f"{name}.{role}")
    if "user" not in by_role:
        raise InputError(
            f"{fields.where}: {name} has no user message; expected [{{'role': 'user', 'content': …}}]"
        )
    system = by_role.get("system", "")
    return f"{system} " if system else "", by_role["user"]


def _beyond_text(fields: Fields) -> bool:
    found = any(fields.row.get(name) for name in _MEDIA)
    if found:
        fields.reading.skipped.add("with images, video or audio", fields.number)
    return found


def _dissimilar(fields: Fields) -> bool:
    label = fields.given("label")
    if label is None or label == "":
        return False
    try:
        value = float(label)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{fields.where}: column 'label' holds {label!r}, not a number between 0 and 1"
        )
    if value < _SIMILAR:
        fields.reading.skipped.add(f"labeled below {_SIMILAR}", fields.number)
    return value < _SIMILAR


MS_SWIFT = Dialect(
    "ms-swift",
    "query, response[, rejected_response]",
    lambda names: {"query", "response"} <= names,
    row_by_row(_parse),
)
MS_SWIFT_MESSAGES = Dialect(
    "ms-swift-messages",
    "messages, positive_messages[, negative_messages]",
    lambda names: {"messages", "positive_messages"} <= names,
    row_by_row(_parse_messages),
)
