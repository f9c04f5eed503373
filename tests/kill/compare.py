"""Outputs as values that two runs share: without dates, durations, commands and the folder that
they ran in.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

#: What the clock and the command line write; an ablation's digest of an `encoder` takes in its
#: durations.
CLOCK = {"date", "command", "seconds", "tokens_per_second", "versions", "earlier", "pending", "minutes", "created", "encoder"}

#: A date with its time of day in either form, "2026-05-01T10:20:30+00:00" or "2026-05-01 10:20",
#: or a duration. Two runs of one command may fall in different minutes.
DATED = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}|[^<\s]*)|[0-9.]+ (s|min|minutes|seconds)\b")


def digest(path: Path) -> dict[str, str]:
    """Each file of an output and what is in it, without what the clock writes."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    place = os.fsencode(path.parent)  # an adapter names its base by its place
    return {str(each.relative_to(path.parent)): hashlib.sha256(content(each).replace(place, b"")).hexdigest() for each in files}


def content(file: Path) -> bytes:
    """A file's bytes; JSON without the clock's entries, and pages without dates and durations."""
    raw = file.read_bytes()
    if file.suffix in (".json", ".jsonl"):
        return json.dumps(
            [timeless(json.loads(line)) for line in ([raw] if file.suffix == ".json" else raw.splitlines())]
        ).encode()
    if file.suffix == ".npy" or file.suffix in (".safetensors", ".parquet"):
        return raw
    if file.suffix in (".html", ".md"):
        return DATED.sub(b"", raw)
    if file.name == "optimizer.pt":
        return b""  # an archive with times; what is in it decides the weights of the next step
    return raw


def timeless(value: object) -> object:
    """A JSON value without what the clock writes."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in CLOCK}
    if isinstance(value, str):
        return re.sub(r"'seconds': [0-9.]+", "", value)  # a record of a stage, as results tell it
    return [timeless(inner) for inner in value] if isinstance(value, list) else value
