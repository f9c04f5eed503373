"""Opens a teacher: an encoder of ours, a sentence-transformers folder, or a Python function.

The fingerprint is known before the encoder is opened. If all vectors are in the cache, the encoder
is never opened.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bothways.backbone.adapter.named_base import named_base
from bothways.backbone.loading.model_source import Source, locate
from bothways.digest import file_sha256
from bothways.encoder.folder.adapter_folder import is_adapter
from bothways.encoder.folder.adapter_settings import stated_similarity
from bothways.encoder.foreign_encoder import has_code, is_foreign, open_sentence_transformer
from bothways.encoder.load import load, local_folder
from bothways.errors import BothwaysError, InputError, SourceError, UnsupportedFamily
from bothways.folder_files import ADAPTER
from bothways.similarity_names import Similarity, similarity_name

Encode = Callable[[list[str], str], Any]
"""Maps texts and a prompt to vectors."""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
#: Files of an encoder that cannot change a vector.
_PASSIVE = {".md", ".lock", ".png"}


@dataclass(frozen=True)
class TeacherEncoder:
    """A teacher that is opened when it is first asked.

    Attributes:
        name: as the recipe has it, for messages.
        fingerprint: 32 hex digits, equal if and only if the vectors are (for a function: if its
            name and the source text of its module are equal).
        open: makes the function from texts and a prompt to vectors.
        similarity: how its vectors are compared.
    """

    name: str
    fingerprint: str
    open: Callable[[], Encode]
    similarity: Similarity = "cosine"

    def encode(self, texts: Sequence[str], prompt: str = "") -> np.ndarray:
        """Return the vectors (N, D) of texts under a prompt, float32.

        Raises:
            InputError: if the result has another shape, or holds NaN or infinity.
        """
        given = self.open()(list(texts), prompt)
        vectors = given.detach().cpu().float().numpy() if isinstance(given, torch.Tensor) else given
        array = np.asarray(vectors, dtype=np.float32)
        if array.ndim != 2 or len(array) != len(texts) or array.shape[1] == 0:
            raise InputError(
                f"teacher {self.name}: returned shape {array.shape} for {len(texts)} texts; expected (n, d)"
            )
        bad = ~np.isfinite(array).all(axis=1)
        if bad.any():
            raise InputError(
                f"teacher {self.name}: the vector of {texts[int(bad.argmax())][:60]!r} holds NaN or infinity"
            )
        return array


def open_teacher(name: str, *, device: torch.device) -> TeacherEncoder:
    """Find a teacher, for example "runs/large", or the function "my_teacher:encode".

    Raises:
        InputError: if there is no such encoder or function.
        SourceError: if the folder or hub id does not exist.
    """
    if _FUNCTION.fullmatch(name) and not Path(name).exists():
        function = _function(name)
        facts = [name, *_sources(name, function)]
        stated = similarity_name(function, _of_its_object(function))
        return TeacherEncoder(name, _digest(facts), lambda: _prefixed(function), stated)
    source = locate(name)
    folder = local_folder(source)
    facts = _contents(folder)
    opened: list[Any] = []

    def once() -> Encode:
        if not opened:
            opened.append(_encoder(source, folder, device))
        # without a prompt of the recipe, the encoder's own default prompt counts
        return lambda texts, prompt: opened[0].encode(
            texts, **({"prompt": prompt} if prompt else {})
        )

    return TeacherEncoder(name, _digest(facts), once, stated_similarity(folder))


def _function(name: str) -> Callable[[list[str]], Any]:
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"teacher {name}: {error}; give MODULE:FUNCTION of a module that Python can import here "
            "(PYTHONPATH), or an encoder folder"
        ) from None
    except Exception as error:  # the module's own code
        raise InputError(
            f"teacher {name}: importing {module} ends in {type(error).__name__}: {error}; correct the module"
        ) from error
    if not callable(found):
        raise InputError(f"teacher {name}: {attribute} is not a function of a list of texts")
    function: Callable[[list[str]], Any] = found
    return function


def _of_its_object(function: object) -> str | None:
    """Return the similarity of the object of a method, as in `encode = SomeModel("a").encode`."""
    owner = getattr(function, "__self__", None)
    stated = None if owner is None else getattr(owner, "similarity_fn_name", None)
    return getattr(stated, "value", stated)


def _prefixed(function: Callable[[list[str]], Any]) -> Encode:
    return lambda texts, prompt: function([prompt + text for text in texts])


def _sources(name: str, function: Callable[..., Any]) -> list[str]:
    """Return the source text of the module that is named, and of the function's own.

    They differ if the function is a method of an object, as in `encode = SomeModel("a").encode`.
    """
    named = importlib.import_module(name.partition(":")[0])
    return [_source(each) for each in (named, inspect.getmodule(function) or function)]


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""


def _contents(folder: Path) -> list[str]:
    """List the digest of every file that can change a vector, also of the base of an adapter.

    Raises:
        SourceError: if an adapter's base cannot be found or reached.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in _PASSIVE and not _hidden(path, folder)
    )
    facts = [f"{path.relative_to(folder)} {file_sha256(path)}" for path in files]
    # The folder itself, and the folders of sentence-transformers modules. The adapters that our
    # stages keep lie deeper, and are part of the weights already.
    for root in (folder, *(path.parent for path in files if path.parent.parent == folder)):
        if is_adapter(root) and f"base of {root.relative_to(folder)}" not in facts:
            facts += [f"base of {root.relative_to(folder)}", *_base_contents(root, folder)]
    return facts


def _base_contents(root: Path, folder: Path) -> list[str]:
    try:
        source = named_base(root)
        if source is None:
            return []  # opening it says so
        place = source.folder or Path(source.path)
    except SourceError as error:
        raise SourceError(
            f"{root / ADAPTER}: the base model that it names cannot be found; write its place there ({error})"
        ) from error
    if source.kind == "embedded":
        return [source.name]
    if place.is_file():
        return [file_sha256(place)]
    return [] if place.resolve() == folder.resolve() else _contents(place)


def _encoder(name: Source, folder: Path, device: torch.device) -> Any:
    """Open an encoder in float32. One that ours cannot run is opened by sentence-transformers."""
    try:
        return load(name, device=device, dtype="float32")
    except (InputError, UnsupportedFamily) as error:
        if not is_foreign(name) or has_code(folder):
            raise
        try:
            return open_sentence_transformer(name, device=str(device), dtype="float32")
        except BothwaysError:
            raise
        except Exception:  # the first error names the file
            raise error from None


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _digest(facts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(facts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
