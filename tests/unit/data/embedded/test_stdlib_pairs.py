"""Descriptions of the standard library's functions with the code they describe."""

from bothways.data.labeled.labeled_reader import read_examples


def test_the_embedded_text_has_pairs_without_what_its_task_holds_out():
    from bothways.data.embedded.stdlib import retrieval_task

    task = retrieval_task()
    examples = read_examples("python-stdlib")
    assert len(examples) > 1000 and {e.task for e in examples} == {"python-stdlib"}
    assert not set(task.queries.values()) & {e.query for e in examples}
    assert not set(task.corpus.values()) & {text for e in examples for text in e.positives}
    names = {text.split("\n")[0] for e in examples for text in e.positives}
    assert not names & set(task.corpus)
