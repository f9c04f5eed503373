"""A switched model, saved, is bidirectional in plain `AutoModel.from_pretrained`, whatever
attention and padding it meets.
"""

import pytest
import torch
from transformers import AutoModel

from bothways.attention.direction import set_direction
from bothways.attention.plan import AttentionPlan
from bothways.attention.probe import measure_execution
from bothways.attention.run import hidden_states
from bothways.backbone.family import zoo

TEXT = torch.randint(5, 90, (11,), generator=torch.Generator().manual_seed(4))


def saved(family, folder):
    model = zoo.build(family)
    set_direction(model, "bidirectional")
    execution = measure_execution(model)
    with torch.no_grad():
        states = hidden_states(model, TEXT, AttentionPlan((11,)), execution)
    model.save_pretrained(folder)
    return states


@pytest.mark.parametrize("options", [{}, {"attn_implementation": "sdpa"}, {"attn_implementation": "eager"}])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text", "qwen3", "olmo3"])
def test_states_are_the_same_in_a_plain_loader(family, options, tmp_path):
    ours = saved(family, tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path, **options).eval()
    with torch.no_grad():
        alone = loaded(input_ids=TEXT[None]).last_hidden_state[0]
        rows = torch.cat([TEXT, torch.full((4,), 7)])[None]
        mask = (torch.arange(15) < 11).long()[None]
        padded = loaded(input_ids=rows, attention_mask=mask).last_hidden_state[0, :11]
    torch.testing.assert_close(alone, ours, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded, ours, atol=1e-5, rtol=1e-5)


def test_stablelm_is_right_with_eager_and_known_to_be_wrong_without(tmp_path):
    """If this fails because SDPA has become right, the trap is gone and `needs_eager` will say so
    too.
    """
    ours = saved("stablelm", tmp_path)
    with torch.no_grad():
        eager = (
            AutoModel.from_pretrained(tmp_path, attn_implementation="eager").eval()(input_ids=TEXT[None]).last_hidden_state[0]
        )
        sdpa = AutoModel.from_pretrained(tmp_path).eval()(input_ids=TEXT[None]).last_hidden_state[0]
    torch.testing.assert_close(eager, ours, atol=1e-5, rtol=1e-5)
    assert (sdpa[0] - ours[0]).abs().max() > 0.1
