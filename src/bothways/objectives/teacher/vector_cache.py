"""A teacher's vectors on disk: each text is encoded once per teacher, over all runs.

    CACHE/FINGERPRINT/part-DIGEST.safetensors     keys (n, 16) uint8, vectors (n, D) float32

A key is the digest of prompt and text. A part is written as a whole after every `PART` texts, so a
run that was stopped continues after its last part, and processes may write at the same time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bothways.atomic import atomic_file
from bothways.errors import InputError, OutputBusy
from bothways.foreign import read_tensors
from bothways.objectives.teacher.teacher_config import TeacherConfig
from bothways.objectives.teacher.teacher_encoder import TeacherEncoder, open_teacher
from bothways.progress import Progress
from bothways.similarity_names import NAMES, Similarity

log = logging.getLogger("bothways")

PART = 4096  # texts of one part
_LENGTH_OF_UNIT = 1.001  # of vectors that were normalized and then rounded, also to float16
_REMOVE = "remove the file; its texts are encoded again"

Prompted = tuple[str, str]
"""A prompt and a text."""


class TeacherVectors:
    """The vectors of the texts that a stage may ask for.

    Attributes:
        vectors: (N, D) float32 on the CPU.
        width: D.
        similarity: how the vectors are compared.
    """

    def __init__(
        self, vectors: Tensor, rows: dict[bytes, int], similarity: Similarity = "cosine"
    ) -> None:
        """Keep vectors, with the row of each key."""
        self.vectors, self._rows, self.similarity = vectors, rows, similarity
        self.width = int(vectors.shape[1])

    def of(self, texts: Sequence[Prompted]) -> Tensor:
        """Return the vectors (n, D) of prompted texts.

        Raises:
            KeyError: if a text was not given to `teacher_vectors`.
        """
        return self.vectors[[self._rows[_key(*each)] for each in texts]]

    def temperature(self, of_cosines: float) -> float:
        """Return the usual temperature of scores among these texts.

        Args:
            of_cosines: the temperature of cosines, and of products that lie in their range. Other
                products are logits and get 1, as in `losses.distillation.temperature_of`.
        """
        within = float(self.vectors.norm(dim=1).max()) <= _LENGTH_OF_UNIT
        return of_cosines if self.similarity == "cosine" or within else 1.0

    def refuse_distances(self, config: TeacherConfig, objective: str, field: str) -> None:
        """Refuse scores whose temperature cannot be chosen.

        The softmax of distances depends on the lengths of the vectors, and no temperature is usual.
        Cosines have a range, and products are trained as logits.

        Args:
            config: the teacher.
            objective: begins the message.
            field: the option that holds the temperature.

        Raises:
            InputError: the vectors are compared by a distance.
        """
        if self.similarity not in ("cosine", "dot"):
            raise InputError(
                f"{objective}: teacher {config.encoder} compares by {NAMES[self.similarity]}, which has no usual temperature; "
                f"set {field}, which divides its scores, or teacher.similarity to cosine"
            )

    def joined(self, other: TeacherVectors) -> TeacherVectors:
        """Return the vectors of both, of one teacher."""
        count = len(self.vectors)
        rows = {**{key: count + row for key, row in other._rows.items()}, **self._rows}
        return TeacherVectors(torch.cat([self.vectors, other.vectors]), rows, self.similarity)


def teacher_vectors(
    config: TeacherConfig, texts: Sequence[Prompted], *, device: torch.device
) -> TeacherVectors:
    """Read the vectors of texts from the cache, and encode those that are not in it.

    Args:
        config: the teacher.
        texts: prompts and texts, in any order. Equal ones are encoded once.
        device: device of the teacher.

    Raises:
        InputError: if the teacher cannot encode, or a part of the cache is damaged.
        SourceError: if the teacher does not exist.
        OutputError: if the cache cannot be written.
    """
    teacher = open_teacher(config.encoder, device=device)
    folder = config.folder / teacher.fingerprint
    wanted: dict[bytes, Prompted] = {_key(*each): each for each in texts}
    rows: dict[bytes, int] = {}
    found: list[Tensor] = []
    for part in sorted(folder.glob("part-*.safetensors")):
        _read(part, wanted, rows, found)
    known = len(rows)
    missing = [key for key in wanted if key not in rows]
    with Progress(f"teacher {config.encoder}", len(missing), "texts") as bar:
        for start in range(0, len(missing), PART):
            keys = missing[start : start + PART]
            vectors = _encoded(teacher, [wanted[key] for key in keys])
            _write(folder, keys, vectors)
            for key in keys:
                rows[key] = len(rows)
            found.append(vectors)
            bar.advance(len(keys))
    log.info(
        "teacher %s: vectors of %d texts, of which %d were in %s",
        config.encoder,
        len(rows),
        known,
        folder,
    )
    if len({part.shape[1] for part in found}) > 1:
        raise InputError(
            f"teacher {config.encoder}: its vectors have different widths in {folder}; {_REMOVE}"
        )
    return TeacherVectors(torch.cat(found), rows, config.similarity or teacher.similarity)


def _encoded(teacher: TeacherEncoder, texts: Sequence[Prompted]) -> Tensor:
    """Encode prompt by prompt, from long to short, so that a batch has texts of one length."""
    parts: list[tuple[list[int], np.ndarray]] = []
    for prompt in dict.fromkeys(prompt for prompt, _ in texts):
        mine = [number for number, each in enumerate(texts) if each[0] == prompt]
        mine.sort(key=lambda number: -len(texts[number][1]))
        parts.append((mine, teacher.encode([texts[number][1] for number in mine], prompt)))
    vectors = np.empty((len(texts), parts[0][1].shape[1]), dtype=np.float32)
    for places, encoded in parts:
        vectors[places] = encoded
    return torch.from_numpy(vectors)


def _read(
    part: Path, wanted: dict[bytes, Prompted], rows: dict[bytes, int], found: list[Tensor]
) -> None:
    """Add the wanted vectors of one part."""
    tensors: dict[str, Any] = read_tensors(part, remedy=_REMOVE)
    keys, vectors = tensors.get("keys"), tensors.get("vectors")
    if keys is None or vectors is None or len(keys) != len(vectors) or vectors.ndim != 2:
        raise InputError(f"{part}: is not a part of a teacher's vectors; {_REMOVE}")
    places = []
    for place, key in enumerate(keys.numpy()):
        name = key.tobytes()
        if name in wanted and name not in rows:
            rows[name] = len(rows)
            places.append(place)
    if places:
        found.append(vectors[places].clone())


def _write(folder: Path, keys: Sequence[bytes], vectors: Tensor) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
    table = torch.from_numpy(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16).copy())
    try:
        with atomic_file(folder / f"part-{name}.safetensors") as file:
            save_file({"keys": table, "vectors": vectors.contiguous()}, file)
    except OutputBusy:
        # the name is of the texts, so another process of this run writes the same vectors
        log.debug("%s: another process is writing part %s", folder, name)


def _key(prompt: str, text: str) -> bytes:
    joined = f"{prompt}\x1f{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=16).digest()
