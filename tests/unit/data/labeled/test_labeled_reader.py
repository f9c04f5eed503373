"""Every dialect comes out as the same examples, and every wrong row is named with file and row."""

import csv
import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bothways.data.labeled.dialects import DIALECTS, NAMES, detect
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import InputError, SourceError
from files import write_jsonl

QUERY, POSITIVE, FIRST, SECOND = "what is a cat", "A cat is an animal.", "A car has wheels.", "猫がいる"


def passage(text, title=None):
    return {"docid": "7", "text": text} if title is None else {"docid": "7", "title": title, "text": text}


def user(text, system=None):
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]


# one row of each dialect, all with the same meaning
ROWS = {
    "flagembedding": {"query": QUERY, "pos": [POSITIVE], "neg": [FIRST, SECOND]},
    "tevatron": {
        "query_id": "1",
        "query": QUERY,
        "positive_passages": [passage("is an animal.", "A cat")],
        "negative_passages": [passage(FIRST, ""), passage(SECOND)],
    },
    "ms-swift-messages": {
        "messages": user(QUERY),
        "positive_messages": [user(POSITIVE)],
        "negative_messages": [user(FIRST), user(SECOND)],
    },
    "ms-swift": {"query": QUERY, "response": POSITIVE, "rejected_response": [FIRST, SECOND]},
    "e5": {"query": QUERY, "positive": POSITIVE, "negative": [FIRST, SECOND]},
    "sentence-transformers": {"anchor": QUERY, "negative_10": SECOND, "positive_1": POSITIVE, "negative_2": FIRST},
    "simcse": {"sent0": QUERY, "sent1": POSITIVE, "hard_neg": FIRST},
    "dpr": {
        "question": QUERY,
        "answers": ["an animal"],
        "positive_ctxs": [passage("is an animal.", "A cat")],
        "hard_negative_ctxs": [passage(FIRST, "")],
        "negative_ctxs": [passage(SECOND)],
    },
    "nomic": {"query": QUERY, "document": POSITIVE, "negatives": [FIRST, SECOND]},
}
TABLES = {
    "nli": [
        {"premise": QUERY, "hypothesis": POSITIVE, "label": "entailment"},
        {"premise": QUERY, "hypothesis": FIRST, "label": "contradiction"},
    ],
    "sts": [
        {"sentence1": QUERY, "sentence2": POSITIVE, "score": 4.0},
        {"sentence1": QUERY, "sentence2": FIRST, "score": 1.0},
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_dialects_agree(tmp_path, told, name):
    path = write_jsonl(tmp_path / "animals.jsonl", [ROWS[name]])
    negatives = (FIRST,) if name == "simcse" else (FIRST, SECOND)
    assert read_examples(path) == [Example(QUERY, (POSITIVE,), negatives, task="animals")]
    assert f"{path}: {name} dialect (columns {', '.join(ROWS[name])}): 1 rows, 1 examples, 0 skipped" in told.text


@pytest.mark.parametrize("name", ["nli", "sts"])
def test_tables_become_examples(tmp_path, told, name):
    path = write_jsonl(tmp_path / "t.jsonl", TABLES[name])
    examples = read_examples(path)
    if name == "nli":
        assert examples == [Example(QUERY, (POSITIVE,), (FIRST,), task="t")]
    else:
        assert examples == [Example(QUERY, (POSITIVE,), task="t"), Example(POSITIVE, (QUERY,), task="t")]
        assert "1 skipped; 1 scored below 4 (first: row 2)" in told.text
    assert f"{name} dialect" in told.text


def test_every_dialect_is_told_from_its_own_columns_alone():
    """No row of one dialect is taken for another, whatever the order in which they are tried."""
    rows = {**ROWS, **{name: table[0] for name, table in TABLES.items()}}
    assert set(rows) == {dialect.name for dialect in DIALECTS} == set(NAMES) - {"beir"}
    for name, row in rows.items():
        assert [dialect.name for dialect in DIALECTS if dialect.fits(frozenset(row))] == [name]
    # numbered columns and scores are sentence-transformers', whose msmarco sets call the anchor
    # query; E5 would drop them
    for more in ("negative_1", "scores", "label"):
        found = detect(["query", "positive", more])
        assert found is not None and found.name == "sentence-transformers"
        found = detect(list(row))
        assert found is not None and found.name == name


def test_formats_agree(tmp_path):
    rows = [ROWS["flagembedding"] | {"pos_scores": [0.5], "neg_scores": [0.25, -1.0]}, {"query": "q", "pos": ["p"], "neg": []}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    write_jsonl(tmp_path / "b.jsonl.gz", rows)
    (tmp_path / "c.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    cells = [{name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()} for row in rows]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(rows[0]), restval="")
    writer.writeheader()
    writer.writerows(cells)
    (tmp_path / "e.csv").write_text(table.getvalue())
    lines = ["\t".join(rows[0]), *("\t".join(row.get(name, "") for name in rows[0]) for row in cells)]
    (tmp_path / "f.tsv").write_text("\n".join(lines) + "\n")
    expected = [
        Example(QUERY, (POSITIVE,), (FIRST, SECOND), (0.5,), (0.25, -1.0), task="x"),
        Example("q", ("p",), task="x"),
    ]
    for name in ("a.jsonl", "b.jsonl.gz", "c.json", "d.parquet", "e.csv", "f.tsv"):
        assert read_examples(tmp_path / name, task="x") == expected, name


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_negatives_that_the_first_row_lacks_are_read(tmp_path, name):
    rows = [{"query": "q", "positive": "p"}, {"query": "r", "positive": "s", "negative": ["n"]}]
    (tmp_path / name).write_text("\n".join(map(json.dumps, rows)) if name == "x.jsonl" else json.dumps(rows))
    assert [example.negatives for example in read_examples(tmp_path / name)] == [(), ("n",)]


def test_a_text_that_opens_with_a_bracket_is_no_list(tmp_path):
    """In JSON a string is a string; in a table only a JSON list is one."""
    write_jsonl(tmp_path / "a.jsonl", [{"query": "q", "pos": '["x"]'}])
    (tmp_path / "b.csv").write_text("query,pos\nq,[1] a footnote]\n")
    assert read_examples(tmp_path / "a.jsonl")[0].positives == ('["x"]',)
    assert read_examples(tmp_path / "b.csv")[0].positives == ("[1] a footnote]",)


def rows_with(**change):
    return [ROWS["flagembedding"], {**ROWS["flagembedding"], **change}]


NAN = float("nan")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_with(query=3), r"a.jsonl, row 2: column 'query' holds a number \(3\), not a text"),
        (rows_with(query=None), "row 2: column 'query' holds a null, not a text"),
        (rows_with(pos={"a": 1}), "row 2: column 'pos' holds a object, not a text"),
        (rows_with(neg=["x", 1]), r"row 2: column 'neg\[1\]' holds a number"),
        (rows_with(neg_scores=[1.0]), "row 2: 1 values in 'neg_scores', but 2 texts in 'neg'"),
        (rows_with(pos_scores=[NAN]), "row 2: column 'pos_scores' holds nan, not a finite number"),
        (rows_with(pos_scores=["high"]), "row 2: column 'pos_scores' holds a string, not a finite number"),
        (rows_with(label=NAN), "row 2: the label is nan"),
        (rows_with(prompt=[1]), "row 2: the prompt is a list, not a text"),
        ([ROWS["flagembedding"], {"query": "q"}], "row 2: no column 'pos'; the columns are: query"),
        ([ROWS["tevatron"], {"query": "q"}], "row 2: no column 'positive_passages'"),
        ([{**ROWS["tevatron"], "positive_passages": [{"docid": "1"}]}], r"positive_passages\[0\] is a object without 'text'"),
        (
            [{"query_id": "1", "query_text": "q", "positive_document_ids": ["7"], "negative_document_ids": []}],
            "row 1: the documents of positive_document_ids .* a BEIR folder",
        ),
        ([ROWS["sentence-transformers"], {"anchor": "a"}], "row 2: no column 'positive' or 'positive_1'"),
        ([ROWS["simcse"], {"sent0": "a"}], "row 2: no column 'sent1'"),
        ([ROWS["ms-swift"] | {"label": "much"}], "row 1: column 'label' holds 'much', not a number between 0 and 1"),
        ([ROWS["ms-swift-messages"] | {"messages": "hello"}], "row 1: messages is a string, not a list of messages"),
        ([ROWS["ms-swift-messages"] | {"messages": user("a") * 2}], "row 1: messages has a second or unknown role 'user'"),
        ([ROWS["ms-swift-messages"] | {"messages": [{"role": "assistant", "content": "a"}]}], "unknown role 'assistant'"),
        ([{"anchor": "a", "positive": "p", "label": 0.5}], r"row 1: label 0.5; expected 1 \(an answer\) or 0 \(a negative\)"),
        ([{"anchor": "a", "positive": ["p", "n"], "labels": [1]}], "row 1: 1 labels, but 2 texts"),
        ([{"anchor": "a", "positive": "p", "score": 0.7}], "row 1: scores without labels do not say which texts are answers"),
        ([{"anchor": "a", "positive": ["p", "n"], "scores": [0.9, 0.1]}], "row 1: scores without labels"),
        (
            [{"query": "a", "positive": "p", "negative": "n", "scores": [0.9]}],
            "1 values in 'scores', but 2 texts in 'positive and",
        ),
        (
            [TABLES["nli"][0], TABLES["nli"][0] | {"label": NAN}],
            "row 2: label nan; expected entailment, neutral, contradiction",
        ),
        ([TABLES["nli"][0], TABLES["nli"][0] | {"label": None}], "row 2: label nothing"),
        ([TABLES["nli"][0], TABLES["nli"][0] | {"label": 3}], "row 2: label '3'"),
        ([TABLES["sts"][0], TABLES["sts"][0] | {"score": NAN}], "row 2: column 'score' holds nan, not a finite number"),
        ([TABLES["sts"][0], TABLES["sts"][0] | {"score": ""}], "row 2: column 'score' holds nothing"),
        ([{"a": "x", "b": "y"}], r"row 1: the columns a, b fit no known dialect; .*flagembedding \(query, pos\[, neg\]\)"),
        ([], "no labeled rows"),
        ([{"query": "", "pos": ["p"]}, {"query": "q", "pos": []}], "no usable example"),
    ],
)
def test_wrong_rows_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message) as caught:
        read_examples(write_jsonl(tmp_path / "a.jsonl", rows))
    assert "\n" not in str(caught.value)


def test_a_truncated_line_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROWS["flagembedding"]) + '\n{"query": "q", "pos": ["p"')
    with pytest.raises(InputError, match=r"a.jsonl, row 2: not valid JSON .* may be cut off"):
        read_examples(path)


def test_forced_dialect(tmp_path, told):
    """sentence-transformers goes by the order of columns where its names are not there."""
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": "q", "answer": "a", "wrong": "w", "score": 1}])
    with pytest.raises(InputError, match="fit no known dialect"):
        read_examples(path)
    assert read_examples(path, dialect="sentence-transformers") == [Example("q", ("a",), ("w",), task="a")]
    assert "by order: question, answer, wrong" in told.text
    with pytest.raises(InputError, match="row 1: no column 'premise' or 'sentence1'; the columns are: question"):
        read_examples(path, dialect="nli")
    with pytest.raises(InputError, match="dialect 'flag': unknown; use one of flagembedding, tevatron"):
        read_examples(path, dialect="flag")
    with pytest.raises(InputError, match="not a BEIR folder"):
        read_examples(path, dialect="beir")


def test_parts_of_a_file(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"query": f"q{n}", "pos": "p"} for n in range(5)])
    assert [e.query for e in read_examples(path, part=(1, 2))] == ["q0", "q2", "q4"]
    assert [e.query for e in read_examples(path, part=(2, 2), limit=1)] == ["q1"]
    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    write_jsonl(tmp_path / "beir" / "corpus.jsonl", [{"_id": "d", "title": "", "text": "p"}])
    write_jsonl(tmp_path / "beir" / "queries.jsonl", [{"_id": str(n), "text": f"q{n}"} for n in range(3)])
    judged = "".join(f"{n}\td\t1\n" for n in range(3))
    (tmp_path / "beir" / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    assert [e.query for e in read_examples(tmp_path / "beir", part=(2, 2))] == ["q1"]
    with pytest.raises(InputError, match="part: 3 of 2; expected k of n with 1 <= k <= n"):
        read_examples(path, part=(3, 2))


def test_prompts_of_rows_that_give_way_are_told(tmp_path, caplog):
    path = write_jsonl(tmp_path / "a.jsonl", [{"query": "q", "pos": "p", "prompt": "own "}, {"query": "r", "pos": "p"}])
    caplog.set_level("WARNING", "bothways")
    read_examples(path, query_prompt="own ")
    assert not caplog.records
    read_examples(path, query_prompt="Find: ")
    (record,) = caplog.records
    assert "1 rows have prompts, the first query_prompt 'own ' and document_prompt ''" in record.message
    assert "they are replaced by the query_prompt 'Find: '" in record.message


def test_labels_tasks_and_limit(tmp_path):
    rows = [
        {"query": "a", "pos": "p", "category": "math.CA"},
        {"query": "b", "pos": "p", "label": 3.0, "task": "other"},
        {"query": "c", "pos": "p", "label": ""},
    ]
    path = write_jsonl(tmp_path / "arxiv.jsonl.gz", rows)
    assert [(e.task, e.label) for e in read_examples(path)] == [("arxiv", "math.CA"), ("other", "3"), ("arxiv", None)]
    assert {e.task for e in read_examples(path, task="t")} == {"t"}
    assert len(read_examples(path, limit=2)) == 2
    with pytest.raises(InputError, match="limit: 0 examples"):
        read_examples(path, limit=0)


def test_a_limit_still_gives_the_account(tmp_path, told):
    read_examples(write_jsonl(tmp_path / "a.jsonl", [{"query": str(n), "pos": "p"} for n in range(9)]), limit=2)
    assert "2 examples, 0 skipped" in told.text


def test_folders_mix_dialects_and_pass_over_strangers(tmp_path, told):
    write_jsonl(tmp_path / "a.jsonl", [ROWS["e5"]])
    write_jsonl(tmp_path / "b.jsonl", [ROWS["tevatron"]])
    write_jsonl(tmp_path / "c.jsonl", [{"x": 1}])
    (tmp_path / "d.jsonl").write_text("")
    assert [e.task for e in read_examples(tmp_path)] == ["a", "b"]
    assert "c.jsonl, row 1: the columns x fit no known dialect" in told.text and "d.jsonl: holds no row" in told.text
    with pytest.raises(InputError, match=r"b.jsonl, row 1: no column 'pos' or 'positive'"):
        read_examples(tmp_path, dialect="e5")


def test_sts_on_the_unit_scale(tmp_path):
    """sentence-transformers divides STS scores by five: 0.8 there is 4 here."""
    rows = [{"sentence1": f"a{s}", "sentence2": f"b{s}", "score": s} for s in (0.8, 0.79, 1.0)]
    assert [e.query for e in read_examples(write_jsonl(tmp_path / "a.jsonl", rows))] == ["a0.8", "b0.8", "a1.0", "b1.0"]


def test_hub(monkeypatch):
    class Hub:
        @staticmethod
        def load_dataset(*_, **__):
            return [ROWS["flagembedding"], ROWS["flagembedding"] | {"query": "q"}]

    monkeypatch.setitem(sys.modules, "datasets", Hub)
    assert [(e.query, e.task) for e in read_examples("org/sets:en/train")] == [(QUERY, "sets"), ("q", "sets")]


def test_no_such_source(tmp_path):
    with pytest.raises(SourceError, match="no such file or folder"):
        read_examples(tmp_path / "missing.jsonl")
