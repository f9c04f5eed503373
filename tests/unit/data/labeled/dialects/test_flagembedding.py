"""What single dialects hold beside a query and its texts: labels, scores, system messages, images;
rows as the projects document them.
"""

from bothways.data.labeled.labeled_reader import read_examples
from files import write_jsonl


def test_flagembedding_s_name_for_rows_without_in_batch_negatives(tmp_path, told):
    (tmp_path / "classes-no_in_batch_neg").mkdir()
    read_examples(write_jsonl(tmp_path / "classes-no_in_batch_neg" / "a.jsonl", [{"query": "q", "pos": ["p"], "neg": ["n"]}]))
    assert "no_in_batch_neg: give these rows a stage with in_batch false" in told.text
