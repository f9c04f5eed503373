"""Clustering: how well k-means clusters of the vectors agree with the labels.

The measure is V-measure (Rosenberg & Hirschberg 2007), in MTEB's two forms:

- "whole", the first form: mini-batch k-means (batches of 500) with as many clusters as labels, once
  over all texts of each set.
- "fast", the form of MTEB 2: 4 % of the texts are encoded. Ten times, 16,384 of them are drawn with
  replacement and clustered (batches of 512).

As in MTEB, vectors are clustered as the encoder returns them, without normalization. With seed 42
the draws and starting centers are MTEB's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bothways.errors import InputError
from bothways.evaluation.inputs.contradictions import check_clusters, say_empty, say_two_labels
from bothways.evaluation.inputs.labeled_sets import (
    LabeledSet,
    class_numbers,
    joint_numbers,
    read_labeled_sets,
    require_scikit_learn,
)
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import MOST, RunOptions, Score, Task, check_seed
from bothways.progress import Progress
from bothways.search.vectors import AnyEncoder, encode_texts

if TYPE_CHECKING:
    from sklearn.cluster import MiniBatchKMeans

Protocol = Literal["whole", "fast"]

_MOST_DOCUMENTS = 10_000_000  # in one draw
_BATCH = {"whole": 500, "fast": 512}


class Clustering(Task):
    """V-measure (main) and adjusted mutual information of k-means clusters with labels.

    Both are means over sets and experiments.
    """

    kind = "clustering"
    main = "v_measure"

    def __init__(
        self,
        sets: list[LabeledSet],
        *,
        protocol: Protocol = "whole",
        experiments: int | None = None,
        fraction: float = 0.04,
        documents: int = 16_384,
        seed: int | None = None,
        prompt: str | None = None,
        name: str = "clustering",
    ) -> None:
        """Keep the sets and check them.

        Args:
            sets: sets of labeled texts. "whole" clusters each set by itself, "fast" joins all sets
                into one.
            protocol: see the top of this file.
            experiments: for "whole", k-means runs from different starting centers. For "fast",
                draws. If None, 1 and 10.
            fraction: share of the texts that "fast" encodes, in (0, 1].
            documents: texts in one draw of "fast".
            seed: seed of draws and starting centers. With "whole" it is the seed of the first
                experiment. If None, use the seed of the run. MTEB's is 42.
            prompt: instruction for all texts, used instead of the encoder's own.
            name: name of the task in results.

        Raises:
            InputError: if a number is out of range.
            MissingExtra: if scikit-learn is not installed.
        """
        require_scikit_learn("clustering")
        experiments = experiments if experiments is not None else {"whole": 1, "fast": 10}[protocol]
        _check_numbers(experiments, documents, fraction)
        check_seed(seed)
        for part in sets:
            check_clusters(part.source, part.labels)
            say_two_labels(part.source, part.texts, part.labels)
            say_empty(part.source, part.texts)
        self.sets, self.protocol, self.experiments = sets, protocol, experiments
        self.fraction, self.documents, self.seed, self.prompt, self.name = (
            fraction,
            documents,
            seed,
            prompt,
            name,
        )
        self.fingerprint = data_fingerprint([[part.texts, part.labels] for part in sets])
        drawn = {"fraction": fraction, "documents": documents} if protocol == "fast" else {}
        self.settings = {
            "protocol": protocol,
            "experiments": experiments,
            **drawn,
            "seed": seed,
            "prompt": prompt,
        }

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        protocol: Protocol = "whole",
        experiments: int | None = None,
        fraction: float = 0.04,
        documents: int = 16_384,
        seed: int | None = None,
        split: str = "test",
        text: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> Clustering:
        """Make the task from `clustering:PATH`, for example `clustering:arxiv.tsv?protocol=fast`.

        PATH is a file, or a folder with a test split. A row holds a text and a label, or a list of
        texts and a list of labels.

        Args:
            argument: the file or folder.
            protocol: see `Clustering`.
            experiments: see `Clustering`.
            fraction: see `Clustering`.
            documents: see `Clustering`.
            seed: see `Clustering`.
            split: the split of a folder.
            text: column of the text. If None, it is found by its usual names.
            label: column of the label. If None, it is found by its usual names.
            prompt: see `Clustering`.
        """
        path = require_argument(argument, "clustering")
        sets = read_labeled_sets(path, split=split, text=text, label=label)
        options: dict[str, Any] = {
            "protocol": protocol,
            "experiments": experiments,
            "fraction": fraction,
        }
        return cls(
            sets,
            **options,
            documents=documents,
            seed=seed,
            prompt=prompt,
            name=f"clustering:{path}",
        )

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Encode and cluster. See `Task.run`."""
        seed = options.seed if self.seed is None else self.seed
        runs = self.experiments * (1 if self.protocol == "fast" else len(self.sets))
        found = (self._fast if self.protocol == "fast" else self._whole)(encoder, options, seed)
        scores = []
        with Progress("clustering", runs, "runs of k-means", show=options.show_progress_bar) as bar:
            for score in found:
                scores.append(score)
                bar.advance()
        metrics = {
            name: float(np.mean([score[name] for score in scores])) for name in ("v_measure", "ami")
        }
        values = [score["v_measure"] for score in scores]
        details = {
            "texts": sum(len(part.texts) for part in self.sets),
            "sets": len(self.sets),
            "v_measures": values,
        }
        return Score(metrics, {**details, "v_measure_std": float(np.std(values))})

    def _whole(
        self, encoder: AnyEncoder, options: RunOptions, seed: int
    ) -> Iterator[dict[str, float]]:
        for part in self.sets:
            numbers, classes = class_numbers(part.labels, part.numbers)
            vectors = encode_texts(encoder, part.texts, prompt=self.prompt, **options.encoding)
            for experiment in range(self.experiments):
                model = _k_means(len(classes), "whole", seed + experiment)
                yield agreement(np.array(numbers), model.fit(vectors).labels_)

    def _fast(
        self, encoder: AnyEncoder, options: RunOptions, seed: int
    ) -> Iterator[dict[str, float]]:
        texts = [text for part in self.sets for text in part.texts]
        labels = [label for part in self.sets for label in part.labels]
        generator = random.Random(seed)  # the same generator as MTEB's, used in the same order
        if self.fraction < 1:
            kept = generator.sample(range(len(texts)), k=max(int(self.fraction * len(texts)), 1))
            texts, labels = [texts[row] for row in kept], [labels[row] for row in kept]
        numbers, classes = class_numbers(labels, joint_numbers(self.sets))
        if len(classes) < 2:
            raise InputError(
                f"{self.name}: fraction={self.fraction:g} leaves {len(texts)} texts of one class; use a larger fraction"
            )
        if self.documents < len(classes):
            raise InputError(
                f"{self.name}: documents={self.documents} is fewer than the {len(classes)} clusters, one for each label; draw more"
            )
        vectors, gold = (
            encode_texts(encoder, texts, prompt=self.prompt, **options.encoding),
            np.array(numbers),
        )
        model = _k_means(len(classes), "fast", seed)
        for _ in range(self.experiments):
            drawn = generator.choices(range(len(texts)), k=self.documents)
            yield agreement(gold[drawn], model.fit_predict(vectors[drawn]))


def _check_numbers(experiments: int, documents: int, fraction: float) -> None:
    """Raise InputError if a number is out of range."""
    if experiments < 1 or documents < 1 or not 0 < fraction <= 1:
        raise InputError(
            f"clustering: experiments and documents must be at least 1 and fraction in (0, 1] "
            f"(got {experiments}, {documents}, {fraction:g})"
        )
    if experiments > MOST or documents > _MOST_DOCUMENTS:
        raise InputError(
            f"clustering: at most {MOST:,} experiments and {_MOST_DOCUMENTS:,} documents (got {experiments}, {documents})"
        )


def agreement(gold: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Compare clusters `found` (N,) with labels `gold` (N,).

    Returns:
        V-measure in [0, 1], and adjusted mutual information (0 by chance, 1 at best).
    """
    from sklearn.metrics import adjusted_mutual_info_score, v_measure_score

    return {
        "v_measure": float(v_measure_score(gold, found)),
        "ami": float(adjusted_mutual_info_score(gold, found)),
    }


def _k_means(clusters: int, protocol: Protocol, seed: int) -> MiniBatchKMeans:
    from sklearn import cluster

    return cluster.MiniBatchKMeans(
        n_clusters=clusters,
        batch_size=_BATCH[protocol],
        n_init=1,
        init="k-means++",
        random_state=seed,
    )
