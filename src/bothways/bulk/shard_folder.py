"""The folder of a job: a manifest, the shards, and a journal while the job is not complete.

    manifest.json           model, settings, versions, and every shard once the job is complete
    shards.jsonl            while the job runs: a line for each finished shard
    shard-000000.parquet    texts and vectors

A shard is finished when its line is in the journal. So a process that was killed at any moment
loses only the shards that it was encoding. A complete folder has the same bytes no matter how often
the job was stopped and how many processes took part.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bothways.atomic import atomic_file, remove_parts
from bothways.bulk.settings import FORMAT, VERSION, check_same
from bothways.bulk.shard_file import ShardRecord, damage, job_of
from bothways.bulk.shard_texts import ShardTexts, shard_name
from bothways.errors import InputError
from bothways.foreign import foreign, read_object
from bothways.locks import writing

log = logging.getLogger("bothways")

MANIFEST, JOURNAL = "manifest.json", "shards.jsonl"
_AGAIN = "restore it from a copy, or remove the folder and run the same `bothways encode` again"


def read_shard_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises:
        InputError: if there is none, or it is damaged or of another kind.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise InputError(
            f"{folder}: has no {MANIFEST}, so it is not a folder of encoded shards; name one that bothways encode wrote, or a new one"
        )
    found = read_object(file, remedy=_AGAIN)
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        raise InputError(
            f"{file}: expected format {FORMAT!r}, version {VERSION} (found {found.get('format')!r}, {found.get('version')!r}); "
            "read it with the bothways that wrote it"
        )
    with foreign(file, "is damaged", _AGAIN):
        _check_shape(found)
    return found


def records_of(manifest: Mapping[str, Any]) -> list[ShardRecord]:
    """Return the records of a manifest, in order."""
    return [ShardRecord(**each) for each in manifest["shards"]]


def _check_shape(found: Mapping[str, Any]) -> None:
    """Look up every fact that is used later, so that a missing one is told once."""
    for keys in (("model", "fingerprint"), ("model", "name"), ("model", "dtype"), ("settings",)):
        value: Any = found
        for key in keys:
            value = value[key]
    _ = dict(found["settings"])["both"], dict(found["versions"]), found["complete"]
    numbers = [found["dimension"], found["shard_rows"]]
    for each in records_of(found):
        numbers += [each.first, each.texts, each.vectors, each.bytes]
        if each.file != shard_name(each.number):  # also no path that leads out of the folder
            raise ValueError(f"shard {each.number!r} is in a file {each.file!r}")
    if not all(type(each) is int and each >= 0 for each in numbers):
        raise ValueError("a number is not one")


class ShardFolder:
    """A folder that one process, which holds its lock, fills."""

    def __init__(self, place: Path) -> None:
        """Read the state of the folder.

        Args:
            place: the folder. It need not exist.

        Raises:
            InputError: if it holds anything else, or its manifest is damaged.
        """
        self.place = place
        self.manifest: dict[str, Any] = {}
        self._written: dict[str, Any] = {}
        self.records: dict[int, ShardRecord] = {}
        names = self._names()
        if not names:
            return
        self.manifest = self._written = read_shard_manifest(place)
        self.records = {each.number: each for each in records_of(self.manifest)}
        self.records |= self._journal()
        self._refuse_foreign(names)

    @property
    def shard_rows(self) -> int | None:
        """Texts of a shard in a folder that was begun before, else None."""
        return int(self.manifest["shard_rows"]) if self.manifest else None

    @property
    def job(self) -> str:
        """The digest of everything that the vectors of the folder have in common."""
        kept = ("model", "settings", "dimension", "shard_rows")
        facts = {key: self.manifest[key] for key in kept}
        # A copy of the model under another name gives the same vectors.
        facts["model"] = facts["model"]["fingerprint"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest of a new job, or check that this job is the one of the folder.

        Args:
            facts: those of `Settings.facts`, with source, shard_rows and versions.

        Raises:
            InputError: if the folder belongs to another model or other settings.
            OutputError: if it cannot be written.
        """
        if self.manifest:
            check_same(str(self.place), self.manifest, facts)
            before, now = self.manifest["versions"], facts["versions"]
            changed = [name for name in now if before.get(name) != now[name]]
            if changed and not self.manifest["complete"]:
                told = ", ".join(f"{name} {before.get(name)} → {now[name]}" for name in changed)
                log.warning("%s: continued with other versions (%s)", self.place, told)
            # The texts are compared one by one, so they may come from another source.
            self.manifest = {**self.manifest, "source": facts["source"]}
        else:
            head = {"format": FORMAT, "version": VERSION}
            self.manifest = {**head, **facts, "complete": False, "shards": []}
            self.place.mkdir(parents=True, exist_ok=True)
            self._write()
        remove_parts(self.place)
        for lock in self.place.glob(".shard-*.lock"):  # of processes that were killed
            lock.unlink(missing_ok=True)

    def is_done(self, shard: ShardTexts) -> bool:
        """Tell if a shard is there, whole and of these texts. A warning tells if it was before."""
        record = self.records.get(shard.number)
        if record is None:
            return False
        if record.texts_sha256 != shard.digest() or record.first != shard.first:
            log.warning("%s: the texts have changed since, so they are encoded again", shard.span)
            return False
        found = damage(self.place / record.file, record)
        if found is not None:
            log.warning("%s: %s, so its texts are encoded again", self.place / record.file, found)
        return found is None

    def reopen(self) -> None:
        """Say on the disk that the folder is not complete, before a shard of it is replaced."""
        if not self.manifest["complete"]:
            return
        records = [self.records[number] for number in sorted(self.records)]
        with atomic_file(self.place / JOURNAL) as part:
            part.write_text("".join(_line(each) for each in records), encoding="utf-8")
        self.manifest = {**self.manifest, "complete": False, "shards": []}
        for key in ("texts", "vectors"):
            self.manifest.pop(key, None)
        self._write()

    def add(self, record: ShardRecord) -> None:
        """Note a finished shard in the journal."""
        self.records[record.number] = record
        file = self.place / JOURNAL
        with writing(file), file.open("ab") as journal:
            journal.write(_line(record).encode())
            journal.flush()
            os.fsync(journal.fileno())

    def complete(self, count: int) -> dict[str, Any]:
        """Write the final manifest of `count` shards, and remove what is left of longer runs."""
        for number in sorted(self.records):
            if number >= count:
                log.warning(
                    "%s: removed, because the source is shorter now", self.records[number].file
                )
                (self.place / self.records.pop(number).file).unlink(missing_ok=True)
        records = [self.records[number] for number in range(count)]
        found = {
            **self.manifest,
            "complete": True,
            "texts": sum(each.texts for each in records),
            "vectors": sum(each.vectors for each in records),
            "shards": [each.values() for each in records],
        }
        if found != self._written:
            self.manifest = found
            self._write()
        (self.place / JOURNAL).unlink(missing_ok=True)
        return self.manifest

    def _write(self) -> None:
        with atomic_file(self.place / MANIFEST) as part:
            part.write_text(
                json.dumps(self.manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        self._written = self.manifest

    def _names(self) -> list[str]:
        with writing(self.place):
            if not os.path.lexists(self.place):
                return []
            if not self.place.is_dir():
                raise InputError(f"{self.place}: is not a folder; name another one")
            return sorted(name for name in os.listdir(self.place) if not name.startswith("."))

    def _journal(self) -> dict[int, ShardRecord]:
        """Read the finished shards of a job that was stopped. A line that was cut is dropped."""
        file = self.place / JOURNAL
        if not file.is_file():
            return {}
        found = {}
        lines = file.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            with foreign(f"{file}, row {number}", "is damaged", "remove the file and run again"):
                record = ShardRecord(**json.loads(line))
            found[record.number] = record
        if lines[-1]:  # the next line must not be joined to a half one
            with writing(file), contextlib.closing(file.open("r+b")) as stream:
                stream.truncate(sum(len(line) + 1 for line in lines[:-1]))
        return found

    def _refuse_foreign(self, names: list[str]) -> None:
        """Refuse files that this job has not written and would overwrite or mix with its own."""
        known = {MANIFEST, JOURNAL, *(each.file for each in self.records.values())}
        for name in names:
            if name in known or not name.endswith(".parquet"):
                continue
            path = self.place / name
            # A process that was killed right after it wrote a shard leaves one that nobody noted.
            if job_of(path) != self.job:
                raise InputError(
                    f"{path}: is not a shard of this folder's job; move it away, or name another folder"
                )


def _line(record: ShardRecord) -> str:
    return json.dumps(record.values()) + "\n"
