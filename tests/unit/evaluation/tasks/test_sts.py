"""STS: correlations against scipy, aggregation by hand, each text encoded once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats

from bothways.errors import InputError
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.sts import STS, correlate, spearman
from bothways.similarity import pair_scores, similarity_of


class Counting:
    """Deterministic vectors from the characters of a text; remembers what it was asked."""

    def __init__(self, poison: str | None = None) -> None:
        self.asked: list[str] = []
        self.poison = poison

    def encode(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        vectors = np.array([[text.count(c) for c in "abcdefgh"] for text in texts], dtype=np.float32) + 0.1
        if self.poison is not None:
            vectors[texts.index(self.poison), 3] = np.nan
        return vectors


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(a, b, score, **more):
    return {"sentence1": a, "sentence2": b, "score": score, **more}


def test_spearman_gives_tied_values_their_mean_rank():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 200), rng.integers(0, 4, 200) + rng.integers(0, 2, 200)
    # both in float64 over 200 integers: agreement to rounding
    assert spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(3 / np.sqrt(10), abs=1e-12)


def test_all_mean_and_wmean_by_hand():
    # A is ordered perfectly, B perfectly wrong, C one swap of three; together the scales of A and B
    # differ
    predicted = np.array([0.1, 0.2, 0.9, 0.8, 0.7, 0.3, 0.5, 0.4])
    gold = np.array([1.0, 2.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0])
    subsets = ("A", "A", "B", "B", "B", "C", "C", "C")
    found = {how: correlate(predicted, gold, subsets, how) for how in ("all", "mean", "wmean")}
    assert found["all"]["spearman"] == pytest.approx(scipy.stats.spearmanr(predicted, gold).statistic, abs=1e-12)
    assert found["all"]["pearson"] == pytest.approx(scipy.stats.pearsonr(predicted, gold).statistic, abs=1e-12)
    assert found["mean"]["spearman"] == pytest.approx((1 - 1 + 0.5) / 3, abs=1e-12)
    assert found["wmean"]["spearman"] == pytest.approx((2 * 1 - 3 * 1 + 3 * 0.5) / 8, abs=1e-12)
    assert [found["all"][f"spearman[{name}]"] for name in "ABC"] == pytest.approx([1, -1, 0.5], abs=1e-12)


def test_cosine_of_large_zero_and_opposite_vectors():
    a = np.array([[1e18, 0.0], [0.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    b = np.array([[1e-18, 0.0], [1.0, 0.0], [-2.0, -2.0]], dtype=np.float32)
    assert pair_scores(a, b, "cosine") == pytest.approx([1.0, 0.0, -1.0], abs=1e-12)


def test_pairs_of_a_sentence_with_itself_tie():
    vectors = np.random.default_rng(0).standard_normal((500, 37)).astype(np.float32)
    assert set(pair_scores(vectors, vectors, "cosine")) == {1.0}


class Random:
    """Random vectors of different lengths: hardly any two similarities tie."""

    def __init__(self, similarity_fn_name: str | None = None) -> None:
        self.similarity_fn_name = similarity_fn_name

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.stack([np.random.default_rng(list(map(ord, text))).normal(size=8) * len(text) for text in texts])


@pytest.mark.parametrize("kind", ["dot", "euclidean", "manhattan"])
def test_pairs_are_compared_as_the_encoder_says(tmp_path, kind):
    """The figure over the similarities of sentence-transformers."""
    words = ["aab", "abb", "cc", "abcdefgh", "hhhhhh", "dde", "fgfgfg", "aabbccddeeff"]
    rows = [row(a, b, (7 * i + 3 * j) % 11) for i, a in enumerate(words) for j, b in enumerate(words) if i < j]
    path = write(tmp_path / "dev.jsonl", rows)
    found = STS(path).run(Random(kind), RunOptions())
    first, second = (Random().encode([each[side] for each in rows]) for side in ("sentence1", "sentence2"))
    theirs = similarity_of(first, second, kind, pairwise=True).numpy()
    wanted = scipy.stats.spearmanr(theirs, [each["score"] for each in rows]).statistic
    assert found.metrics["spearman"] == pytest.approx(wanted, abs=1e-9)
    assert found.details["similarity"] == kind
    assert make_task(f"sts:{path}?similarity={kind}").run(Random(), RunOptions()).metrics == found.metrics
    assert STS(path).run(Random(), RunOptions()).metrics != found.metrics


def test_each_distinct_text_is_encoded_once(tmp_path):
    path = write(tmp_path / "dev.jsonl", [row("aab", "abb", 4), row("aab", "cc", 1), row("cc", "abb", 2)])
    encoder = Counting()
    score = STS(path).run(encoder, RunOptions())
    assert encoder.asked == ["aab", "cc", "abb"]
    vectors = {text: Counting().encode([text])[0].astype(np.float64) for text in encoder.asked}
    pairs = [("aab", "abb"), ("aab", "cc"), ("cc", "abb")]
    cosines = [vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b]) for a, b in pairs]
    assert score.metrics["pearson"] == pytest.approx(scipy.stats.pearsonr(cosines, [4, 1, 2]).statistic, abs=1e-6)


def test_nan_vector_names_the_text(tmp_path):
    path = write(tmp_path / "dev.jsonl", [row("aab", "abb", 4), row("ab", "cc", 1)])
    with pytest.raises(InputError, match=r"NaN or infinity.*'cc'"):
        STS(path).run(Counting(poison="cc"), RunOptions())


def test_a_collapsed_encoder_scores_zero_and_says_so(tmp_path):
    path = write(tmp_path / "dev.jsonl", [row("aab", "abb", 4), row("ab", "cc", 1)])

    class Collapsed:
        def encode(self, texts):
            return np.ones((len(texts), 3))

    with pytest.warns(RuntimeWarning, match="undefined"):
        assert STS(path).run(Collapsed(), RunOptions()).metrics["spearman"] == 0.0


def test_folder_means_its_test_file_and_compression_leaves_the_fingerprint(tmp_path):
    import gzip

    rows = [row("aab", "abb", 4, subset="x"), row("ab", "cc", 1, subset="y")]
    plain = write(tmp_path / "test.jsonl", rows)
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    (zipped / "test.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert STS(tmp_path).fingerprint == STS(plain).fingerprint == STS(zipped).fingerprint
    rows[0]["score"] = 3
    assert STS(write(tmp_path / "other.jsonl", rows)).fingerprint != STS(plain).fingerprint


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", "b", 2), row("a", "c", 2)], "2 pairs with 1 distinct gold score"),
        ([row("a", "b", 2), {"sentence1": "a", "score": 2}], "row 2: no column 'sentence2'"),
        ([row("a", "b", 2), row("a", "b", float("nan"))], "row 2: column 'score'"),
    ],
)
def test_bad_files_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message) as error:
        STS(write(tmp_path / "dev.jsonl", rows))
    assert "dev.jsonl" in str(error.value)


def test_empty_folder_and_unknown_aggregation(tmp_path):
    with pytest.raises(InputError, match=r"no test\.jsonl or test in another format; .* the files are: none"):
        STS(tmp_path)
    with pytest.raises(InputError, match="aggregation 'median'"):
        STS(tmp_path, aggregation="median")


def test_any_pair_file_any_split_any_columns(tmp_path):
    """One set of pairs in the layouts that public sets have: the same pairs, the same
    fingerprint.
    """
    pairs = [("a, b", "ab c", 1.5), ("b", "b", 5.0), ("cc", "a", 0.0)]
    write(tmp_path / "dev.jsonl", [row(*pair) for pair in pairs])
    (tmp_path / "csv").mkdir()
    lines = ["id,text1,text2,similarity", *(f'{i},"{a}",{b},{s}' for i, (a, b, s) in enumerate(pairs))]
    (tmp_path / "csv" / "test.csv").write_text("\n".join(lines) + "\n")
    lines = ["sentence_A\tsentence_B\trelatedness_score", *(f"{a}\t{b}\t{s}" for a, b, s in pairs)]
    (tmp_path / "sick.tsv").write_text("\n".join(lines) + "\n")
    write(tmp_path / "own.jsonl", [{"x": a, "y": b, "z": s} for a, b, s in pairs])
    read = [
        make_task(f"sts:{tmp_path}{spec}")
        for spec in ("?split=dev", "/csv", "/sick.tsv", "/own.jsonl?first=x&second=y&score=z")
    ]
    assert len({task.fingerprint for task in read}) == 1
    assert read[1].pairs.first == ("a, b", "b", "cc")
    with pytest.raises(
        InputError, match=r"row 1: no column for first, such as 'sentence1'; name it with first=, one of: x, y, z"
    ):
        make_task(f"sts:{tmp_path}/own.jsonl")
    with pytest.raises(InputError, match=r"row 1: no column 'w'; the columns are: x, y, z"):
        make_task(f"sts:{tmp_path}/own.jsonl?first=w&second=y&score=z")


def test_aggregation_and_prompt_by_option(tmp_path):
    rows = [row("a" * (i % 5 + 1), "b" * (i % 3) + "a", i % 7, subset="AB"[i > 4]) for i in range(12)]
    path = write(tmp_path / "years.jsonl", rows)
    scores = {
        how: make_task(f"sts:{path}?aggregation={how}").run(Counting(), RunOptions()).metrics["spearman"]
        for how in ("all", "mean", "wmean")
    }
    assert len(set(scores.values())) == 3
    assert scores["mean"] == STS(path, aggregation="mean").run(Counting(), RunOptions()).metrics["spearman"]

    class Prompted(Counting):
        def encode(self, texts, prompt=None):
            self.prompt = prompt
            return super().encode(texts)

    encoder = Prompted()
    make_task(f"sts:{path}?prompt=Retrieve similar text: ").run(encoder, RunOptions())
    assert encoder.prompt == "Retrieve similar text: "
    seen = []

    class Seeing(Counting):
        def encode(self, texts):
            seen.extend(texts)
            return super().encode(texts)

    make_task(f"sts:{path}?prompt=x ").run(Seeing(), RunOptions())
    assert seen and all(text.startswith("x ") for text in seen)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("spec", "count", "subsets"),
    [
        ("stsb", 1379, 0),
        ("sts12", 3108, 5),
        ("sts13", 1500, 3),
        ("sts14", 3750, 6),
        ("sick?split=trial", 500, 0),
        ("korsts?split=dev", 1500, 0),
        ("klue-sts?split=dev", 519, 0),
    ],
)
def test_real_sets_are_read(shared, spec, count, subsets):
    folder, _, options = spec.partition("?")
    pairs = make_task(f"sts:{shared / folder}" + (f"?{options}" if options else "")).pairs
    assert len(pairs.gold) == count
    assert len(set(pairs.subsets or ())) == subsets
