"""Retrieval over the running Python's standard library: find a function by its description.

The task needs no download. In addition to the measures of retrieval it reports SimCSE's two
measures on the same vectors (arXiv 2104.08821, section 4): alignment of each description with its
function, and uniformity of all texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bothways.data.embedded.stdlib import RetrievalTask, retrieval_task
from bothways.errors import InputError
from bothways.evaluation.measures import geometry
from bothways.evaluation.task import RunOptions, Score
from bothways.evaluation.tasks.retrieval import RankingTask
from bothways.search.vectors import AnyEncoder, Role, encode_texts
from bothways.similarity import unit
from bothways.similarity_names import Similarity, similarity_name


class Stdlib(RankingTask):
    """Retrieval over the held-out part of `bothways.data.embedded.stdlib`.

    The fingerprint differs between Python versions because their libraries differ.
    """

    kind = "stdlib"

    def __init__(
        self, candidates: int | None = None, *, similarity: Similarity | None = None
    ) -> None:
        """Read the held-out descriptions and functions of the running Python.

        Args:
            candidates: number of functions to search, at least 1. They are a fair sample of the
                library, and only their descriptions are asked for. If None, all of them.
            similarity: how vectors are compared. If None, as the encoder says.
        """
        collection = retrieval_task()
        if candidates is not None:
            collection = _first(collection, candidates)
        super().__init__(collection, name="stdlib", similarity=similarity)

    @classmethod
    def from_argument(cls, argument: str | None, *, similarity: Similarity | None = None) -> Stdlib:
        """Make the task from `stdlib`, or for example from `stdlib?similarity=dot`.

        Raises:
            InputError: if there is an argument.
        """
        if argument is not None:
            raise InputError(
                f"task 'stdlib' does not take an argument (got {argument!r}); write stdlib"
            )
        return cls(similarity=similarity)

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Rank and measure. Encoders also get `alignment` and `uniformity`. See `Task.run`."""
        if not hasattr(encoder, "encode"):
            return super().run(encoder, options)
        remembered = encoder if isinstance(encoder, Remembered) else Remembered(encoder, options)
        score = super().run(remembered, options)
        data = self.collection
        pairs = [(query, document) for query, judged in data.qrels.items() for document in judged]
        first = unit(remembered.encode_query([data.queries[query] for query, _ in pairs]))
        second = unit(remembered.encode_document([data.corpus[document] for _, document in pairs]))
        texts = np.concatenate(
            list(remembered.vectors("query")) + list(remembered.vectors("document"))
        )
        lens = {
            "alignment": geometry.alignment(first, second),
            "uniformity": geometry.uniformity(texts),
        }
        return Score({**score.metrics, **lens}, score.details)


def _first(whole: RetrievalTask, count: int) -> RetrievalTask:
    """Keep the first functions, which are in the order of their hashes, and their descriptions."""
    corpus = dict(list(whole.corpus.items())[:count])
    judged = {
        query: {name: grade for name, grade in grades.items() if name in corpus}
        for query, grades in whole.qrels.items()
    }
    qrels = {query: grades for query, grades in judged.items() if grades}
    return RetrievalTask({query: whole.queries[query] for query in qrels}, corpus, qrels)


class Remembered:
    """An encoder that encodes each text only once.

    Retrieval and geometry share the vectors of this small collection.

    Attributes:
        similarity_fn_name: the encoder's own similarity.
    """

    def __init__(self, encoder: AnyEncoder, options: RunOptions) -> None:
        """Wrap an encoder.

        Args:
            encoder: any encoder that `bothways.search.vectors.encode_texts` accepts.
            options: how to run it.
        """
        self.encoder = encoder
        self.options = options
        self.known: dict[tuple[str, str], np.ndarray] = {}
        self.similarity_fn_name = similarity_name(encoder)

    def _encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if (role, text) not in self.known]
        if new:
            self.known |= {
                (role, text): vector
                for text, vector in zip(
                    new, encode_texts(self.encoder, new, role, **self.options.encoding)
                )
            }
        return np.stack([self.known[role, text] for text in texts])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors (n, d) of texts without a role."""
        return self._encode(texts, "symmetric")

    def encode_query(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors (n, d) of queries."""
        return self._encode(texts, "query")

    def encode_document(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors (n, d) of documents."""
        return self._encode(texts, "document")

    def vectors(self, role: str) -> list[np.ndarray]:
        """Return the unit vectors of every text seen in a role, as blocks (1, d)."""
        return [unit(vector[None]) for (known, _), vector in self.known.items() if known == role]
