"""Options of a run that no task may read in its own way."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.task import RunOptions, check_seed, similarity_setting


@pytest.mark.parametrize("seed", [-1, 2**32, None, 0, 2**32 - 1])
def test_seeds_are_those_that_numpy_accepts(seed: int | None) -> None:
    try:
        np.random.RandomState(seed)
    except ValueError:
        for refuse in (check_seed, lambda value: RunOptions(seed=value)):
            with pytest.raises(InputError, match=r"seed: must be a whole number from 0 to 4294967295"):
                refuse(seed)
    else:
        check_seed(seed)


def test_the_similarity_is_a_setting_only_if_it_is_chosen() -> None:
    assert similarity_setting(None) == {}, "results of earlier versions can be resumed"
    assert similarity_setting("dot") == {"similarity": "dot"}
    with pytest.raises(InputError, match=r"'dott'.*did you mean 'dot'"):
        similarity_setting("dott")  # type: ignore[arg-type]


def test_only_the_seed_of_a_run_may_change_scores() -> None:
    options = RunOptions(batch_tokens=64, show_progress_bar=False, seed=3)
    assert options.encoding == {"batch_tokens": 64, "show_progress_bar": False}
