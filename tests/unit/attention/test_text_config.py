"""A model's attention, read from its config."""

import pytest
from torch import nn
from transformers import BertConfig, LlamaConfig, OPTConfig, OPTModel, PretrainedConfig, T5Config, XLNetConfig

from bothways.attention.text_config import UNBOUNDED, is_encoder_only, is_window, state_width, text_configs, windowed_layers
from bothways.errors import UnsupportedFamily


def test_only_layers_that_are_named_so_have_a_window():
    kinds = ["full_attention", "chunked_attention", "sliding_attention", "linear_attention"]
    assert windowed_layers(PretrainedConfig(layer_types=kinds, sliding_window=8)) == {1: 8, 2: 8}
    assert windowed_layers(PretrainedConfig(num_hidden_layers=3, sliding_window=8)) == {0: 8, 1: 8, 2: 8}
    assert windowed_layers(PretrainedConfig(num_hidden_layers=3, sliding_window=8, use_sliding_window=False)) == {}
    assert windowed_layers(PretrainedConfig(layer_types=kinds, sliding_window=UNBOUNDED)) == {}


def test_encoders_are_those_made_for_masked_language_modeling():
    assert is_encoder_only(BertConfig()) and is_encoder_only(XLNetConfig())
    assert not is_encoder_only(BertConfig(is_decoder=True))
    assert not is_encoder_only(LlamaConfig()) and not is_encoder_only(T5Config())


def test_states_may_be_narrower_than_the_model():
    wide = OPTModel(
        OPTConfig(hidden_size=16, word_embed_proj_dim=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=20)
    )
    assert state_width(wide) == 8
    assert (
        state_width(
            OPTModel(
                OPTConfig(
                    hidden_size=16, word_embed_proj_dim=16, ffn_dim=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=20
                )
            )
        )
        == 16
    )


def test_windows_are_whole_numbers_that_hide_something():
    assert is_window(1) and is_window(0) and not is_window(UNBOUNDED)
    assert not any(map(is_window, (None, True, 3.0, "4")))


def test_other_modules_have_no_config():
    with pytest.raises(UnsupportedFamily, match="Linear: not a transformers model"):
        next(text_configs(nn.Linear(2, 2)))
