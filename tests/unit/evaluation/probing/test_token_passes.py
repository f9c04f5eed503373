"""Rows in packed passes: the states and vectors of one row at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bothways.attention.stock import evaluation_mode, stock
from bothways.errors import InputError
from bothways.evaluation.probing.token_passes import pooled_rows, row_states, token_encoder
from bothways.evaluation.task import RunOptions
from tiny import SENTENCES
from unit.evaluation.word_material import encoder


@pytest.mark.parametrize("batch_tokens", [8, 10_000])
def test_states_and_vectors_are_those_of_each_row_alone(tmp_path, batch_tokens):
    model = encoder(tmp_path, direction="causal")
    model.train()
    rows = model.tokenize(list(SENTENCES))
    options = RunOptions(batch_tokens=batch_tokens, show_progress_bar=False)
    found = dict(row_states(model, rows, options))
    vectors = pooled_rows(model, rows, options)
    assert sorted(found) == list(range(len(rows)))
    assert model.training, "the mode comes back"
    for number, row in enumerate(rows):
        with evaluation_mode(model), stock(model.backbone, "eager"):
            states = model.backbone(input_ids=torch.tensor([list(row.ids)])).last_hidden_state[0].numpy()
        np.testing.assert_allclose(found[number], states, atol=1e-5)  # float32 sums in another order
        np.testing.assert_allclose(vectors[number], states[np.array(row.pool)].mean(0), atol=1e-5)


def test_other_encoders_give_no_token_states():
    with pytest.raises(InputError, match="task 'prefix' needs the states of single tokens, which dict does not give"):
        token_encoder({}, "prefix")
