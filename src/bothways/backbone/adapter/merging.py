"""Merges a saved adapter of any trainer into a bare decoder, with the result that peft gives.

An adapter's configuration names modules of the model that it was trained on. That is usually the
causal LM: `model.layers.3.self_attn.q_proj` in `target_modules`, `^model.layers.0…` in
`alpha_pattern`, regular expressions from that model's root. In the bare decoder the same module is
`layers.3…`, so the name would match nothing or, worse, another module. Therefore the decoder is put
back into the model that the names describe (`roots`), usually an empty causal LM. peft attaches
and merges the adapter there, and every field means the same as in training. Adapters that were
trained on the bare decoder (sentence-transformers, feature extraction) name its modules and are
merged there.

Settings that cannot be merged into weights, and tensors that would be left out in silence, are
refused by name.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bothways.backbone.adapter.adapter_config import read_adapter_config
from bothways.backbone.adapter.adapter_files import (
    FACTORS,
    adapter_fingerprint,
    local_adapter,
    put_whole,
    read_needs,
)
from bothways.backbone.adapter.base_changes import (
    check_converged,
    exact_pissa,
    refuse_lost_base,
)
from bothways.backbone.adapter.embedding_file import put_embedding
from bothways.backbone.adapter.exact_targets import exact_targets, fits_by_name
from bothways.backbone.adapter.lora import forget_peft
from bothways.backbone.adapter.roots import HEADS, REMEDY, Root, find_root, follow_names
from bothways.backbone.loading.hub import adapter_snapshot
from bothways.backbone.loading.model_source import Source, resolve
from bothways.backbone.rope import RopeConfig
from bothways.errors import InputError
from bothways.folder_files import ADAPTER
from bothways.foreign import foreign, read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("bothways")

#: The prefix that peft puts before every name of the model that it wraps.
_START = "base_model.model."
# torch.compile, FSDP, checkpointing and DDP put these into names. "default" is the name of the
# adapter, which peft leaves out when it saves.
_INFIXES = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|default|modules_to_save)(?:\.|$)"
)
# DoRA's magnitudes: in NeMo Automodel over a quantized base, and in older versions of peft
_MAGNITUDE = re.compile(r"\.lora_magnitude(_vector)?(\.weight)?$")


def merge_saved(
    model: nn.Module, place: str | os.PathLike[str], held: Sequence[str] = ()
) -> list[str]:
    """Merge an adapter on disk into `model`, in place.

    If the adapter names another one that its base already had, that one is merged first. Parameters
    that were trained in full (LoRA+) lie next to the factors and replace the model's, see
    `adapter_files`. Tensors of a language-model head are left out, because a decoder does not have
    one. The caller applies the adapter's rotary positions (`adapter_rope`), because they are set
    before the weights are loaded.

    Args:
        model: a bare decoder, or an encoder-only model.
        place: a PEFT folder, or a hub id if the hub can be reached. The folder of a run of this
            library means the adapter of its last stage.
        held: fingerprints of the adapters that the model already holds (`adapter_files.merged_in`).
            They are not merged again.

    Returns:
        The fingerprints of all adapters that the model holds afterwards, in order.

    Raises:
        InputError: if there is no adapter, if its files are damaged, if its settings cannot be
            merged into weights, or if its tensors do not fit the model's layers one by one. The
            model may then hold a part of the adapter, so discard it.
    """
    folder = Path(find_adapter(place))
    own = adapter_fingerprint(folder)
    if own in held:
        return list(held)
    before = read_needs(folder).base_adapter
    if before is not None:
        log.info("%s: was trained over %s, which is merged first", place, before)
        held = merge_saved(model, before, held)
    config = read_adapter_config(folder)
    refuse_lost_base(config, folder / ADAPTER)
    file = next((folder / name for name in FACTORS if (folder / name).is_file()), None)
    if file is None:
        raise InputError(
            f"{place}: holds no {' and no '.join(FACTORS)}; copy the adapter's weights into the folder of its adapter_config.json"
        )
    put_embedding(model, folder)
    _merge(model, config, read_tensors(file), place)
    put_whole(model, folder)
    return [*held, own] if own is not None else list(held)


def _merge(
    model: Any, config: Any, tensors: Mapping[str, Tensor], place: str | os.PathLike[str]
) -> None:
    from peft import get_peft_model, set_peft_model_state_dict

    named = _without_infixes(tensors)
    root = find_root(model, named, place)
    heads = [name for name in named if root.is_head(name)]
    if heads:
        log.info(
            "%s: left out its %d tensors outside the decoder (a language-model head, parts for images or sound), because they do not "
            "act on texts",
            place,
            len(heads),
        )
        named = {name: value for name, value in named.items() if name not in heads}
    if not named:
        raise InputError(
            f"{place}: holds no tensor of the decoder, so nothing would be merged; {REMEDY}"
        )
    if config.modules_to_save if hasattr(config, "modules_to_save") else None:
        kept = [name for name in config.modules_to_save if name.split(".")[0] not in HEADS]
        config.modules_to_save = kept or None
    follow_names(config, root)
    iterations = exact_pissa(config, place)
    _make_room(model, root, named)
    # Tensors that the layers share lie outside the wrapped model, for example base_model.vera_A.
    weights = {
        name if name.startswith("base_model.") else _START + name: value
        for name, value in named.items()
    }
    try:
        with (
            foreign(place, f"the adapter does not fit {type(model).__name__}", REMEDY),
            warnings.catch_warnings(),
        ):
            # peft warns of tied weights, of renamed bases and of its own future
            warnings.simplefilter("ignore")
            exact = fits_by_name(root.module, named)
            with exact_targets(root.module, config) if exact else nullcontext():
                wrapped: Any = get_peft_model(root.module, config)
            if iterations is not None:
                check_converged(wrapped, iterations, place)
            result: Any = set_peft_model_state_dict(wrapped, weights)
        _check_complete(wrapped, weights, result.unexpected_keys, root, place)
        if not hasattr(wrapped.base_model, "merge_and_unload"):
            raise InputError(
                f"{place}: peft_type {config.peft_type.value} cannot be merged into weights"
            )
        with (
            foreign(place, f"cannot be merged ({config.peft_type.value})", ""),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            wrapped.merge_and_unload(safe_merge=True)
    finally:
        for module in (root.module, model):
            forget_peft(module)


def _check_complete(
    wrapped: PreTrainedModel,
    weights: Mapping[str, Tensor],
    unexpected: Iterable[str],
    root: Root,
    place: str | os.PathLike[str],
) -> None:
    """Raise InputError for a tensor of the adapter without a place, or a place without a tensor."""
    from peft import get_peft_model_state_dict

    wanted = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    unplaced = [name for name in unexpected]
    absent = [
        name
        for name in wanted
        if name not in weights and not root.is_head(name.removeprefix(_START))
    ]
    for names, what in ((unplaced, "find no place in"), (absent, "are missing for")):
        if names:
            raise InputError(
                f"{place}: the adapter does not fit {type(root.decoder).__name__}: {len(names)} of its tensors {what} the model that its "
                f"configuration describes, e.g. {names[0].removeprefix(_START)}; {REMEDY}"
            )


def _without_infixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the tensors as peft saves them.

    Names then start at the wrapped model's root and hold neither the adapter's name nor the marks
    of other wrappers.
    """
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        plain = _INFIXES.sub("", name).rstrip(".")
        plain = _MAGNITUDE.sub(".lora_magnitude_vector", plain)
        plain = plain.removeprefix("module.").removeprefix(_START)
        # in a dump of the whole model, this is the module that one of modules_to_save replaces
        if "original_module." not in plain:
            named[plain] = value
    return named


def _make_room(model: Any, root: Root, named: Mapping[str, Tensor]) -> None:
    """Enlarge the embedding if the adapter's has more rows, for tokens added before training."""
    weight = model.get_input_embeddings().weight
    own = next(name for name, parameter in model.named_parameters() if parameter is weight)
    value = named.get(f"{root.slot}.{own}" if root.slot else own)
    if value is not None and value.shape[1:] == weight.shape[1:] and len(value) > len(weight):
        model.resize_token_embeddings(len(value), mean_resizing=False)


def find_adapter(place: str | os.PathLike[str]) -> Source:
    """Find the files of an adapter. Its name is then looked up no more.

    For example, `find_adapter("out/run")` is the source of the adapter that the run's last stage
    kept, and its name is still "out/run".

    Args:
        place: a PEFT folder, the folder of a run, a hub id, or a source that was found before.

    Returns:
        A source of kind "folder". An adapter on the hub has been downloaded.

    Raises:
        InputError: if there is no adapter.
        SourceError: if there is no such folder, or the hub cannot be reached.
    """
    folder = local_adapter(place)
    if not folder.is_dir():
        folder = adapter_snapshot(resolve(place).path)
    if not (folder / ADAPTER).is_file():
        raise InputError(f"{place}: no {ADAPTER}; expected the folder of a PEFT adapter")
    return Source(str(place), "folder", str(folder))


def adapter_rope(place: str | os.PathLike[str] | None) -> RopeConfig | None:
    """Read the rotary positions that an adapter's base was given before training.

    The result is None if the adapter does not name any.

    Raises:
        InputError: if there is no adapter at `place`.
    """
    if place is None:
        return None
    needs = read_needs(Path(find_adapter(place)))
    return adapter_rope(needs.base_adapter) if needs.rope is None else needs.rope
