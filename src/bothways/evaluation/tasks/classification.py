"""Classification of texts by their vectors (MTEB's protocol: Muennighoff et al. 2023, arXiv
2210.07316, and its code).

The encoder is frozen. A few texts per class (8 by default, 16 for some of MTEB's sets) train a
logistic regression of at most 100 iterations, or vote as nearest neighbors. The test split is
scored, and the scores of ten such draws are averaged. As in MTEB, each draw shuffles the order that
the previous draw left, with a generator of the same seed. So with seed 42 the draws are MTEB's.

`shots=all` trains once on everything. `folds=K` splits a single file into K stratified parts and
tests each part once, with the others as training data. With `folds=10` and `shots=all` these are
the transfer tasks of SentEval (Conneau & Kiela 2018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bothways.errors import InputError
from bothways.evaluation.inputs.contradictions import (
    check_labels,
    say_empty,
    say_overlap,
    say_two_labels,
)
from bothways.evaluation.inputs.labeled_sets import (
    LabeledSet,
    class_numbers,
    joint_numbers,
    read_labeled_set,
    require_scikit_learn,
)
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.inputs.split_table import has_split
from bothways.evaluation.item_scores import value_items
from bothways.evaluation.measures.classifiers import few_per_class, logistic_predictions, scores_of
from bothways.evaluation.measures.knn import knn_predictions
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import MOST, RunOptions, Score, Task, check_seed
from bothways.progress import Progress
from bothways.search.vectors import AnyEncoder, encode_texts

ClassifierMethod = Literal["logreg", "knn"]
Shots = int | Literal["all"]
# training rows and test rows of one experiment, as indices into the pool of texts
Draw = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ClassifierOptions:
    """How a classifier is trained on the vectors, and how often.

    Attributes:
        method: "logreg", or "knn" (see `measures/knn.py`).
        shots: training texts per class, or "all".
        experiments: number of draws of the training texts, whose scores are averaged. With
            `shots="all"` or `folds` it is not used, because nothing is drawn.
        k: number of neighbors of "knn".
        folds: number of parts of a cross-validation. If None, train on the training texts.
    """

    method: ClassifierMethod = "logreg"
    shots: Shots = 8
    experiments: int = 10
    k: int = 1
    folds: int | None = None

    def __post_init__(self) -> None:
        """Raise InputError if a number is out of range."""
        for option, number, least in (
            ("shots", self.shots, 1),
            ("experiments", self.experiments, 1),
            ("k", self.k, 1),
            ("folds", self.folds, 2),
        ):
            if number not in (None, "all") and int(number) < least:
                raise InputError(
                    f"classification: {option} must be at least {least} (got {number})"
                )
        if self.experiments > MOST:
            raise InputError(
                f"classification: experiments must be at most {MOST:,} (got {self.experiments})"
            )


_PUBLISHED = ClassifierOptions()


class Classification(Task):
    """Accuracy (main), macro and weighted F1, each in [0, 1].

    With two classes there is also an average precision.
    """

    kind = "classification"
    main = "accuracy"

    def __init__(
        self,
        train: LabeledSet | None,
        test: LabeledSet,
        options: ClassifierOptions = _PUBLISHED,
        *,
        seed: int | None = None,
        prompt: str | None = None,
        name: str = "classification",
    ) -> None:
        """Keep the data and check it.

        Args:
            train: training texts. None with `folds`.
            test: texts to score on. With `folds`, all texts.
            options: the classifier and the draws of its training texts.
            seed: seed of the draws. If None, use the seed of the run. MTEB's is 42.
            prompt: instruction for all texts, used instead of the encoder's own.
            name: name of the task in results.

        Raises:
            InputError: if there are both or neither of training data and `folds`, or if the seed is
                out of range.
            MissingExtra: if scikit-learn is not installed.
        """
        require_scikit_learn("classification")
        if (train is None) == (options.folds is None):
            raise InputError(
                f"{test.source}: classification needs either a training split or folds=K, which splits this one into K parts"
            )
        check_seed(seed)
        self.method, self.shots, self.experiments = (
            options.method,
            options.shots,
            options.experiments,
        )
        self.k, self.folds = options.k, options.folds
        self.seed, self.prompt, self.name = seed, prompt, name
        parts = [test] if train is None else [train, test]
        self.pool = [text for part in parts for text in part.texts]
        numbers, self.classes = class_numbers(
            (label for part in parts for label in part.labels), joint_numbers(parts)
        )
        self.numbers = np.array(numbers)
        self.unknown = self._contradictions(train, test)
        self.trained_on = 0 if train is None else len(train.texts)
        self.fingerprint = data_fingerprint([[part.texts, part.labels] for part in parts])
        facts = {**asdict(options), "seed": seed, "prompt": prompt}
        k = facts.pop("k")
        self.settings = {**facts, "k": k} if options.method == "knn" else facts

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        options: ClassifierOptions = _PUBLISHED,
        seed: int | None = None,
        train: str | None = None,
        split: str = "test",
        text: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> Classification:
        """Make the task from `classification:FOLDER` or `classification:FILE?folds=K`.

        For example, `classification:banking77?shots=16` reads the training and test split of a
        folder, and `classification:mr.tsv?folds=10&shots=all` cross-validates on one file.
        `classification:test.tsv?train=train.tsv` names two files.

        Args:
            argument: the folder or file.
            options: options method, shots, experiments, k and folds, see `ClassifierOptions`.
            seed: see `Classification`.
            train: the training split of the folder, or a file. If None, the split "train".
            split: the split of the folder to score on.
            text: column of the text. If None, it is found by its usual names.
            label: column of the label. If None, it is found by its usual names.
            prompt: see `Classification`.
        """
        source = Path(require_argument(argument, "classification"))
        columns = {"text": text, "label": label}
        test = read_labeled_set(source, split=split, **columns)
        training = None
        if options.folds is None:
            place = _training_source(source, train)
            training = read_labeled_set(place, split=train or "train", **columns)
        name = f"classification:{argument}"
        return cls(training, test, options, seed=seed, prompt=prompt, name=name)

    def _contradictions(self, train: LabeledSet | None, test: LabeledSet) -> dict[str, int]:
        """Refuse or warn about data that cannot be scored, before anything is encoded.

        Returns:
            Number of test rows by label, for labels that the training texts lack.
        """
        parts = [test] if train is None else [train, test]
        for part in parts:
            say_two_labels(part.source, part.texts, part.labels)
            say_empty(part.source, part.texts)
        least = len(test.texts)
        if train is None:
            smallest = int(np.bincount(self.numbers).min())
            if self.folds is None or smallest < self.folds:
                raise InputError(
                    f"{self.name}: folds={self.folds}, but the smallest class has {smallest} texts; use fewer folds"
                )
            least -= -(-least // self.folds)
        else:
            say_overlap(self.name, train.texts, test.texts)
            least = len(train.texts)
        if self.method == "knn":
            if self.shots != "all":
                labels = (test if train is None else train).labels
                least = min(least, self.shots * len(set(labels)))
            if self.k > least:
                raise InputError(
                    f"{self.name}: k={self.k} neighbors of {least} training texts; choose a smaller k"
                )
        return {} if train is None else check_labels(self.name, train.labels, test.labels)

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Encode the texts that the experiments need, once each, and score them. See `Task.run`."""
        draws = self.draws(options.seed if self.seed is None else self.seed)
        needed = np.unique(np.concatenate([rows for draw in draws for rows in draw]))
        vectors = encode_texts(
            encoder, [self.pool[row] for row in needed], prompt=self.prompt, **options.encoding
        )
        place = np.full(len(self.pool), -1)
        place[needed] = np.arange(len(needed))
        outcomes = []
        with Progress("classifiers", len(draws), "fits", show=options.show_progress_bar) as bar:
            for train, test in draws:
                fitted = self._experiment(vectors[place[train]], vectors[place[test]], train, test)
                outcomes.append(fitted)
                bar.advance()
        metrics = {
            name: float(np.mean([scores[name] for scores, _, _ in outcomes]))
            for name in outcomes[0][0]
        }
        details = {
            "classes": len(self.classes),
            "training_texts": [len(train) for train, _ in draws],
            "test_texts": len(self.pool) - self.trained_on,
            "test_texts_of_unknown_labels": sum(self.unknown.values()),
            "accuracies": [scores["accuracy"] for scores, _, _ in outcomes],
            "unconverged": sum(not converged for _, _, converged in outcomes),
        }
        if self.folds is not None:
            return Score(metrics, details)
        right = np.mean([hits for _, hits, _ in outcomes], axis=0)
        return Score(metrics, {**details, **value_items(right, self._texts)})

    def draws(self, seed: int) -> list[Draw]:
        """Return the training and test rows of every experiment, as indices into the pool."""
        if self.folds is not None:
            return self._folds(seed)
        train, test = np.arange(self.trained_on), np.arange(self.trained_on, len(self.pool))
        if self.shots == "all":
            return [(train, test)]
        order = train.tolist()
        draws: list[Draw] = []
        for _ in range(self.experiments):
            np.random.RandomState(seed).shuffle(
                order
            )  # the published draws come from this generator
            draws.append((few_per_class(order, self.numbers, self.shots), test))
        return draws

    def _folds(self, seed: int) -> list[Draw]:
        from sklearn.model_selection import StratifiedKFold

        generator = np.random.default_rng(seed)
        draws: list[Draw] = []
        for train, test in StratifiedKFold(self.folds or 2, shuffle=True, random_state=seed).split(
            self.numbers, self.numbers
        ):
            few = (
                train
                if self.shots == "all"
                else few_per_class(generator.permutation(train), self.numbers, self.shots)
            )
            draws.append((few, test))
        return draws

    def _experiment(
        self,
        train_vectors: np.ndarray,
        test_vectors: np.ndarray,
        train: np.ndarray,
        test: np.ndarray,
    ) -> tuple[dict[str, float], np.ndarray, bool]:
        """Run one experiment.

        Returns:
            Its measures, which test rows it got right, and whether the fit converged.
        """
        gold = self.numbers[test]
        if self.method == "logreg":
            predicted, converged = logistic_predictions(
                train_vectors, self.numbers[train], test_vectors
            )
            return scores_of(gold, predicted), predicted == gold, converged
        if self.k > len(train):
            raise InputError(
                f"{self.name}: k={self.k} neighbors of {len(train)} training texts; choose a smaller k"
            )
        by_distance = knn_predictions(train_vectors, self.numbers[train], test_vectors, self.k)
        each = {distance: scores_of(gold, predicted) for distance, predicted in by_distance.items()}
        best = max(each, key=lambda distance: each[distance]["accuracy"])
        scores = {name: max(scores[name] for scores in each.values()) for name in each[best]}
        accuracies = {
            f"accuracy[{distance}]": scores["accuracy"] for distance, scores in each.items()
        }
        return {**scores, **accuracies}, by_distance[best] == gold, True

    def _texts(self, item: int) -> dict[str, str]:
        row = self.trained_on + item
        return {"text": self.pool[row], "label": self.classes[self.numbers[row]]}


def _training_source(source: Path, train: str | None) -> Path:
    """Return the folder or file of the training texts.

    A split of the folder comes before a file of the same name in the working directory.

    Raises:
        InputError: if `source` is a file and `train` does not name another.
    """
    if source.is_dir() and (train is None or has_split(source, train) or not Path(train).is_file()):
        return source
    if train is None or not Path(train).exists():
        raise InputError(
            f"{source} is a single file; give a folder with train and test files, train=FILE, or folds=K"
        )
    return Path(train)
