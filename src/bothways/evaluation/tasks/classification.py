"""Classification of texts by their vectors, MTEB's protocol (Muennighoff et al. 2023, arXiv 2210.07316, and its code).

The encoder is frozen. A few texts per class (8 unless said otherwise, 16 for some of MTEB's sets) train a logistic regression of at
most 100 iterations, or vote as nearest neighbours; the test split is scored; ten draws of the few are averaged. Each draw shuffles
the order of the one before it with the same generator started anew, as MTEB does, so that with seed 42 the draws are MTEB's.

`shots=all` trains once on everything. `folds=K` takes a single file apart into K stratified parts, each tested once with the others as
training data: the transfer tasks of SentEval (Conneau & Kiela 2018) with `folds=10` and `shots=all`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from bothways.errors import InputError
from bothways.evaluation.inputs.contradictions import check_labels, say_empty, say_overlap, say_two_labels
from bothways.evaluation.inputs.labeled import Labelled, class_numbers, read_labelled, require_scikit_learn
from bothways.evaluation.inputs.named_data import fingerprint
from bothways.evaluation.item_scores import value_items
from bothways.evaluation.measures.classifiers import few_per_class, logistic_predictions, scores_of
from bothways.evaluation.measures.knn import knn_predictions
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import MOST, RunOptions, Score, Task, check_seed
from bothways.search.vectors import encode_texts

Method = Literal["logreg", "knn"]
Shots = int | Literal["all"]
# training rows and test rows of one experiment, as places in the pool of texts
Draw = tuple[np.ndarray, np.ndarray]


class Classification(Task):
    """Accuracy (main), macro and weighted F1, and average precision where there are two classes; each in [0, 1]."""

    kind = "classification"
    main = "accuracy"

    def __init__(
        self,
        train: Labelled | None,
        test: Labelled,
        *,
        method: Method = "logreg",
        shots: Shots = 8,
        experiments: int = 10,
        k: int = 1,
        folds: int | None = None,
        seed: int | None = None,
        prompt: str | None = None,
        name: str = "classification",
    ) -> None:
        """Hold the data.

        Args:
            train: training texts; None with `folds`.
            test: texts to score on; with `folds`, all texts.
            method: "logreg", or "knn" (see `knn.py`).
            shots: training texts per class, or "all".
            experiments: draws of the training texts that are averaged; with `shots="all"` or `folds` there is nothing to draw.
            k: neighbours of "knn".
            folds: cross-validation in so many parts.
            seed: of the draws; None takes that of the run. MTEB's is 42.
            prompt: instruction for all texts in place of the encoder's own.
            name: what results call the task.

        Raises:
            InputError: a number out of range, or training data beside `folds`.
            MissingExtra: scikit-learn is not installed.
        """
        require_scikit_learn("classification")
        if (train is None) == (folds is None):
            raise InputError(
                f"{test.source}: classification needs a training split, or folds=K to take this one apart; not both"
            )
        for what, number, least in (("shots", shots, 1), ("experiments", experiments, 1), ("k", k, 1), ("folds", folds, 2)):
            if number not in (None, "all") and int(number) < least:
                raise InputError(f"classification: {what} must be at least {least} (got {number})")
        if experiments > MOST:
            raise InputError(f"classification: experiments must be at most {MOST:,} (got {experiments})")
        check_seed(seed)
        self.method, self.shots, self.experiments, self.k, self.folds = method, shots, experiments, k, folds
        self.seed, self.prompt, self.name = seed, prompt, name
        parts = [test] if train is None else [train, test]
        self.pool = [text for part in parts for text in part.texts]
        numbers, self.classes = class_numbers(label for part in parts for label in part.labels)
        self.numbers = np.array(numbers)
        self.unknown = self._contradictions(train, test)
        self.trained_on = 0 if train is None else len(train.texts)
        self.fingerprint = fingerprint([[part.texts, part.labels] for part in parts])
        facts = {"method": method, "shots": shots, "experiments": experiments, "folds": folds, "seed": seed, "prompt": prompt}
        self.settings = {**facts, "k": k} if method == "knn" else facts

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        method: Method = "logreg",
        shots: Shots = 8,
        experiments: int = 10,
        k: int = 1,
        folds: int | None = None,
        seed: int | None = None,
        train: str = "train",
        split: str = "test",
        text: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> Classification:
        """`classification:FOLDER` with a training and a test split, or `classification:FILE?train=FILE` or `?folds=K`.

        Args:
            argument: the folder or file.
            method, shots, experiments, k, folds, seed, prompt: see `Classification`.
            train: the training split of the folder, or a file.
            split: the split of the folder to score on.
            text, label: columns, found by the usual names otherwise.
        """
        source = Path(require_argument(argument, "classification"))
        columns = {"text": text, "label": label}
        test = read_labelled(source, split=split, **columns)
        training = None
        if folds is None:
            place = source if source.is_dir() and not Path(train).is_file() else Path(train)
            if not place.exists():
                raise InputError(f"{source}: is one file; give a folder with train and test, train=FILE, or folds=K")
            training = read_labelled(place, split=train, **columns)
        options: dict[str, Any] = {"method": method, "shots": shots, "experiments": experiments, "k": k, "folds": folds}
        return cls(training, test, **options, seed=seed, prompt=prompt, name=f"classification:{argument}")

    def _contradictions(self, train: Labelled | None, test: Labelled) -> dict[str, int]:
        """Refuse or name what cannot be scored, before anything is encoded; return test rows by label that training lacks."""
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
                raise InputError(f"{self.name}: k={self.k} neighbours of {least} training texts; choose a smaller k")
        return {} if train is None else check_labels(self.name, train.labels, test.labels)

    def run(self, encoder: Any, options: RunOptions) -> Score:
        """Encode what the experiments need, once each, and score them. See `Task.run`."""
        draws = self.draws(options.seed if self.seed is None else self.seed)
        needed = np.unique(np.concatenate([rows for draw in draws for rows in draw]))
        vectors = encode_texts(encoder, [self.pool[row] for row in needed], prompt=self.prompt, **options.encoding)
        place = np.full(len(self.pool), -1)
        place[needed] = np.arange(len(needed))
        outcomes = [self._experiment(vectors[place[train]], vectors[place[test]], train, test) for train, test in draws]
        metrics = {name: float(np.mean([scores[name] for scores, _, _ in outcomes])) for name in outcomes[0][0]}
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
        """Training and test rows of every experiment, as places in the pool."""
        if self.folds is not None:
            return self._folds(seed)
        train, test = np.arange(self.trained_on), np.arange(self.trained_on, len(self.pool))
        if self.shots == "all":
            return [(train, test)]
        order = train.tolist()
        draws: list[Draw] = []
        for _ in range(self.experiments):
            np.random.RandomState(seed).shuffle(order)  # the published draws come from this generator
            draws.append((few_per_class(order, self.numbers, self.shots), test))
        return draws

    def _folds(self, seed: int) -> list[Draw]:
        from sklearn.model_selection import StratifiedKFold

        generator = np.random.default_rng(seed)
        draws: list[Draw] = []
        for train, test in StratifiedKFold(self.folds or 2, shuffle=True, random_state=seed).split(self.numbers, self.numbers):
            few = train if self.shots == "all" else few_per_class(generator.permutation(train), self.numbers, self.shots)
            draws.append((few, test))
        return draws

    def _experiment(
        self, train_vectors: np.ndarray, test_vectors: np.ndarray, train: np.ndarray, test: np.ndarray
    ) -> tuple[dict[str, float], np.ndarray, bool]:
        """Measures of one experiment, which test rows it got right, and whether the fit converged."""
        gold = self.numbers[test]
        if self.method == "logreg":
            predicted, converged = logistic_predictions(train_vectors, self.numbers[train], test_vectors)
            return scores_of(gold, predicted), predicted == gold, converged
        if self.k > len(train):
            raise InputError(f"{self.name}: k={self.k} neighbours of {len(train)} training texts; choose a smaller k")
        by_distance = knn_predictions(train_vectors, self.numbers[train], test_vectors, self.k)
        each = {distance: scores_of(gold, predicted) for distance, predicted in by_distance.items()}
        best = max(each, key=lambda distance: each[distance]["accuracy"])
        scores = {name: max(scores[name] for scores in each.values()) for name in each[best]}
        apart = {f"accuracy[{distance}]": scores["accuracy"] for distance, scores in each.items()}
        return {**scores, **apart}, by_distance[best] == gold, True

    def _texts(self, item: int) -> dict[str, str]:
        row = self.trained_on + item
        return {"text": self.pool[row], "label": self.classes[self.numbers[row]]}
