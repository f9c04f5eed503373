"""Brings an index up to date with its sources: encodes new texts, keeps known ones, removes others.

A text is known by the digest of its content. One that moved to another file or row gets its new
place, and its vectors are copied. Texts are added in batches, and removed at the end. So after a
stop at any moment the same command goes on with the texts that are missing.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bothways.data.text.documents import iter_documents
from bothways.data.text.readers import Places, iter_texts
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.indexing import places
from bothways.indexing.model import dtype_of, identity, model_name, open_model
from bothways.indexing.rows import Changes, Entry, digest_of, document_name, row_name
from bothways.indexing.searching import Index
from bothways.indexing.settings import IndexSettings
from bothways.indexing.store import Store, Stored
from bothways.progress import Progress
from bothways.provenance import versions

log = logging.getLogger("bothways")

Others = Literal["keep", "drop"]
# Texts and characters that are encoded together. A kill loses at most these.
_TEXTS, _CHARACTERS = 1024, 4_000_000
_REMOVED = 5000  # texts that are removed together


class Read(NamedTuple):
    """A text of a source with its place and names."""

    document: bytes
    digest: bytes
    source: str
    file: str
    row: int
    text: str


def index(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str] | Encoder,
    to: str | os.PathLike[str],
    chunks: int | Literal["sentences"] | None = None,
    column: str | None = None,
    unit: Literal["line", "document"] | None = None,
    prompt: str | None = None,
    prompt_name: str | None = None,
    query_prompt: str | None = None,
    truncate_dim: int | None = None,
    pooling: str | None = None,
    approximate: bool = False,
    others: Others | None = None,
    batch_tokens: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    show_progress_bar: bool | None = None,
) -> Index:
    """Make an index of texts, or bring it up to date with them.

    For example, `index("notes/", model="runs/mine", to="notes.index").search("a question")`.

    Args:
        sources: one source of texts or several, as `bothways encode` reads them.
        model: an encoder, or a folder, hub id or name of one.
        to: a folder (LanceDB), a file that ends in .faiss, or a URL: qdrant://host:6333/name,
            http://host:6333/name, postgresql://user@host/database/table.
        chunks: a vector for each passage, read as part of its text: "sentences" or a number of
            tokens. If None, a text has one vector.
        column: column of the texts. If None, it is found by its name.
        unit: how a .txt file is cut, into lines or documents. If None, documents with `chunks` and
            lines without.
        prompt: instruction of the texts. If None, the encoder's own for documents.
        prompt_name: name of a stored instruction of the texts.
        query_prompt: instruction of queries. If None, the encoder's own for queries.
        truncate_dim: keep so many leading numbers of a vector.
        pooling: pooling of a base model.
        approximate: build what makes searches of millions of rows faster, and may miss near rows.
        others: what happens to texts of sources that are not named now, "keep" or "drop". If None,
            such texts are an error.
        batch_tokens: tokens of a pass.
        device: device of a model that is loaded.
        dtype: its precision. With "auto", that of the index if there is one.
        show_progress_bar: True always, False never. If None, after two seconds.

    Returns:
        The open index. Its `changes` tell what was done.

    Raises:
        InputError: the place holds an index of another model or with other settings, another
            process changes it, or a source cannot be read.
        OutputError: the place cannot be written, for example because the disk is full.
        SourceError: a source or server cannot be reached.
        MissingExtra: the library of the store is not installed.
    """
    named = _names(sources)
    _check(chunks, unit, truncate_dim)
    read = _read(named, column, unit or ("line" if chunks is None else "document"))
    read = itertools.chain(
        [next(read)], read
    )  # so that a wrong path fails before the model is read
    with places.writer(to):
        before = _before(to)
        if before is not None and dtype == "auto":
            dtype = before.dtype
        encoder = (
            model
            if isinstance(model, Encoder)
            else open_model(model, pooling=pooling, device=device, dtype=dtype)
        )
        asked = IndexSettings(
            model="an encoder" if isinstance(model, Encoder) else model_name(model),
            fingerprint=identity(encoder),
            dtype=dtype_of(encoder),
            pooling=pooling,
            prompt=_prompt(encoder, prompt, prompt_name, "document"),
            query_prompt=_prompt(encoder, query_prompt, None, "query"),
            dimension=truncate_dim or encoder.dimension,
            truncate_dim=truncate_dim,
            chunks=chunks,
            sources=tuple(named),
            approximate=approximate or (before is not None and before.approximate),
            versions=versions(),
        )
        settings = _joined(before, asked, others, places.shown(os.fspath(to)))
        store = places.open_store(to, settings)
        try:
            done = (
                before is not None and before.finished and before.approximate == asked.approximate
            )
            builder = _Builder(store, encoder, settings, batch_tokens, was_finished=done)
            with Progress("index", None, "texts", show=show_progress_bar) as bar:
                builder.run(read, bar, keep=_kept_sources(before, named, others))
            made = Index(store, encoder)
        except BaseException:
            store.close()
            raise
    made.changes = builder.changes
    return made


class _Builder:
    """Brings one store up to date."""

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        settings: IndexSettings,
        batch_tokens: int | None,
        *,
        was_finished: bool,
    ) -> None:
        self.store, self.encoder, self.settings = store, encoder, settings
        self.was_finished = was_finished
        self.batch_tokens = batch_tokens
        self.changes = Changes()
        self._reused: Counter[bytes] = Counter()

    def run(self, read: Iterable[Read], bar: Progress, *, keep: set[str]) -> None:
        """Add and remove what has changed. Texts of the sources in `keep` stay."""
        there = {name: (digest, source) for name, digest, source in self.store.documents()}
        digests = {digest for digest, _ in there.values()}
        seen: set[bytes] = set()
        for batch in _batches(self._new(read, there, seen, bar)):
            self._add(batch, digests)
            bar.advance(len(batch))
        gone = {
            name: digest
            for name, (digest, source) in there.items()
            if name not in seen and source not in keep
        }
        names = list(gone)
        for first in range(0, len(names), _REMOVED):
            self.store.remove(names[first : first + _REMOVED])
        changes = self.changes
        changes.moved = (self._reused & Counter(gone.values())).total()
        changes.copied = self._reused.total() - changes.moved
        changes.removed = len(gone) - changes.moved
        self._finish(changed=bool(gone) or changes.encoded + changes.copied > 0)

    def _finish(self, *, changed: bool) -> None:
        """Tidy up, and mark the index as finished."""
        settings, generation = self.settings, self.settings.generation
        if changed or not self.was_finished:
            self.store.finish(approximate=settings.approximate)
            generation += 1
        self.changes.rows = self.store.count()
        done = {"finished": True, "generation": generation}
        self.store.write_settings(settings.model_copy(update=done))

    def _new(
        self, read: Iterable[Read], there: Container[bytes], seen: set[bytes], bar: Progress
    ) -> Iterator[Read]:
        """Yield the texts that are not in the store at their place."""
        for each in read:
            if each.document in there:
                if each.document not in seen:
                    self.changes.kept += 1
                    bar.advance(1)
                seen.add(each.document)
            else:
                yield each

    def _add(self, batch: Sequence[Read], digests: set[bytes]) -> None:
        """Add texts, and encode those that are not known."""
        wanted = list(dict.fromkeys(each.digest for each in batch if each.digest in digests))
        known = self.store.known(wanted) if wanted else {}
        new = {each.digest: each.text for each in batch if each.digest not in known}
        known.update(zip(new, self._encode(list(new.values())) if new else ()))
        digests.update(new)
        entries: list[Entry] = []
        vectors: list[np.ndarray] = []
        for each in batch:
            found = known[each.digest]
            for start, end in found.spans:
                name = row_name(each.document, start, end)
                entries.append(Entry(name, *each[:5], start, end, each.text[start:end]))
            vectors.append(found.vectors)
            if each.digest in new:
                self.changes.encoded += 1
                del new[each.digest]  # a second text like it is a copy
            else:
                self._reused[each.digest] += 1
        if entries:
            self.store.add(entries, np.concatenate(vectors))

    def _encode(self, texts: list[str]) -> list[Stored]:
        settings = self.settings
        if settings.chunks is None:
            vectors = self.encoder.encode(
                texts,
                prompt=settings.prompt,
                normalize_embeddings=True,
                truncate_dim=settings.truncate_dim,
                batch_tokens=self.batch_tokens,
                show_progress_bar=False,
            )
            return [Stored([(0, len(text))], vector[None]) for text, vector in zip(texts, vectors)]
        passages = self.encoder.encode_chunks(
            texts,
            settings.chunks,
            prompt=settings.prompt,
            normalize_embeddings=True,
            batch_tokens=self.batch_tokens,
            show_progress_bar=False,
        )
        return [Stored(each.spans, each.vectors) for each in passages]


def _batches(read: Iterable[Read]) -> Iterator[list[Read]]:
    batch: list[Read] = []
    characters = 0
    for each in read:
        batch.append(each)
        characters += len(each.text)
        if len(batch) >= _TEXTS or characters >= _CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _read(sources: Sequence[str], column: str | None, unit: str) -> Iterator[Read]:
    reader = iter_texts if unit == "line" else iter_documents
    for source in sources:
        where: Places = deque()
        for text in reader(source, column=column, places=where, splits="all"):
            file, row = where.popleft()
            digest = digest_of(text)
            yield Read(document_name(source, file, row, digest), digest, source, file, row, text)


def _names(sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the sources as they are stored: "./notes/" and "notes" are one."""
    given = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if not given:
        raise InputError("sources: name at least one file, folder or dataset")
    found = []
    for source in given:
        name = os.fspath(source)
        found.append(os.path.normpath(name) if Path(name).expanduser().exists() else name)
    return list(dict.fromkeys(found))


def _check(chunks: object, unit: object, truncate_dim: object) -> None:
    """Refuse settings that do not work together, before anything is read."""
    number = isinstance(chunks, int) and not isinstance(chunks, bool) and chunks >= 1
    if chunks is not None and chunks != "sentences" and not number:
        raise InputError(f"chunks: must be 'sentences' or a number of tokens (got {chunks!r})")
    if unit not in (None, "line", "document"):
        raise InputError(f"unit: must be 'line' or 'document' (got {unit!r})")
    if chunks is not None and truncate_dim is not None:
        raise InputError("truncate_dim: does not work with chunks; leave one of them out")


def _before(to: str | os.PathLike[str]) -> IndexSettings | None:
    """Read the settings of the index that is there, if any."""
    if not places.exists(to):
        return None
    store = places.open_store(to) if places.scheme_of(os.fspath(to)) else None
    if store is None:
        return places.local_settings(to)
    try:
        return store.settings()
    finally:
        store.close()


def _joined(
    before: IndexSettings | None, asked: IndexSettings, others: Others | None, place: str
) -> IndexSettings:
    """Return the settings to write: those asked for, with the sources that stay.

    Raises:
        InputError: they do not fit to the index, or it holds sources that are not named.
    """
    if before is None:
        return asked
    before.check_fits(asked, place)
    missing = [each for each in before.sources if each not in asked.sources]
    if missing and others is None:
        raise InputError(
            f"{place}: also holds texts of {', '.join(missing)}; name all sources, or say --keep to leave those texts in the "
            "index or --drop to remove them"
        )
    sources = (*missing, *asked.sources) if others == "keep" else asked.sources
    return asked.model_copy(update={"sources": sources, "generation": before.generation})


def _kept_sources(
    before: IndexSettings | None, named: Sequence[str], others: Others | None
) -> set[str]:
    if before is None or others != "keep":
        return set()
    return set(before.sources) - set(named)


def _prompt(
    encoder: Encoder, prompt: str | None, name: str | None, role: Literal["query", "document"]
) -> str:
    """Return the instruction of a role, as `encode_query` and `encode_document` choose it."""
    if prompt is None and name is None:
        prompt = encoder.role_prompt(role)
    return encoder.prompt(prompt, name) or ""
