"""Linear layers that read the same input, computed as one product (query, key, value; gate, up).

The layers stay modules of their own, at their places in the model, so the family's code runs as it
is. The first of them to be called computes the product for all, and the others take their part.
Which layers read the same input is seen in a pass of the model, not looked up by name.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bothways.backbone.linears.products import LinearProduct


class SharedProduct:
    """One product for several layers with the same input.

    Args:
        product: with the weights of all layers below each other.
        sizes: number of outputs of each layer.
        biases: bias of each layer, or None.
    """

    def __init__(
        self, product: LinearProduct, sizes: Sequence[int], biases: Sequence[Tensor | None]
    ) -> None:
        self.product = product
        self.sizes = list(sizes)
        self.biases = [None if bias is None else bias.detach() for bias in biases]
        # by thread, because two threads may encode at the same time
        self._held: dict[int, tuple[Tensor, int, tuple[Tensor, ...], set[int]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs, without the outputs that threads are about to take."""
        return {**self.__dict__, "_held": {}}

    def take(self, index: int, inputs: Tensor) -> Tensor:
        """Compute the outputs of a layer for an input (…, K)."""
        if len(self.sizes) == 1:
            return self._with_bias(0, self._compute(inputs))
        thread, version = threading.get_ident(), _version(inputs)
        held = self._held.get(thread)
        if held is None or held[0] is not inputs or held[1] != version or index not in held[3]:
            parts = self._compute(inputs).split(self.sizes, -1)
            held = (inputs, version, parts, set(range(len(self.sizes))))
            self._held[thread] = held
        held[3].discard(index)
        if not held[3]:
            del self._held[thread]
        return self._with_bias(index, held[2][index])

    def _compute(self, inputs: Tensor) -> Tensor:
        if torch.is_grad_enabled() and inputs.requires_grad:
            raise RuntimeError(
                "a quantized encoder has no gradients; load it without quantize to train it"
            )
        rows = inputs.reshape(-1, inputs.shape[-1])
        return self.product(rows).view(*inputs.shape[:-1], -1)

    def _with_bias(self, index: int, out: Tensor) -> Tensor:
        bias = self.biases[index]
        return out if bias is None else out + bias


class SharedLinear(nn.Module):
    """Takes the place of a linear layer, and computes it with `SharedProduct`."""

    def __init__(self, shared: SharedProduct, index: int, old: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = old.in_features, old.out_features
        self.shared, self.index = shared, index
        self.training = old.training

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the layer for an input (…, K)."""
        return self.shared.take(self.index, inputs)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def linears_of(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the plain linear layers of a model by name."""
    return {name: module for name, module in model.named_modules() if type(module) is nn.Linear}


def same_inputs(layers: dict[str, nn.Linear], run: Callable[[], Any]) -> list[list[str]]:
    """Run a model once and see which layers get the same tensor one after the other.

    Returns:
        Groups of names in the order of their calls. A layer that was called more than once is a
            group of its own. One that was not called is in no group.
    """
    calls: list[tuple[str, Tensor]] = []  # the inputs are kept, because `is` needs living objects
    with calling(layers, lambda name, inputs, _: calls.append((name, inputs))):
        run()
    times = Counter(name for name, _ in calls)
    groups: list[list[str]] = []
    before: Tensor | None = None
    for name, tensor in calls:
        if times[name] > 1:
            before = None
            if [name] not in groups:
                groups.append([name])
            continue
        if tensor is before:
            groups[-1].append(name)
        else:
            groups.append([name])
        before = tensor
    return groups


@contextmanager
def calling(
    layers: dict[str, nn.Linear], note: Callable[[str, Tensor, Tensor], Any]
) -> Iterator[None]:
    """Inside the block, call `note(name, input, output)` for each call of a layer."""

    def hook(name: str) -> Callable[..., None]:
        def call(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            note(name, given[0], out)

        return call

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def shared(layers: Sequence[nn.Linear], product: LinearProduct) -> list[SharedLinear]:
    """Build the modules that take the places of layers with one input."""
    whole = SharedProduct(
        product, [layer.out_features for layer in layers], [layer.bias for layer in layers]
    )
    return [SharedLinear(whole, index, layer) for index, layer in enumerate(layers)]


def stacked(layers: Sequence[nn.Linear]) -> Tensor:
    """Return the weights of several layers below each other, (N, K)."""
    return (
        layers[0].weight.detach()
        if len(layers) == 1
        else torch.cat([layer.weight.detach() for layer in layers])
    )
