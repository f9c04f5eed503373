"""The training files of `benchmarks/supervised.py`, made once from ../shared/data, without any text
that the tables are scored on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bothways.data.conversion.classification import classification
from bothways.data.conversion.converted import Converted, write_examples
from bothways.data.conversion.nli import read_inferences, triplets
from bothways.data.conversion.options import ClassOptions, JudgedOptions, NliOptions
from bothways.data.conversion.retrieval import retrieval
from bothways.data.decontamination import Overlap
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
NEGATIVES = 7


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


def _mined(rows: Sequence[Example], corpus: str | None, *, window: tuple[int, int]) -> list[Example]:
    return mine(rows, corpus, method="bm25", negatives=NEGATIVES, window=window, sampling="random").examples
