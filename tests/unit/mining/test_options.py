"""The options of mining have one home: the command, the refresh and BM25's filling take their names
and defaults from it.
"""

from dataclasses import MISSING, fields

import pytest

from bothways.cli.mining_options import SearchOptions, SelectionOptions
from bothways.errors import InputError
from bothways.mining import MiningOptions, mine
from bothways.training.stage.bm25_negatives import MineConfig
from bothways.training.stage.negative_refresh import RefreshConfig

DEFAULTS = {field.name: field.default for field in fields(MiningOptions)}


def test_the_command_has_every_option_with_its_default():
    given = {
        field.name: field.default
        for field in (*fields(SelectionOptions), *fields(SearchOptions))
        if field.default is not MISSING
    }
    assert {"method", *given} - {"batch_tokens", "device", "dtype", "processes"} == DEFAULTS.keys()
    assert {name: given[name] for name in DEFAULTS if name != "method"} == {
        name: value for name, value in DEFAULTS.items() if name != "method"
    }


def test_a_refresh_has_the_names_of_the_options_and_the_settled_defaults():
    own = set(RefreshConfig.model_fields) - {"every", "corpus", "batch_tokens"}
    assert own <= DEFAULTS.keys()
    assert RefreshConfig(every=1).options(seed=0) == MiningOptions(method="dense")


def test_filling_by_bm25_has_the_names_of_the_options_and_the_settled_defaults():
    assert set(MineConfig.model_fields) - {"corpus"} <= DEFAULTS.keys()
    assert MineConfig().options() == MiningOptions(method="bm25")


def test_options_are_given_once():
    with pytest.raises(InputError, match="mine: options and negatives are given; put them into the options"):
        mine([], options=MiningOptions(), negatives=3)
    with pytest.raises(TypeError, match="negative"):
        mine([], negative=3)
