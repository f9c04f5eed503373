"""Layers with one input are found in a pass, and computed together with the same results."""

import threading

import pytest
import torch
from torch import nn

from bothways.backbone.linears.shared_input import linears_of, same_inputs, shared, stacked


def plain(layers):
    weight = stacked(layers)
    return lambda rows: rows @ weight.T


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(8, size, bias=size > 4) for size in (6, 4, 8))
        self.again, self.unused = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        y = self.c(torch.cat([self.a(x)[..., :4], self.b(x)], -1))
        return self.again(self.again(y))


def test_groups_are_the_layers_that_got_the_same_tensor():
    block = Block()
    found = same_inputs(linears_of(block), lambda: block(torch.randn(3, 8)))
    assert found == [["a", "b"], ["c"], ["again"]]


def test_shared_layers_give_what_the_layers_give():
    torch.manual_seed(0)
    block = Block().eval()
    given = torch.randn(2, 5, 8)
    with torch.no_grad():
        wanted = block(given)
        block.a, block.b = shared([block.a, block.b], plain([block.a, block.b]))
        assert torch.allclose(block(given), wanted, atol=1e-6)
        assert torch.allclose(block(given + 1), block(given + 1), atol=0)  # another input is computed again


def test_a_changed_input_is_computed_again():
    layers = [nn.Linear(8, 4), nn.Linear(8, 4)]
    first, second = shared(layers, plain(layers))
    given = torch.randn(2, 8)
    with torch.no_grad():
        first(given)
        given.add_(1)
        assert torch.allclose(second(given), layers[1](given), atol=1e-6)


def test_threads_do_not_take_each_others_results():
    layers = [nn.Linear(8, 4), nn.Linear(8, 4)]
    first, second = shared(layers, plain(layers))
    wrong = []

    def work(seed):
        for step in range(200):
            given = torch.full((2, 8), float(seed * 1000 + step))
            with torch.no_grad():
                first(given)
                if not torch.allclose(second(given), layers[1](given), rtol=1e-4):
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_gradients_are_refused_and_not_dropped():
    layers = [nn.Linear(8, 4)]
    (module,) = shared(layers, plain(layers))
    with pytest.raises(RuntimeError, match="no gradients"):
        module(torch.randn(2, 8, requires_grad=True))
