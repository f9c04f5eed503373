"""Reads the small files of a sentence-transformers folder: its modules and settings.

Every setting that would change the vectors is either followed or refused by name.
`encoder.folder.read` makes the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ConfigDict, Field

from bothways.config import Direction, Strict, parse
from bothways.encoder.folder import (
    head_modules,
    layer_pooling,
    pooling_module,
    stock_pooling,
    template_module,
)
from bothways.encoder.folder.published_settings import check_requirements, read_transformer
from bothways.encoder.folder.stock_pooling import StockPooling
from bothways.errors import InputError
from bothways.folder_files import ENCODER_SETTINGS, MODULES, OURS
from bothways.foreign import positive, read_json, read_object
from bothways.similarity_names import Similarity

# names of sentence-transformers' functions, which people write in place of `similarity_fn_name`
_FUNCTIONS = {"cos_sim": "cosine", "dot_score": "dot", "dot_product": "dot"}


@dataclass(frozen=True)
class FolderLayout:
    """The contents of a folder's small files.

    Args:
        path: the folder.
        modules: its modules in order, without a layer pooling.
        ours: bothways.json, or None in a folder of another program.
        transformer: settings of the first module, checked by `published_settings`.
        stock: the stock pooling.
        stored: config_sentence_transformers.json.
    """

    path: Path
    modules: list[Module]
    ours: Ours | None
    transformer: dict[str, Any]
    stock: StockPooling
    stored: dict[str, Any]

    @property
    def root(self) -> Path:
        """The folder of the backbone."""
        return self.path / self.modules[0].path

    def place_of(self, kind: str) -> Path | None:
        """Return the folder of the first module of a kind, or None."""
        return next(
            (self.path / module.path for module in self.modules if module.kind == kind), None
        )


def read_layout(path: Path) -> FolderLayout:
    """Read the small files of a folder.

    Raises:
        InputError: modules or settings are not supported here, or files are damaged.
    """
    modules = _modules(path)
    layered = next((module for module in modules if module.kind == layer_pooling.KIND), None)
    modules = [module for module in modules if module is not layered]
    root = path / modules[0].path
    ours = (
        parse(Ours, read_object(path / OURS), where=str(path / OURS))
        if (path / OURS).exists()
        else None
    )
    transformer = read_transformer(root)
    if layered is not None:
        layer_pooling.check(path / layered.path, transformer, root)
    stock = _pooling(path, modules)
    if layered is not None:
        stock = stock._replace(mode=layer_pooling.mode_of(path / layered.path, stock.mode))
    return FolderLayout(
        path, modules, ours, transformer, stock, read_stored(path / ENCODER_SETTINGS)
    )


class Ours(Strict):
    """bothways.json: options that the stock layout cannot hold. All else is provenance."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal[1]
    direction: Direction
    pool_bos: bool = True
    pool_prompt: bool = False
    stock_prompts: bool = False
    implied_prompts: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = Field(default=(), max_length=3)
    report: dict[str, Any] = Field(default_factory=dict)
    pooling: str = ""
    loader_notes: list[str] = Field(default_factory=list)

    def provenance(self) -> dict[str, Any]:
        """Return the fields that are copied into the next save."""
        own = (
            "format",
            "pooling",
            "pool_bos",
            "pool_prompt",
            "stock_prompts",
            "implied_prompts",
            "wrapper",
            "loader_notes",
        )
        return {
            "stages": [],
            **{key: value for key, value in self.model_dump().items() if key not in own},
        }


class Module(NamedTuple):
    """A module of modules.json: the last part of its type, and its folder."""

    kind: str
    path: str


def _modules(path: Path) -> list[Module]:
    """List the modules of a folder, of stock types and of ours, in an order that can be run.

    Raises:
        InputError: names another module type or order.
    """
    listed = read_json(path / MODULES)
    try:
        types = [str(module["type"]) for module in listed]
        modules = [
            Module(name.rsplit(".", 1)[-1], str(module["path"]))
            for name, module in zip(types, listed)
        ]
    except (TypeError, KeyError):
        raise InputError(
            f"{path / MODULES}: must be a list of modules, each with a type and a path"
        ) from None
    ours = {pooling_module.TYPE, *template_module.TYPES}
    foreign = [
        name for name in types if not name.startswith(head_modules.STOCK) and name not in ours
    ]
    if foreign:
        raise InputError(
            f"{path / MODULES}: modules {', '.join(module.kind for module in modules)} cannot be read: {foreign[0]} is the author's code, "
            "which is never run"
        )
    own = {kind.rsplit(".", 1)[-1] for kind in {*types} & ours}
    kinds = [module.kind for module in modules]
    firsts = {"Transformer", *({template_module.TRANSFORMER} & own)}
    poolings = {"Pooling", *({pooling_module.KIND, template_module.POOLING} & own)}
    if kinds[1:3] == [layer_pooling.KIND, "Pooling"]:
        del kinds[1]
    behind = kinds[2:] if kinds[1:2] and kinds[1] in poolings else kinds[1:]
    layers = head_modules.KINDS if behind == kinds[2:] else ("Normalize",)
    if not kinds or kinds[0] not in firsts or not set(behind) <= set(layers):
        raise InputError(
            f"{path / MODULES}: modules {', '.join(kinds) or 'none'} cannot be read; known: Transformer, then Pooling (with "
            f"{layer_pooling.KIND} before it, if needed), then any of "
            f"{', '.join(head_modules.KINDS)}"
        )
    return modules


def _pooling(path: Path, modules: list[Module]) -> StockPooling:
    """Read the pooling mode and whether prompts are pooled.

    Without a Pooling module, use sentence-transformers' default for decoders.
    """
    module = next((module for module in modules if module.kind == "Pooling"), None)
    if module is None:
        return StockPooling(None, True)
    return stock_pooling.read(path / module.path / "config.json")


def read_stored(file: Path) -> dict[str, Any]:
    """Read config_sentence_transformers.json of a text encoder.

    Raises:
        InputError: the model is of another kind, truncate_dim is not a positive whole number,
            similarity_fn_name is unknown, or a package does not have the version that the author
            requires.
    """
    stored = read_object(file, {})
    kind = stored.get("model_type") or "SentenceTransformer"
    if kind != "SentenceTransformer":
        raise InputError(
            f"{file}: model_type {kind!r} is not an encoder with one vector for each text; known: SentenceTransformer"
        )
    if stored.get("requirements"):
        check_requirements(stored["requirements"], file)
    if stored.get("truncate_dim") is not None:
        stored["truncate_dim"] = positive(stored["truncate_dim"], f"{file}: truncate_dim")
    similarity = stored.get("similarity_fn_name")
    if isinstance(similarity, str) and similarity in _FUNCTIONS:
        similarity = stored["similarity_fn_name"] = _FUNCTIONS[similarity]
    if similarity is not None and similarity not in get_args(Similarity):
        raise InputError(
            f"{file}: similarity_fn_name {similarity!r:.60} is not one of {', '.join(get_args(Similarity))}; correct it, or remove it"
        )
    return stored
