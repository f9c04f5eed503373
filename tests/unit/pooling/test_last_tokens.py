"""Mean of the last few pooled states, against slices."""

from __future__ import annotations

import pytest
import torch

from bothways.errors import InputError
from bothways.pooling import Pooling, PoolingConfig


@pytest.mark.parametrize("tokens", [1, 3, 8])
def test_equals_a_slice_of_each_text(tokens):
    generator = torch.Generator().manual_seed(0)
    lengths = (9, 2, 5, 12)
    states = torch.randn(sum(lengths), 4, generator=generator)
    mask = torch.ones(sum(lengths), dtype=torch.bool)
    mask[[0, 9, 11, 12]] = False  # prompts
    segments = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
    found = Pooling("last_tokens", tokens=tokens)(states, mask, segments, 3)
    for row, (part, kept) in enumerate(zip(states.split(lengths)[:3], mask.split(lengths))):
        torch.testing.assert_close(found[row], part[kept][-tokens:].mean(0))


def test_one_token_is_last_pooling():
    states, mask, segments = torch.randn(7, 4), torch.ones(7, dtype=torch.bool), torch.tensor([0, 0, 0, 1, 1, 1, 1])
    torch.testing.assert_close(
        Pooling("last_tokens", tokens=1)(states, mask, segments, 2), Pooling("last")(states, mask, segments, 2)
    )


def test_config_builds_and_recognises_it():
    config = PoolingConfig.of({"mode": "last_tokens", "tokens": 3})
    made = config.build(4)
    assert made.tokens == 3 and "tokens=3" in repr(made)
    assert config.fits(made, 4) and not PoolingConfig.of("last_tokens").fits(made, 4)
    assert PoolingConfig.of("last_tokens").tokens == 8
    assert not hasattr(Pooling("mean"), "tokens"), "identities of other poolings stay as they were"
    with pytest.raises(InputError, match="tokens: mean pooling does not have it"):
        PoolingConfig.of({"mode": "mean", "tokens": 3})
