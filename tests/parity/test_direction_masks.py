"""Direction against a reference that shares nothing with it: the untouched model, eager, under an
explicit 4-D mask.

transformers hands a mask of four dimensions to its layers as it is, so the reference depends on no
flag of any library.
"""

import pytest
import torch

from bothways.attention.direction import set_direction
from bothways.attention.plan import AttentionPlan
from bothways.attention.probe import measure_execution
from bothways.attention.run import hidden_states
from bothways.backbone.family import zoo

LENGTHS = (11, 5)
IDS = torch.randint(5, 90, (16,), generator=torch.Generator().manual_seed(4))


def additive(seen):
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]


def reference(family, window, direction="bidirectional"):
    """Each text alone; where the model has windowed layers and `window` is given, those get the
    band, the others everything.
    """
    model = zoo.build(family)
    rows = []
    for text in IDS.split(LENGTHS):
        plan = AttentionPlan((len(text),), direction)
        mask = additive(plan.dense())
        if window is not None:
            band = additive(plan.dense(window=window))
            kinds = getattr(model.config, "layer_types", None)
            mask = {"full_attention": mask, "sliding_attention": band} if kinds else band
        with torch.no_grad():
            rows.append(model(input_ids=text[None], attention_mask=mask, use_cache=False).last_hidden_state[0])
    return torch.cat(rows)


def ours(family, **switch):
    model = zoo.build(family)
    set_direction(model, "bidirectional", **switch)
    execution = measure_execution(model)
    with torch.no_grad():
        return hidden_states(model, IDS, AttentionPlan(LENGTHS), execution)


FAMILIES = ["llama", "mistral", "phi3", "gemma3_text", "cohere2", "exaone4", "gpt_oss", "qwen2", "gemma2", "olmo3", "gptj"]


@pytest.mark.parametrize("family", FAMILIES)
def test_bidirectional_equals_the_all_visible_mask(family):
    # 1e-5: float32 rounding through four small layers; a window left in place is off by about 1
    torch.testing.assert_close(ours(family), reference(family, None), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["mistral", "phi3", "gemma3_text", "cohere2", "gpt_oss", "qwen2", "phimoe"])
def test_kept_windows_equal_a_band_mask_in_windowed_layers(family):
    kept = ours(family, windows="keep")
    torch.testing.assert_close(kept, reference(family, zoo.WINDOW), atol=1e-5, rtol=1e-5)
    assert (kept - reference(family, None)).abs().max() > 0.1, "the window hides nothing here, so this test would prove nothing"
