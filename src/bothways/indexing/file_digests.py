"""SHA-256 of an index's files, so that a flipped byte is an error and never another result.

LanceDB has no checksums: a bit that flips in a vector gives another score, and one in a text gives
another text. Its files are never changed after they were written, so each one is read once when an
index is opened, and compared.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path

from bothways.atomic import atomic_file
from bothways.digest import file_sha256
from bothways.foreign import read_object


class FileDigests:
    """The digests of files below a folder, in a JSON file: {"rows.lance/data/1.lance": "ab12…"}.

    Args:
        folder: the folder.
        record: name of the JSON file in it. Without that file, nothing is compared.
        remedy: advice for a damaged file.
    """

    def __init__(self, folder: Path, record: str, remedy: str) -> None:
        self._folder, self._record, self._remedy = folder, folder / record, remedy
        self._good: set[str] = set()  # compared, or written by this process
        self._lock = threading.Lock()

    def check(self) -> None:
        """Compare all recorded files that were not compared before.

        A file that is gone is not an error here: another process may have replaced it.

        Raises:
            ValueError: the bytes of a file have changed.
            InputError: the record cannot be read.
            OSError: a file cannot be read.
        """
        with self._lock:
            for name, digest in self._recorded().items():
                if name in self._good:
                    continue
                try:
                    found = file_sha256(self._folder / name)
                except FileNotFoundError:
                    continue
                if found != digest:
                    raise ValueError(f"the bytes of {name} have changed since it was written")
                self._good.add(name)

    def record(self, files: Iterable[Path]) -> None:
        """Write the digests of files: those known so far, and now also those of new files.

        Raises:
            OutputError: the record cannot be written.
        """
        with self._lock:
            known = self._recorded()
            names = sorted(path.relative_to(self._folder).as_posix() for path in files)
            digests = {name: known.get(name) or file_sha256(self._folder / name) for name in names}
            with atomic_file(self._record) as part:
                part.write_text(json.dumps(digests, indent=1), encoding="utf-8")
            self._good.update(digests)

    def _recorded(self) -> dict[str, str]:
        if not self._record.is_file():
            return {}
        return read_object(self._record, remedy=self._remedy)
