"""Brings the store of an index up to date with the texts that are read: encodes new ones, copies
the vectors of those that moved, and removes those that are gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bothways.encoder.encoder import Encoder
from bothways.indexing.index_rows import Changes, Entry, row_name
from bothways.indexing.settings import IndexSettings
from bothways.indexing.store import Store, Stored
from bothways.progress import Progress
from bothways.similarity import unit_or_own

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


class Update:
    """Brings one store up to date.

    Args:
        store: the store, open for writing.
        encoder: the encoder of the index.
        settings: the settings that were written.
        batch_tokens: tokens of a pass.
        was_finished: False if the last run was stopped, or if the store must be tidied up anyway.

    Attributes:
        changes: what was done so far.
    """

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
                normalize_embeddings=unit_or_own(settings.similarity),
                truncate_dim=settings.truncate_dim,
                batch_tokens=self.batch_tokens,
                show_progress_bar=False,
            )
            return [Stored([(0, len(text))], vector[None]) for text, vector in zip(texts, vectors)]
        passages = self.encoder.encode_chunks(
            texts,
            settings.chunks,
            prompt=settings.prompt,
            normalize_embeddings=unit_or_own(settings.similarity),
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
