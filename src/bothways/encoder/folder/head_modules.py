"""Layers behind the pooling in the sentence-transformers layout, and a stored `truncate_dim`.

The kinds are Dense, LayerNorm, Dropout and Normalize.

    2_Dense/config.json, model.safetensors    one folder for each layer, numbered in order

The layers are sentence-transformers' own modules, so settings, activation functions and weights
have the same meaning as there. They compute in float32, pass gradients, and train with the pooling
(contrastive and supervised stages).

Letters: T tokens, N texts, D embedding.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bothways.config import PooledLayers
from bothways.errors import InputError
from bothways.foreign import foreign, read_object
from bothways.moved import old_names

ModuleKind = Literal["Dense", "LayerNorm", "Dropout", "Normalize"]
KINDS: tuple[str, ...] = get_args(ModuleKind)
STOCK = "sentence_transformers."
_KEY = "sentence_embedding"


class Headed(nn.Module):
    """A pooling followed by layers. It takes the place of a pooling.

    Args:
        pooling: module (states, mask, segments, rows) → (N, H).
        layers: sentence-transformers modules, first to last.
        width: width of the pooled vectors.
        keep: how many leading numbers of a vector to keep at the end. If None, keep all.
    """

    def __init__(
        self,
        pooling: nn.Module,
        layers: Sequence[nn.Module],
        *,
        width: int,
        keep: int | None = None,
    ) -> None:
        super().__init__()
        self.inner = pooling
        self.layers = nn.ModuleList(layers)
        self.keep = keep
        for layer in layers:
            width = int(getattr(layer, "out_features", width))
        self.dimension = width if keep is None else min(keep, width)

    @property
    def mode(self) -> str:
        """Mode of the pooling."""
        return str(self.inner.mode)

    @property
    def tokens(self) -> int:
        """Number of states that the pooling averages, if it is last_tokens."""
        return int(getattr(self.inner, "tokens", 1))

    @property
    def reads(self) -> PooledLayers:
        """Layers that the pooling reads."""
        read: PooledLayers = getattr(self.inner, "reads", "last")
        return read

    def forward(self, states: Tensor, mask: Tensor, segments: Tensor, rows: int) -> Tensor:
        """Compute vectors (N, D) float32. Arguments are those of `pooling.Pooling`."""
        pooled: Tensor = self.inner(states, mask, segments, rows)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.transform(pooled)

    def transform(self, pooled: Tensor) -> Tensor:
        """Apply the layers to pooled vectors (N, H). Returns (N, D) float32."""
        for layer in self.layers:
            pooled = layer({_KEY: pooled.float()})[_KEY]
        return pooled[:, : self.keep]

    def extra_repr(self) -> str:
        """Return the width, for printing."""
        return f"dimension={self.dimension}"


def names(pooling: nn.Module) -> list[str]:
    """Return the type names of the layers behind a pooling."""
    return [type(layer).__name__ for layer in pooling.layers] if isinstance(pooling, Headed) else []


def refuse(pooling: nn.Module, what: str) -> None:
    """Raise InputError if there are layers behind the pooling, which `what` cannot express."""
    if found := names(pooling):
        raise InputError(
            f"{what}: the encoder has {' and '.join(found)} behind its pooling, and this format cannot hold such layers"
        )


def has_mlp(pooling: nn.Module) -> bool:
    """Return whether the last layer behind a pooling is SimCSE's MLP: a square Dense with tanh."""
    last: Any = pooling.layers[-1] if isinstance(pooling, Headed) and len(pooling.layers) else None
    return (
        type(last).__name__ == "Dense"
        and isinstance(last.activation_function, nn.Tanh)
        and last.in_features == last.out_features
        and not getattr(last, "use_residual", False)
    )


def check_room(pooling: nn.Module, key: str = "keep_mlp") -> None:
    """Raise InputError if no layer can follow a pooling, because its vectors are cut at the end."""
    if isinstance(pooling, Headed) and pooling.keep is not None:
        raise InputError(
            f"{key}: the encoder cuts its vectors to {pooling.keep} numbers (truncate_dim), and no layer can follow that; "
            f"remove truncate_dim from config_sentence_transformers.json, or leave {key} out"
        )


def with_mlp(pooling: nn.Module, layer: Any, *, width: int) -> Headed:
    """Put an MLP behind a pooling, as a Dense that shares the weights.

    Args:
        pooling: with or without layers behind it.
        layer: Linear(D, D) and Tanh, in a Sequential.
        width: D.
    """
    linear, activation = layer
    return with_dense(pooling, linear, activation, width=width)


def with_dense(
    pooling: nn.Module, linear: nn.Linear, activation: nn.Module, *, width: int
) -> Headed:
    """Put a linear layer behind a pooling, as a Dense that shares the weights.

    Args:
        pooling: with or without layers behind it.
        linear: Linear(D, E), which gives the encoder vectors of E numbers.
        activation: function of its output, for example nn.Identity().
        width: D.
    """
    from sentence_transformers import models

    dense = models.Dense(
        width,
        linear.out_features,
        bias=linear.bias is not None,
        activation_function=activation,
    )
    dense.linear = linear
    before = list(pooling.layers) if isinstance(pooling, Headed) else []
    inner = pooling.inner if isinstance(pooling, Headed) else pooling
    return Headed(inner, [*before, dense], width=width)


def read(
    places: Sequence[tuple[str, Path]], *, width: int, device: torch.device
) -> list[nn.Module]:
    """Read the layers of a folder, on `device`, in float32.

    Args:
        places: kind and folder of each layer, for example [("Dense", Path("2_Dense"))].
        width: width of the pooled vectors.
        device: device of the weights.

    Raises:
        InputError: settings that are not supported, damaged files, or widths that do not fit
            together.
    """
    layers: list[nn.Module] = []
    for kind, place in places:
        file, config = place / "config.json", settings(kind, place)
        takes = config.get({"Dense": "in_features", "LayerNorm": "dimension"}.get(kind, ""), width)
        if takes != width:
            raise InputError(
                f"{file}: {kind} expects vectors of {takes} numbers but gets {width}; the folder is damaged"
            )
        with foreign(place):
            layer = _load(kind, place)
        layers.append(layer.float().to(device).eval())
        width = int(getattr(layer, "out_features", width))
    return layers


def write(pooling: nn.Module, root: Path, first: int) -> list[tuple[str, str]]:
    """Write the layers behind a pooling, numbered from `first`.

    Returns folder and module type of each.
    """
    found: list[tuple[str, str]] = []
    layers: Sequence[Any] = list(pooling.layers) if isinstance(pooling, Headed) else []
    for layer in layers:
        kind = type(layer).__name__
        folder = f"{first + len(found)}_{kind}"
        (root / folder).mkdir()
        if kind != "Normalize":
            layer.save(str(root / folder))
        found.append((folder, f"{STOCK}models.{kind}"))
    return found


def settings(kind: str, place: Path) -> dict[str, Any]:
    """Read and check config.json of one layer. A Normalize may have none.

    Raises:
        InputError: a setting is not supported, or the file is damaged.
    """
    file = place / "config.json"
    config = read_object(file, {} if kind == "Normalize" else None)
    _check(kind, config, file)
    return config


def _load(kind: str, place: Path) -> nn.Module:
    from sentence_transformers import models

    layer: nn.Module = (
        models.Normalize()
        if kind == "Normalize"
        else getattr(models, kind).load(str(place), local_files_only=True)
    )
    return layer


def _check(kind: str, config: dict[str, Any], file: Path) -> None:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, _KEY):
            raise InputError(f"{file}: {key} is {config[key]!r}, but only {_KEY} is supported")
    if "module_input_name" in config and config["module_input_name"] is None:
        raise InputError(
            f"{file}: module_input_name is null, with which sentence-transformers cannot encode; write {_KEY!r}, or remove it"
        )
    activation = config.get("activation_function")
    if kind == "Dense" and activation is not None and not str(activation).startswith("torch."):
        raise InputError(
            f"{file}: activation_function {activation!r} is the author's code, which is never run; "
            "use the same function of torch.nn if there is one"
        )
    if kind == "Dense":
        from sentence_transformers import models

        unknown = sorted(set(config) - set(inspect.signature(models.Dense).parameters))
        if unknown:
            raise InputError(
                f"{file}: {unknown[0]} is a setting that Dense does not have; remove it if it has no effect"
            )


__getattr__ = old_names(__name__)
