"""Chooses the stored instruction for a call, by the rules of sentence-transformers 6.

- A prompt that the caller gives wins. An empty one means no instruction.
- Otherwise the name that the caller gives is used, or else the default's name.
- `encode_query` uses "query". `encode_document` uses the first of "document", "passage" and
  "corpus" that is stored.
- A stored prompt that is empty means no instruction. The default does not replace it.

sentence-transformers adds the empty prompts "query" and "document" to every folder that it reads.
So a role without a prompt never gets the default there, and "passage" and "corpus" only work by
name. Folders from elsewhere are read in the same way (`as_read`). An encoder that was made here
falls back to the default. To make other loaders agree, its folder stores every role that uses
another prompt (`implied`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from bothways.errors import InputError
from bothways.moved import old_names

PromptRole = Literal["query", "document"]
NAMES: dict[PromptRole, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""Names of each role's prompt. The first one that is stored is used."""


def named(stored: Mapping[str, str], default: str | None, name: str | None) -> str | None:
    """Return the prompt of this name, or the default if the name is None.

    Returns None if there is no default either.

    Raises:
        InputError: the name is not stored. The message lists the names that are.
    """
    chosen = default if name is None else name
    if chosen is None:
        return None
    if chosen not in stored:
        known = ", ".join(map(repr, stored)) or "none"
        raise InputError(
            f"prompt_name: {chosen!r} is not stored with this encoder (stored: {known})"
        )
    return stored[chosen]


def of_role(stored: Mapping[str, str], default: str | None, role: PromptRole) -> str | None:
    """Return the prompt of `encode_query` or `encode_document`: the role's, else the default."""
    return named(stored, default, next((name for name in NAMES[role] if name in stored), None))


def as_read(stored: Any, default: Any, file: Path, *, ours: bool) -> dict[str, str]:
    """Read the prompts of a folder as sentence-transformers does.

    For example, {"query": None} becomes {"query": "", "document": ""} if `ours` is False.

    Args:
        stored: `prompts` of the file. None means no prompts. A prompt that is None means the empty
            one.
        default: `default_prompt_name` of the file.
        file: for error messages.
        ours: the folder was saved here, so roles without a prompt fall back to the default.

    Raises:
        InputError: the prompts are not a mapping of strings, or the default is not among them.
    """
    if not isinstance(stored or {}, dict):
        raise InputError(
            f"{file}: prompts must be an object of texts by name (got {type(stored).__name__}); correct it, or remove it"
        )
    found: dict[str, str] = {} if ours else dict.fromkeys(NAMES, "")
    for name, prompt in (stored or {}).items():
        if not isinstance(prompt, str | None):
            raise InputError(
                f"{file}: prompts.{name} must be a string (got {type(prompt).__name__}); correct it, or remove it"
            )
        found[name] = prompt or ""
    if default is not None and (not isinstance(default, str) or default not in found):
        raise InputError(
            f"{file}: default_prompt_name {default!r} is not the name of a prompt (prompts has {', '.join(map(repr, found)) or 'none'})"
        )
    return found


def implied(stored: Mapping[str, str], default: str | None) -> dict[str, str]:
    """Return the prompts of roles that have no prompt of their own name, for a folder to store."""
    found = {role: of_role(stored, default, role) for role in NAMES if role not in stored}
    return {role: prompt for role, prompt in found.items() if prompt}


__getattr__ = old_names(__name__)
