"""The bag-of-words loss against a loop in float64, its gradients, and what may not change it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bothways.losses.bag_of_words import bag_of_words

N, P, H, V = 5, 3, 6, 19
BAGS = [[4, 9, 2], [], [7], [0, 18, 3, 11], [5, 6]]


def material(trained: bool = True):
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    head = nn.Linear(H, V, dtype=torch.float64).requires_grad_(trained)
    states = torch.randn(N, P, H, generator=generator, dtype=torch.float64).requires_grad_()
    return states, torch.tensor([word for bag in BAGS for word in bag]), [len(bag) for bag in BAGS], head


def loop(states, head):
    """Text by text and word by word, as the formula reads."""
    losses = []
    for state, bag in zip(states, BAGS):
        best = torch.stack([max(head(place)[word] for place in state) for word in range(V)])
        probabilities = best.exp() / best.exp().sum()
        losses.append(-sum(probabilities[word].log() for word in bag) / len(bag) if bag else states.new_zeros(()))
    return torch.stack(losses)


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
@pytest.mark.parametrize("trained", [True, False])
def test_value_and_gradients_equal_the_loop(chunk, trained):
    states, words, sizes, head = material(trained)
    weights = torch.arange(1.0, N + 1, dtype=torch.float64)
    leaves = [states, *(head.parameters() if trained else ())]
    found = bag_of_words(states, words, sizes, head, chunk=chunk)
    expected = loop(states, head)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), leaves), torch.autograd.grad((expected * weights).sum(), leaves)
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(bag_of_words(states, words, sizes, head, chunk=chunk), expected, rtol=1e-12, atol=1e-12)


def test_no_bags_have_no_losses():
    states, words, _, head = material()
    assert bag_of_words(states[:0], words[:0], [], head).shape == (0,)


def test_gradients_pass_numerical_differentiation():
    states, words, sizes, head = material()
    assert torch.autograd.gradcheck(lambda s: bag_of_words(s, words, sizes, head, chunk=2), (states,))


def test_the_order_of_words_and_of_positions_is_immaterial():
    states, words, sizes, head = material()
    with torch.no_grad():
        plain = bag_of_words(states, words, sizes, head)
        turned = torch.cat([bag.flip(0) for bag in words.split(sizes)])
        torch.testing.assert_close(bag_of_words(states.flip(1), turned, sizes, head), plain, rtol=1e-12, atol=1e-12)


def test_no_logits_of_more_than_a_chunk_exist_at_once():
    states, words, sizes, head = material()
    seen = []
    head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[0]))
    bag_of_words(states, words, sizes, head, chunk=2).sum().backward()
    assert seen == [6, 6, 3] * 1 + [3, 6, 6], "forward in chunks, and again in the backward pass"


def test_sizes_that_do_not_fit_are_refused():
    states, words, sizes, head = material()
    with pytest.raises(ValueError, match="5 bags of 10 words"):
        bag_of_words(states, words, sizes[:-1], head)
    with pytest.raises(ValueError, match="5 bags of 9 words"):
        bag_of_words(states, words[1:], sizes, head)
