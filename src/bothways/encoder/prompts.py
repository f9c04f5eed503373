"""Which stored instruction a call means, by the rules of sentence-transformers 6.

- A prompt that the caller gives wins, the empty one too: it means no instruction.
- Without one, the name that the caller gives, else the default's name.
- `encode_query` takes "query". `encode_document` takes the first of "document", "passage" and "corpus" that is stored.
- A stored prompt that is empty means no instruction. It is not a missing one: the default does not take its place.

sentence-transformers adds the empty prompts "query" and "document" to every folder that it reads. So a role without a prompt never
gets the default there, and "passage" and "corpus" act only by name. A folder of others is read in the same way (`as_read`). An encoder
that was made here falls back to the default, and its folder says so: each role that takes another prompt is stored (`implied`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from bothways.errors import InputError

Role = Literal["query", "document"]
NAMES: dict[Role, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""Names of the prompt of each role, the first that is stored counts."""


def named(stored: Mapping[str, str], default: str | None, name: str | None) -> str | None:
    """The prompt of this name, or the default when there is no name; None when there is no default either.

    Raises:
        InputError: a name that is not stored, listing those that are.
    """
    chosen = default if name is None else name
    if chosen is None:
        return None
    if chosen not in stored:
        known = ", ".join(map(repr, stored)) or "none"
        raise InputError(f"prompt_name: {chosen!r} is not stored with this encoder (stored: {known})")
    return stored[chosen]


def of_role(stored: Mapping[str, str], default: str | None, role: Role) -> str | None:
    """The prompt of `encode_query` or `encode_document`: the one stored for the role, else the default."""
    return named(stored, default, next((name for name in NAMES[role] if name in stored), None))


def as_read(stored: Any, default: Any, file: Path, *, ours: bool) -> dict[str, str]:
    """The prompts of a folder, as sentence-transformers reads them.

    Args:
        stored: `prompts` of the file; None stands for none, and a prompt that is None for the empty one.
        default: `default_prompt_name` of the file.
        file: for error messages.
        ours: the folder was saved here, so that roles without a prompt fall back to the default.

    Raises:
        InputError: prompts that are no mapping of strings, or a default that is not among them.
    """
    if not isinstance(stored or {}, dict):
        raise InputError(
            f"{file}: prompts must be an object of texts by name (got {type(stored).__name__}); correct it, or remove it"
        )
    found: dict[str, str] = {} if ours else dict.fromkeys(NAMES, "")
    for name, prompt in (stored or {}).items():
        if not isinstance(prompt, str | None):
            raise InputError(f"{file}: prompts.{name} must be a string (got {type(prompt).__name__}); correct it, or remove it")
        found[name] = prompt or ""
    if default is not None and (not isinstance(default, str) or default not in found):
        raise InputError(
            f"{file}: default_prompt_name {default!r} is not the name of a prompt (prompts has {', '.join(map(repr, found)) or 'none'})"
        )
    return found


def implied(stored: Mapping[str, str], default: str | None) -> dict[str, str]:
    """Role → the prompt that it takes here, for the roles without a prompt of their own name; a saved folder names them."""
    found = {role: of_role(stored, default, role) for role in NAMES if role not in stored}
    return {role: prompt for role, prompt in found.items() if prompt}
