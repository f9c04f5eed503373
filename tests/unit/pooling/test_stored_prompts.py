"""Which tokens count as a stored prompt, against a loop over the tokens of each text."""

from __future__ import annotations

import pytest
import torch

from bothways.pooling.attention_pooling import AttentionPooling

BOS = 1
#: A stored prompt of each length from 1 to 5, and two of length 4.
PROMPTS = [[7], [7, 8], [1, 7, 8], [7, 8, 9, 10], [1, 7, 8, 9], [7, 8, 9, 10, 11]]
TEXTS = [
    [7, 8, 9, 10, 11, 20],
    [7, 8, 9, 21, 22, 20],
    [7, 8, 21, 22, 23, 20],
    [7, 21, 22, 23, 24, 20],
    [21, 8, 9, 10, 11, 20],
    [1, 7, 8, 9, 10, 20],
    [1, 21, 22, 23, 24, 20],
]


def start(ids: list[int], length: int) -> int:
    """Place of the first pooled token: the last two tokens of a prompt may have merged with the
    text.
    """
    best = 0
    for prompt in (prompt for prompt in PROMPTS if len(prompt) == length):
        same = 0
        while same < length and ids[same] == prompt[same]:
            same += 1
        best = max(best, same)
    first = best if best >= 1 and best >= length - 2 else length
    return max(first, 1) if ids[0] == BOS else first


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5])
def test_a_prompt_ends_before_the_first_token_that_merged(length: int) -> None:
    torch.manual_seed(0)
    module = AttentionPooling(8, latents=4, heads=2, bos=BOS, prompts=PROMPTS)
    plain = AttentionPooling(8, latents=4, heads=2)
    plain.load_state_dict(module.state_dict())
    states = torch.randn(len(TEXTS), 6, 8)
    ids, mask = torch.tensor(TEXTS), torch.ones(len(TEXTS), 6, dtype=torch.int64)
    features = {"token_embeddings": states, "input_ids": ids, "attention_mask": mask, "prompt_length": length}
    found = module(features)["sentence_embedding"]
    for row, text in enumerate(TEXTS):
        first = start(text, length)
        alone = {"token_embeddings": states[row : row + 1, first:], "attention_mask": mask[row : row + 1, first:]}
        # float32 sums of six states
        torch.testing.assert_close(found[row : row + 1], plain(alone)["sentence_embedding"], rtol=1e-5, atol=1e-6)
    assert len({start(text, length) for text in TEXTS}) > 1 or length < 2
