"""Finds what the name of a model means: a hub id, a folder, a .gguf file or an embedded name.

Open it to see which names are accepted, and which wins if two fit. A name is looked up once, by the
function that a user calls or by the command line. The `Source` is passed on, so that everything
below it reads the same files. A source is a path, too: `os.fspath` gives its path, and `str` the
name that the user gave.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from bothways.backbone.loading import embedded
from bothways.backbone.loading.checkpoint_loading import ACCEPTED
from bothways.backbone.loading.hub import has_file, snapshot
from bothways.errors import SourceError
from bothways.folder_files import ADAPTER, ENCODER_FILES, EXPORT

SourceKind = Literal["hub", "folder", "gguf", "embedded"]
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)?")


@dataclass(frozen=True)
class Source:
    """The origin of a model.

    Attributes:
        name: the name as the user gave it.
        kind: hub id, folder, .gguf file or embedded name.
        path: hub id, or a path in the file system. For an embedded name it is the folder in the
            cache, which may not exist yet.
    """

    name: str
    kind: SourceKind
    path: str

    def __str__(self) -> str:
        """Return the name as the user gave it, for messages and provenance."""
        return self.name

    def __fspath__(self) -> str:
        """Return `path`."""
        return self.path

    def holds(self, file: str) -> bool:
        """Tell if the folder or hub repository holds a file, for example "modules.json".

        The hub is asked once for each file, and the file is downloaded.

        Raises:
            SourceError: if the hub cannot be reached.
        """
        if self.kind != "hub":
            return (Path(self.path) / file).is_file()
        if file not in self._on_hub:
            self._on_hub[file] = has_file(self.path, file)
        return self._on_hub[file]

    @cached_property
    def _on_hub(self) -> dict[str, bool]:
        return {}

    @cached_property
    def holds_encoder(self) -> bool:
        """True for a finished encoder, an export or an adapter. False for a base model.

        Raises:
            SourceError: if it is on the hub, which cannot be reached.
        """
        if self.kind == "folder" and is_exported_graph(Path(self.path)):
            return True
        return any(self.holds(file) for file in ENCODER_FILES)

    @cached_property
    def folder(self) -> Path | None:
        """The folder on this machine. Files of a hub repository are downloaded for it.

        It is None for a .gguf file and an embedded name.

        Raises:
            SourceError: if the hub cannot be reached.
        """
        if self.kind == "hub":
            return snapshot(self.path)
        return Path(self.path) if self.kind == "folder" else None

    @property
    def place(self) -> str:
        """The name that transformers loads: a hub id, or a path that exists.

        An embedded model is converted first, if it was not yet.

        Raises:
            SourceError: if an embedded model cannot be fetched.
        """
        return str(embedded.ensure(self.name.lower())) if self.kind == "embedded" else self.path


def resolve(name: str | os.PathLike[str]) -> Source:
    """Recognize the base model that `name` is, without loading or downloading anything.

    An embedded name wins over a folder of the same name. Write ./name for the folder. For example,
    "smollm2-135m" is embedded, "./smollm2-135m" a folder, "Qwen/Qwen2.5-0.5B" a hub id.

    Args:
        name: a name, or a source, whose folder is only checked.

    Raises:
        SourceError: if it does not exist, or is not one of the accepted forms.
    """
    source = name if isinstance(name, Source) else _named(name)
    if source.kind == "folder":
        _check_folder(Path(source.path), source.name)
    return source


def locate(name: str | os.PathLike[str]) -> Source:
    """Recognize the model that `name` is, which may be a finished encoder, an export or an adapter.

    It differs from `resolve` in folders. Their contents are not checked, and the folder of an
    encoder wins over an embedded name. For example, if you train into ./smollm2-135m, then
    "smollm2-135m" is that encoder.

    Args:
        name: a name, or a source, which is returned as it is.

    Raises:
        SourceError: if it does not exist, or is not one of the accepted forms.
    """
    if isinstance(name, Source):
        return name
    text = os.fspath(name)
    path = Path(text).expanduser()
    if text.strip() and path.is_dir():
        source = Source(text, "folder", str(path))
        if source.holds_encoder or text.lower() not in embedded.names():
            return source
    return _named(name)


def is_exported_graph(folder: Path) -> bool:
    """Return whether a folder is an export that `bothways.load` opens.

    A model's folder is not, and neither is one with a .gguf file.
    """
    return (
        (folder / EXPORT).is_file()
        and not (folder / "config.json").is_file()
        and not any(folder.glob("*.gguf"))
    )


def _named(name: str | os.PathLike[str]) -> Source:
    text = os.fspath(name)
    if not text.strip():
        raise SourceError(
            f"the name of a model is empty (an unset variable of the shell?); {ACCEPTED}"
        )
    if text.lower() in embedded.names():
        return Source(text, "embedded", str(embedded.folder_of(text.lower())))
    path = Path(text).expanduser()
    if path.is_dir():
        return Source(text, "folder", str(path))
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise SourceError(f"{text}: no such file")
        return Source(text, "gguf", str(path))
    if path.is_file():
        raise SourceError(f"{text}: is a file of an unknown kind; {ACCEPTED}")
    near = difflib.get_close_matches(text.lower(), embedded.names(), n=1, cutoff=0.75)
    if near:
        raise SourceError(f"{text}: unknown name; did you mean {near[0]!r}? ({ACCEPTED})")
    if isinstance(name, str) and _HUB_ID.fullmatch(text):
        return Source(text, "hub", text)
    raise SourceError(f"{text!r}: no such folder or file; {ACCEPTED}")


def _check_folder(path: Path, name: str) -> None:
    if not (path / "config.json").is_file():
        found = sorted(file.name for file in path.glob("*.gguf"))
        if found:
            raise SourceError(
                f"{name}: a folder with {len(found)} .gguf files; give one of them, e.g. {path / found[0]}"
            )
        if (path / EXPORT).is_file():
            raise SourceError(
                f"{name}: is an export, which only encodes and holds no weights to train; give the model that it was made from"
            )
        if (path / ADAPTER).is_file():
            raise SourceError(
                f"{name}: holds only a PEFT adapter; read it with bothways.load, or give the base model"
            )
        raise SourceError(f"{name}: has no config.json, so it is not a model folder; {ACCEPTED}")
    if not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise SourceError(
            f"{name}: has no tokenizer (tokenizer.json); copy them from the model it was made from"
        )
