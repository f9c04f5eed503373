"""The training files of `benchmarks/supervised.py`, made once from ../shared/data, without any text
that the tables are scored on.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bothways.data.conversion.classification import classification
from bothways.data.conversion.converted import Converted, write_examples
from bothways.data.conversion.nli import read_inferences, triplets
from bothways.data.conversion.options import ClassOptions, JudgedOptions, NliOptions
from bothways.data.conversion.retrieval import retrieval
from bothways.data.decontamination import Overlap
from bothways.data.embedded.stdlib import RetrievalTask
from bothways.data.evaluation_texts import read_evaluation_texts
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.labeled_text import read_labeled
from bothways.mining import mine

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SCIFACT = SHARED / "scifact"
BANKING = SHARED / "banking77"
DEV = SHARED / "stsb" / "dev.jsonl"
STS = {
    "STS-B": SHARED / "stsb" / "test.jsonl",
    "STS12": SHARED / "sts12" / "test.jsonl.gz",
    "STS13": SHARED / "sts13",
    "STS14": SHARED / "sts14" / "test.jsonl.gz",
    "SICK": SHARED / "sick" / "trial.jsonl",
}
NLI = ("lingnli/train.jsonl.gz", "lingnli/val.jsonl.gz", "snli-devtest/dev.jsonl.gz", "snli-devtest/test.jsonl.gz")
SENTENCES = [
    str(SHARED / name)
    for name in ("wiki-sentences/wiki1m_first.txt.gz", "wiki-sentences/wikisplit_sentences.txt.gz", "abc-news")
]
# running text for MNTP and causal language modeling, the same for both
LINES = [*SENTENCES[:2], *(str(SHARED / name) for name in ("wikitext2-valid-test", "abc-news", "masc"))]
WIKISPLIT = ("wiki-sentences/wikisplit_tune.tsv.gz", "wiki-sentences/wikisplit_validation.tsv.gz")
NEGATIVES = 7
HELD_OUT = 8  # every eighth function of the training rows is a development query


@dataclass(frozen=True)
class Files:
    """Training files in one folder; each is made when it is first asked for."""

    folder: Path

    @property
    def nli(self) -> str:
        """(premise, entailment, contradiction) of LingNLI and SNLI's dev and test, without
        sentences of the STS sets.
        """
        return self._made("nli.jsonl.gz", _nli)

    @property
    def scifact(self) -> str:
        """SciFact's train queries with their documents; two of them are test queries too, and
        go.
        """
        return self._made("scifact.jsonl.gz", _scifact)

    @property
    def scifact_mined(self) -> str:
        """The same with BM25's negatives from the whole corpus, drawn from ranks 2 to 50, so that
        not all are near misses.
        """
        return self._made("scifact-bm25.jsonl.gz", lambda: _mined(_scifact(), str(SCIFACT), window=(2, 50)))

    @property
    def stdlib(self) -> str:
        """Descriptions and code of the standard library's functions that its task does not hold
        out, with BM25's negatives.
        """
        return self._made("stdlib.jsonl.gz", lambda: _mined(read_examples("python-stdlib"), None, window=(2, 50)))

    @property
    def stdlib_wide(self) -> str:
        """As stdlib without the development queries: two BM25 negatives and four random ones a row."""
        return self._made("stdlib-wide.jsonl.gz", lambda: _widened(read_examples(self.stdlib_rest)))

    @property
    def stdlib_rest(self) -> str:
        """As stdlib without the development queries."""
        return self._made("stdlib-rest.jsonl.gz", lambda: _mined(_stdlib()[0], None, window=(2, 50)))

    @property
    def scifact_wide(self) -> str:
        """As scifact_mined, two of BM25's negatives and four random ones a row."""
        return self._made("scifact-wide.jsonl.gz", lambda: _widened(read_examples(self.scifact_mined)))

    @property
    def nli_wide(self) -> str:
        """As nli, with four random sentences beside the contradiction."""
        return self._made("nli-wide.jsonl.gz", lambda: _widened(read_examples(self.nli)))

    @property
    def banking_wide(self) -> str:
        """As banking, two negatives of other intents and four random ones."""
        return self._made("banking77-wide.jsonl.gz", lambda: _widened(read_examples(self.banking)))

    @property
    def wikisplit(self) -> str:
        """Sentences of Wikipedia and the two shorter sentences that say the same, without texts of the STS sets."""
        return self._made("wikisplit.jsonl.gz", _wikisplit)

    @property
    def stdlib_dev(self) -> RetrievalTask:
        """The development task: every eighth description of the training rows finds its function among theirs."""
        rows = _stdlib()[1]
        return RetrievalTask(
            {f"q{number}": row.query for number, row in enumerate(rows)},
            {f"d{number}": row.positives[0] for number, row in enumerate(rows)},
            {f"q{number}": {f"d{number}": 1} for number in range(len(rows))},
        )

    @property
    def banking(self) -> str:
        """Banking77's train split by example: positives of the same intent, negatives of others."""
        return self._made("banking77.jsonl.gz", _banking)

    def _made(self, name: str, make: Callable[[], Sequence[Example]]) -> str:
        path = self.folder / name
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            print(f"{path}: {write_examples(make(), path)} rows", flush=True)
        return str(path)


def _nli() -> list[Example]:
    converted = Converted()
    rows = [row for name in NLI for row in read_inferences(SHARED / name, converted)]
    return triplets(rows, NliOptions(task="nli", without=Overlap(read_evaluation_texts([DEV, *STS.values()])))).examples


def _scifact() -> list[Example]:
    return retrieval(
        SCIFACT, JudgedOptions(split="train", task="scifact", without=Overlap(read_evaluation_texts([SCIFACT])))
    ).examples


def _banking() -> list[Example]:
    held_out = Overlap(read_evaluation_texts([BANKING / "test.jsonl"]))
    return classification(read_labeled(BANKING / "train.jsonl.gz"), ClassOptions(task="banking77", without=held_out)).examples


def _stdlib() -> tuple[list[Example], list[Example]]:
    """The embedded rows: those to train on, and those held out for development."""
    rows = list(read_examples("python-stdlib"))
    return [row for place, row in enumerate(rows) if place % HELD_OUT], rows[::HELD_OUT]


def _wikisplit() -> list[Example]:
    held_out = Overlap(read_evaluation_texts([DEV, *STS.values()]))
    rows = []
    for name in WIKISPLIT:
        with gzip.open(SHARED / name, "rt", encoding="utf-8") as lines:
            for line in lines:
                whole, parts = line.rstrip("\n").split("\t")
                rows.append(Example(whole, (" ".join(part.strip() for part in parts.split("<::::>")),), task="wikisplit"))
    return [row for row in rows if held_out.find(row.query) is None]


def _widened(rows: Sequence[Example], hard: int = 2, drawn: int = 4) -> list[Example]:
    """Keep the first hard negatives of each row, and add random texts of the other rows, of another label."""
    draws = random.Random(0)
    made = []
    for row in rows:
        negatives = list(row.negatives[:hard])
        known = {row.query, *row.positives, *negatives}
        while len(negatives) < hard + drawn:
            other = rows[draws.randrange(len(rows))]
            text = other.positives[0]
            if text not in known and (row.label is None or other.label != row.label):
                negatives.append(text)
                known.add(text)
        made.append(replace(row, negatives=tuple(negatives), negative_scores=None, negative_labels=None))
    return made


def _mined(rows: Sequence[Example], corpus: str | None, *, window: tuple[int, int]) -> list[Example]:
    return mine(rows, corpus, method="bm25", negatives=NEGATIVES, window=window, sampling="random").examples
