"""A killed mining goes on: what is encoded and chosen is not done again, and only what fits is
used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from bothways.errors import InputError
from bothways.mining import mine
from bothways.search import vector_shards
from unit.mining.material import collection, scattered

mine_file = __import__("bothways.mining.mine", fromlist=["mine"])
PROBES = 16  # two fingerprints, of eight texts at most each


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_shards, "CHUNK", 20)
    monkeypatch.setattr(mine_file, "ROW_BLOCK", 8)


class Counting:
    """Counts texts; stops after `limit` of them as Ctrl-C does."""

    def __init__(self, limit: int = 10**9) -> None:
        self.count, self.limit = 0, limit

    def encode(self, texts: list[str]) -> np.ndarray:
        self.count += len(texts)
        if self.count > self.limit:
            raise KeyboardInterrupt
        return scattered(texts)


def test_what_was_encoded_and_chosen_is_used_again(tmp_path: Path) -> None:
    examples, corpus = collection()
    expected = mine(examples, corpus, method="dense", encoder=Counting())
    run = {"method": "dense", "work": tmp_path / "w"}
    with pytest.raises(KeyboardInterrupt):
        mine(examples, corpus, **run, encoder=Counting(120))
    first = Counting()
    assert mine(examples, corpus, **run, encoder=first).examples == expected.examples
    everything = Counting()
    mine(examples, corpus, method="dense", encoder=everything, work=tmp_path / "other")
    assert everything.count - first.count >= 80
    again = Counting()
    done = mine(examples, corpus, **run, encoder=again)
    assert done.examples == expected.examples
    assert done.statistics.summary() == expected.statistics.summary()
    assert again.count <= PROBES
    # other limits: the same vectors, chosen anew
    other = Counting()
    assert mine(examples, corpus, **run, encoder=other, perc=0.5).examples != expected.examples
    assert other.count <= PROBES


def test_finished_blocks_are_not_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bothways.mining.group import MiningGroup

    examples, corpus = collection()
    plain, seen = MiningGroup.choices_of, []

    def stopping(self, numbers: list[int]):
        seen.append(numbers[0])
        if len(seen) == 3:
            raise KeyboardInterrupt
        return plain(self, numbers)

    monkeypatch.setattr(MiningGroup, "choices_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        mine(examples, corpus, work=tmp_path)
    done = mine(examples, corpus, work=tmp_path)
    assert seen == [0, 8, 16, 16, 24, 32]
    assert done.examples == mine(examples, corpus).examples
    assert done.statistics.summary() == mine(examples, corpus).statistics.summary()


def test_another_model_corpus_prompt_or_row_shares_nothing_wrong(tmp_path: Path) -> None:
    examples, corpus = collection()

    def other(texts: list[str]) -> np.ndarray:
        return scattered([text + "?" for text in texts])

    other.__qualname__ = scattered.__qualname__
    run = {"method": "dense", "work": tmp_path}
    for changes in (
        {"encoder": scattered},
        {"encoder": other},
        {"encoder": scattered, "query_prompt": "Q: "},
        {"encoder": scattered, "document_prompt": "D: "},
        {"encoder": scattered, "window": (2, 50)},
        {"encoder": scattered, "store": "float16"},
    ):
        fresh = mine(examples, corpus, **{**run, **changes, "work": None})
        assert mine(examples, corpus, **{**run, **changes}).examples == fresh.examples
    shorter = mine(examples[:-1], corpus[3:], **run, encoder=scattered)
    assert shorter.examples == mine(examples[:-1], corpus[3:], method="dense", encoder=scattered).examples


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from bothways.mining import mine
from bothways.search import shards
from unit.mining.material import collection, scattered
shards.CHUNK = 20
count = 0
def encode(texts):
    global count
    count += len(texts)
    if count > 120:
        os.kill(os.getpid(), signal.SIGKILL)
    return scattered(texts)
encode.__qualname__ = "encode"
examples, corpus = collection()
mine(examples, corpus, method="dense", encoder=encode, work=sys.argv[1])
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_a_killed_process_leaves_what_the_next_one_uses(tmp_path: Path) -> None:
    tests = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), tests], timeout=300)
    assert done.returncode == -9
    whole = sorted(path.name for path in tmp_path.glob("documents-*/*.npy"))
    assert whole == [f"{number:06d}.npy" for number in range(5)]
    counter = {"texts": 0}

    def encode(texts: list[str]) -> np.ndarray:
        counter["texts"] += len(texts)
        return scattered(texts)

    encode.__qualname__ = "encode"
    examples, corpus = collection()
    found = mine(examples, corpus, method="dense", encoder=encode, work=tmp_path)
    assert found.examples == mine(examples, corpus, method="dense", encoder=scattered).examples
    fresh = dict(counter)
    mine(examples, corpus, method="dense", encoder=encode)
    assert fresh["texts"] <= counter["texts"] - fresh["texts"] - 100 + PROBES


def test_one_run_at_a_time_and_no_rows_under_rules(tmp_path: Path) -> None:
    examples, corpus = collection()
    mine(examples, corpus, work=tmp_path, exclude=[lambda example, text: None])
    assert not list(tmp_path.glob("rows-*"))  # what a function decides has no fingerprint
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="another process is mining there"):
        mine(examples, corpus, work=tmp_path)
    mine(examples, corpus, work=tmp_path)
    kept = json.loads(next(tmp_path.glob("rows-*/000000.json")).read_text())
    assert len(kept["rows"]) == 8


BROKEN = [
    "",
    "{",
    "[]",
    "null",
    "{}",
    '{"rows": [], "counts": {}}',
    '{"rows": [[[9000000], [1.0], [1.0]]], "counts": {}}',
    "[" * 50_000,
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_damaged_block_is_one_line(tmp_path: Path, content: str) -> None:
    examples, corpus = collection()
    mine(examples, corpus, work=tmp_path)
    block = next(tmp_path.glob("rows-*/000000.json"))
    block.write_text(content)
    with pytest.raises(InputError, match=r"000000\.json.*remove the file, and its rows are mined again"):
        mine(examples, corpus, work=tmp_path)
    block.unlink()
    mine(examples, corpus, work=tmp_path)
