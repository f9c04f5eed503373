"""Word level: part of speech, chunks and named entities of CoNLL-2003, read by a linear layer.

The encoder is frozen. This is LLM2Vec's first experiment (arXiv 2404.05961, section 3.1, figure 2).
Its figure is the share of words with the right tag, O included. Most words of the entity task are
O, so the F1 of whole spans is reported too. Tags are converted to IOB2, as in the release on the
hub that LLM2Vec used. Accuracy depends on that scheme, F1 does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from bothways.data.rows import find_file
from bothways.errors import InputError
from bothways.evaluation.inputs.conll import COLUMNS, SPANNED, Sentence, read_conll
from bothways.evaluation.inputs.contradictions import check_labels, say_overlap
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.measures.spans import score_spans, to_iob2
from bothways.evaluation.probing.linear_probe import Fitted, ProbeSettings, Split, fit
from bothways.evaluation.probing.token_passes import token_encoder
from bothways.evaluation.probing.word_alignment import Alignment, default_alignment
from bothways.evaluation.probing.word_states import word_states
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task
from bothways.nearest import meant

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

_SPLITS = ("train", "dev", "test")

Cache = Literal["disk", "memory"]


class Words(Task):
    """Test accuracy for each tag column and their mean (main), all in [0, 1].

    Chunks and entities also get precision, recall and F1.
    """

    kind = "words"
    main = "accuracy"

    def __init__(
        self,
        folder: str | Path,
        *,
        alignment: Alignment | None = None,
        limit: int | None = None,
        probe: ProbeSettings | None = None,
        cache: Cache = "disk",
        name: str | None = None,
    ) -> None:
        """Read the three files.

        Args:
            folder: holds train.txt, dev.txt and test.txt in the layout of CoNLL-2003. Each may be
                gzipped.
            alignment: "same_token" or "next_token". If None, it is next_token if the encoder has an
                MNTP stage, else same_token.
            limit: number of sentences to read of each file, for a quick look. If None, read all.
            probe: how the probe is trained. If None, as published.
            cache: "disk" keeps the word vectors in the user's cache (2 · H bytes a word: 350 MB for
                H = 576), "memory" in memory.
            name: name of the task in results. If None, `words:FOLDER`.

        Raises:
            InputError: if a file is missing or broken, or if an option is out of range.
        """
        for option, value, known in (("alignment", alignment, Alignment), ("cache", cache, Cache)):
            if value is not None and value not in get_args(known):
                raise InputError(
                    f"words {option}: {value!r}; {meant(value, get_args(known))}choose one of {', '.join(get_args(known))}"
                )
        if limit is not None and limit < 1:
            raise InputError(f"words limit: must be at least 1 sentence (got {limit})")
        self.alignment, self.cache, self.limit = alignment, cache, limit
        self.probe = probe or ProbeSettings()
        self.settings = {"alignment": alignment, "limit": limit, "probe": asdict(self.probe)}
        self.sentences = {
            split: read_conll(find_file(Path(folder) / f"{split}.txt"), limit=limit)
            for split in _SPLITS
        }
        self.tags = {split: _tags(sentences) for split, sentences in self.sentences.items()}
        self.name = name or f"words:{folder}"
        for column in COLUMNS:
            taught, tested = (
                [tag for sentence in self.tags[split][column] for tag in sentence]
                for split in ("train", "test")
            )
            check_labels(self.name, taught, tested, what=f"{column} tags", rows="test words")
        say_overlap(
            self.name,
            (s.words for s in self.sentences["train"]),
            [s.words for s in self.sentences["test"]],
            "test sentences",
        )
        self.fingerprint = data_fingerprint(
            [[s.words, s.tags] for split in _SPLITS for s in self.sentences[split]]
        )

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        alignment: Alignment | None = None,
        limit: int | None = None,
        cache: Cache = "disk",
        steps: int = ProbeSettings.steps,
        batch_size: int = ProbeSettings.batch_size,
        lr: float = ProbeSettings.lr,
        dev_every: int = ProbeSettings.dev_every,
    ) -> Words:
        """Make the task from `words:FOLDER`, for example `words:conll2003?limit=500&steps=200`.

        The options are those of `Words` and of `ProbeSettings`.
        """
        folder = require_argument(argument, "words")
        probe = ProbeSettings(steps=steps, batch_size=batch_size, lr=lr, dev_every=dev_every)
        return cls(folder, alignment=alignment, limit=limit, cache=cache, probe=probe)

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Encode every sentence once, train the probes on their words and score the test set.

        See `Task.run`.
        """
        model = token_encoder(encoder, "words")
        alignment = self.alignment or default_alignment(model)
        texts = [sentence.words for split in _SPLITS for sentence in self.sentences[split]]
        states = word_states(model, texts, alignment, options, on_disk=self.cache == "disk")
        names = {
            column: sorted({tag for sentence in self.tags["train"][column] for tag in sentence})
            for column in COLUMNS
        }
        splits = {
            split: Split(
                vectors,
                starts,
                {column: _numbers(self.tags[split][column], names[column]) for column in COLUMNS},
            )
            for split, (vectors, starts) in zip(
                _SPLITS, states.split([len(self.sentences[split]) for split in _SPLITS])
            )
        }
        counts = {column: len(tags) for column, tags in names.items()}
        fitted = fit(
            splits["train"],
            splits["dev"],
            counts,
            self.probe,
            seed=options.seed,
            show=options.show_progress_bar,
        )
        metrics: dict[str, float] = {}
        columns: dict[str, Any] = {}
        for column in COLUMNS:
            own, facts = self._score(column, fitted[column], splits["test"], names[column])
            metrics |= own
            columns[column] = facts
        metrics = {
            "accuracy": float(np.mean([metrics[f"accuracy[{column}]"] for column in COLUMNS])),
            **metrics,
        }
        details = {
            "alignment": alignment,
            "alignment_from": "option" if self.alignment else "provenance",
            "tags": "IOB2",
            "sentences": {split: len(self.sentences[split]) for split in _SPLITS},
            "words": {split: len(splits[split].vectors) for split in _SPLITS},
            "words_without_tokens": states.without_tokens,
            "probe": asdict(self.probe),
            "columns": columns,
        }
        return Score(metrics, details)

    def _score(
        self, column: str, fitted: Fitted, test: Split, names: list[str]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        classes = fitted.predict(test.vectors)
        gold = self.tags["test"][column]
        metrics = {f"accuracy[{column}]": float((classes == test.classes[column]).mean())}
        usual = Counter(
            tag for sentence in self.tags["train"][column] for tag in sentence
        ).most_common(1)[0][0]
        facts: dict[str, Any] = {
            "classes": len(names),
            "step": fitted.step,
            "dev_accuracy": {str(step): accuracy for step, accuracy in fitted.dev.items()},
            # the score of a probe that has learned nothing but the most common tag
            "accuracy_of_commonest": float(
                np.mean([tag == usual for sentence in gold for tag in sentence])
            ),
        }
        if column in SPANNED:
            predicted = [
                [names[number] for number in classes[a:b]]
                for a, b in zip(test.starts, test.starts[1:])
            ]
            total, by_kind = score_spans(gold, predicted)
            metrics |= {f"{measure}[{column}]": value for measure, value in total._asdict().items()}
            facts["by_type"] = {kind: score._asdict() for kind, score in by_kind.items()}
        return metrics, facts


def _tags(sentences: Sequence[Sentence]) -> dict[str, list[tuple[str, ...]]]:
    """Return the tags of every sentence by column, with spans in IOB2."""
    return {
        column: [
            to_iob2(s.tags[column]) if column in SPANNED else s.tags[column] for s in sentences
        ]
        for column in COLUMNS
    }


def _numbers(tags: Sequence[Sequence[str]], names: Sequence[str]) -> np.ndarray:
    """Return the class of every word, -1 for a tag that is not among the names."""
    number = {tag: index for index, tag in enumerate(names)}
    return np.array([number.get(tag, -1) for sentence in tags for tag in sentence], dtype=np.int64)
