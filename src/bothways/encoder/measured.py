"""Keeps measurements of encoders between processes, below the user's cache folder.

    measured/int8-KEY.json      how each linear layer is computed in int8, and what that keeps
    measured/run-KEY.json       how a backbone runs, see `prepare_backbone`
    measured/graph-KEY.json     the comparison of an OpenVINO graph with its encoder

A key is a SHA-256 of everything that a measurement depends on: all weights, the configuration, the
tokens of the texts, the code of bothways, the versions of libraries and the kind of CPU. So any
change of these is a new measurement. An entry holds a digest of its content. One that is damaged is
named in a warning and measured again.

The `MOST` entries that were used last are kept. With BOTHWAYS_MEASURED=0 nothing is read or
written, and everything is measured each time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bothways.atomic import atomic_file
from bothways.attention.text_config import text_configs, windowed_layers
from bothways.backbone.loading.embedded import cache_root
from bothways.encoder.batch import TokenRow
from bothways.encoder.module import EncoderModule
from bothways.errors import BothwaysError
from bothways.provenance import versions

MOST = 200
"""Entries that are kept. One takes some kilobytes."""

SWITCH = "BOTHWAYS_MEASURED"
_MEASURING = ("attention", "backbone", "encoder", "exports", "pooling")
_PASSING = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")

log = logging.getLogger("bothways")


class KeptMeasurement:
    """One measurement, a JSON object, and its file.

    Args:
        kind: the beginning of the file's name, for example "int8".
        facts: everything that the measurement depends on, as JSON values.
    """

    def __init__(self, kind: str, facts: Mapping[str, Any]) -> None:
        raw = _canonical([kind, facts, _code(), versions(), _cpu()])
        name = f"{kind}-{hashlib.sha256(raw).hexdigest()}.json"
        self.file = folder() / name if in_use() else Path(os.devnull)

    def read(self) -> dict[str, Any] | None:
        """Return the measurement, or None if there is none that can be used."""
        if not in_use():
            return None
        try:
            stored = json.loads(self.file.read_text(encoding="utf-8"))
            value, digest = stored["value"], stored["sha256"]
            whole = isinstance(value, dict) and digest == _digest(value)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if not whole:
            self.refuse("is damaged")
            return None
        with suppress(OSError):
            os.utime(self.file)  # used now, so it is kept
        found: dict[str, Any] = value
        return found

    def refuse(self, reason: str) -> None:
        """Say that the stored measurement is not used, for example because it "is damaged"."""
        log.warning("%s: %s, so it is measured again", self.file, reason)

    def write(self, value: dict[str, Any]) -> None:
        """Store the measurement. If that is not possible, the next process measures again."""
        if not in_use():
            return
        text = json.dumps({"sha256": _digest(value), "value": value}, ensure_ascii=True)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.file) as part:
                part.write_text(text + "\n", encoding="utf-8")
            _forget_old()
        except (BothwaysError, OSError) as error:
            log.info("the measurement cannot be stored, so it is made each time: %s", error)


def folder() -> Path:
    """Return the folder of the entries, which may not exist yet."""
    return cache_root() / "measured"


def in_use() -> bool:
    """Return whether measurements are kept. They cannot be if the user has no home folder."""
    if os.environ.get(SWITCH, "1") == "0":
        return False
    try:
        folder()
    except RuntimeError:
        return False
    return True


def identity(encoder: EncoderModule) -> str:
    """Compute the SHA-256 (64 hex digits) of everything in an encoder that its vectors depend on.

    It reads all weights, a second for each gigabyte. If measurements are not kept, it is "".
    """
    if not in_use():
        return ""
    config: Any = next(text_configs(encoder.backbone))
    facts = {
        "class": f"{type(encoder.backbone).__module__}.{type(encoder.backbone).__qualname__}",
        "config": config_facts(config),
        "windows": windowed_layers(config),
        "run": [encoder.execution, encoder.direction, encoder.reads],
        "modules": [
            [name, type(each).__qualname__, _plain(each) if name.startswith("pooling") else {}]
            for name, each in encoder.named_modules()
        ],
    }
    digest = hashlib.sha256(_canonical(facts))
    for name, value in (*encoder.named_parameters(), *encoder.named_buffers()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def config_facts(config: Any) -> dict[str, Any]:
    """Return the fields of a transformers configuration that vectors can depend on."""
    return {name: value for name, value in config.to_dict().items() if name not in _PASSING}


def tokens_of(rows: Sequence[TokenRow]) -> list[list[Any]]:
    """Return tokenized texts as JSON values, for the facts of a `KeptMeasurement`."""
    return [[row.ids, [int(each) for each in row.pool]] for row in rows]


def _plain(module: torch.nn.Module) -> dict[str, Any]:
    kinds = (bool, int, float, str, tuple, type(None))
    return {name: value for name, value in vars(module).items() if isinstance(value, kinds)}


def _canonical(value: Any) -> bytes:
    """Write facts so that equal ones give equal bytes."""
    try:
        return json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):  # a configuration may have keys of two types
        return repr(value).encode("utf-8", "surrogatepass")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Return the digest of the sources that measure. So a changed one leaves no stale entries."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for part in _MEASURING:
        for file in sorted((root / part).rglob("*.py")):
            digest.update(f"\n{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


@functools.cache
def _cpu() -> dict[str, Any]:
    """Return what kernels are chosen by. Numbers that they round differ between CPUs."""
    namespace: Any = torch.cpu
    found = namespace.get_capabilities() if hasattr(namespace, "get_capabilities") else {}
    return {
        **found,
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _forget_old() -> None:
    """Remove the entries that were used longest ago, until `MOST` are left."""
    ages = []
    for file in folder().glob("*.json"):
        with suppress(OSError):  # another process has removed it
            ages.append((file.stat().st_mtime_ns, file))
    for _, file in sorted(ages)[: max(0, len(ages) - MOST)]:
        file.unlink(missing_ok=True)
