"""Kinds of tasks by name, with the options of each."""

from __future__ import annotations

import re

import pytest

from bothways.cli.verbs import evaluate as verb
from bothways.errors import InputError
from bothways.evaluation.registry import kinds, make_task, options
from bothways.evaluation.specification import parse_specification, read_options
from unit.evaluation.vectors import write


def test_every_kind_declares_options_that_can_be_read():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'bothways[eval]')")
    for kind in kinds():
        for annotation in options(kind).values():
            with pytest.raises(InputError):
                read_options(kind, {"o": "\0", "unknown": ""}, {"o": annotation})


def test_the_help_of_evaluate_promises_what_the_kinds_have():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'bothways[eval]')")
    text = verb.command.__doc__ or ""
    examples = [line for line in text.splitlines() if line.startswith("      ")]
    assert len(examples) > 20
    kind = ""
    for line in examples:
        if not line.startswith(" " * 8):  # a specification; the lines below it are indented more
            written = parse_specification(line.strip().strip("'"))
            kind = written.kind
            read_options(line, written.options, options(kind))
        else:
            assert set(re.findall(r"(\w+)=", line)) <= options(kind).keys(), line
    told = re.search(r"The kinds ([\w, ]+) also have split= and", " ".join(text.split()))
    assert told is not None
    for kind in re.split(", | and ", told[1]):
        assert "split" in options(kind) and options(kind).keys() & {"first", "text", "query"}, kind


def test_the_name_in_results_is_the_specification_or_the_option(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "score": i, "subset": "AB"[i % 2]} for i in range(4)]
    path = write(tmp_path / "p.jsonl", rows)
    plain, mean = make_task(f"sts:{path}"), make_task(f"sts:{path}?aggregation=mean")
    assert (plain.name, mean.name) == (f"sts:{path}", f"sts:{path}?aggregation=mean")
    assert plain.fingerprint == mean.fingerprint
    assert plain.settings != mean.settings
    assert make_task(f"sts:{path}?name=STS 12").name == "STS 12"
    with pytest.raises(InputError, match=r"unknown option 'k'; options here: aggregation, split, .*, name"):
        make_task(f"sts:{path}?k=3")
    with pytest.raises(InputError, match="unknown option 'x'; options here: similarity, name"):
        make_task("stdlib?x=3")
