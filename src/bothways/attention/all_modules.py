"""The modules of a model as a list, for code that looks through a model in every pass."""

from __future__ import annotations

from torch import nn


def all_modules(model: nn.Module) -> list[nn.Module]:
    """Return a model and everything inside it, each once, in the order of `Module.modules`.

    `Module.modules` makes a dozen Python calls for each module. Encoding one query looks through
    the model several times, and with it that would take as long as a layer.
    """
    found: dict[int, nn.Module] = {}
    pending: list[nn.Module | None] = [model]
    while pending:
        module = pending.pop()
        if module is not None and id(module) not in found:
            found[id(module)] = module
            pending += reversed(module._modules.values())
    return list(found.values())
