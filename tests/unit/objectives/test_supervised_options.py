"""Options of the supervised objective: which values mean nothing."""

from __future__ import annotations

import pytest

from bothways.config import parse
from bothways.errors import InputError
from bothways.objectives.supervised import SupervisedConfig
from bothways.objectives.supervised_options import FalseNegativesConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"false_negatives": {"guide_margin": 0.1}}, "guide_margin: there is no guide"),
        ({"false_negatives": {"guide": {"encoder": "a", "model": "b"}}}, "unknown key 'false_negatives.guide.model'"),
        ({"distillation": {"temperature": 0}}, r"distillation\.temperature"),
        ({"directions": ["doc_to_query"]}, "query_to_doc holds the positives"),
        ({"directions": ["query_to_doc", "query_to_query"], "partition": "per_direction"}, "the other two hold no positive"),
        ({"partition": "per_direction"}, "per_direction needs the directions"),
        ({"directions": ["query_to_doc", "doc_to_query"], "in_batch": False}, "compares texts of different rows"),
        ({"directions": ["query_to_dock"]}, "directions"),
    ],
)
def test_values_that_mean_nothing_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse(SupervisedConfig, values, where="objective")


def test_without_further_keys_nothing_is_added():
    assert SupervisedConfig().further == ()
    assert SupervisedConfig(directions=["query_to_doc", "doc_to_doc", "doc_to_doc"]).further == ("doc_to_doc",)
    assert FalseNegativesConfig().guide is None
