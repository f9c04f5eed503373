"""Finds the model at which an adapter's names begin, and puts the decoder at its place in it.

Trainers wrap different models, so the same layer has different names:

    layers.3.self_attn.q_proj                        the bare decoder (feature extraction, LLM2Vec)
    model.layers.3.self_attn.q_proj                  its causal LM (most trainers)
    model.language_model.layers.3.self_attn.q_proj   a model that also reads images (unsloth,
                                                     ms-swift)
    lm_q.layers.3.self_attn.q_proj                   the query side of a pair of encoders

The tensors tell which one it was. The configuration may use other names than the tensors, because
some trainers rename only the tensors when they save. A name that matches nothing is therefore
looked up as the name of another wrapper (`follow_names`). peft would ignore it without a word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bothways.errors import InputError

REMEDY = "give the base model that the adapter was trained over"
# Modules behind the decoder. None of them takes part in a vector.
HEADS = frozenset(
    {
        "lm_head",
        "embed_out",
        "output",
        "cls",
        "score",
        "classifier",
        "qa_outputs",
        "v_head",
        "value_head",
    }
)
# Parts of a model for other kinds of input than text.
_SENSES = re.compile(
    r"(^|\.)(vision\w*|visual\w*|image\w*|audio\w*|video\w*|speech\w*|talker|multi_modal_projector|mm_projector|aligner"
    r"|connector|embed_vision|embed_audio)(\.|$)"
)
# Names of the decoder in wrappers, to look up names of a configuration.
_WRAPPED = ("", "model", "model.language_model", "language_model.model", "lm_q", "encoder")


@dataclass(frozen=True)
class Root:
    """The model that an adapter was trained on.

    Attributes:
        module: the model: a causal LM or another wrapper around the decoder, or the decoder itself.
        decoder: the decoder inside it.
        slot: name of the decoder in `module`. It is "" if `module` is the decoder.
    """

    module: Any
    decoder: Any
    slot: str

    def is_head(self, name: str) -> bool:
        """Tell if a tensor lies outside the decoder: in a head, or a part for images or sound."""
        first = name.split(".")[0]
        own = dict(self.decoder.named_children())
        if place_in(self.decoder, name) == self.slot:
            return False
        return (first in HEADS and first not in own) or _SENSES.search(name) is not None

    def name(self, path: str) -> str:
        """Give the name at this root of a module of the decoder."""
        return _joined(self.slot, path)


def find_root(model: Any, named: Mapping[str, Tensor], place: Any) -> Root:
    """Find the model at which the names of an adapter's tensors begin.

    Args:
        model: the bare decoder, or an encoder-only model.
        named: the adapter's tensors, without peft's start of their names.
        place: the adapter, for messages.

    Raises:
        InputError: if the names belong to another family, or to two encoders.
    """
    found = Counter(
        slot
        for name in named
        if not _SENSES.search(name) and (slot := place_in(model, name)) is not None
    )
    causal = _in_causal_lm(model)
    if not found:
        bare = Root(model, model, "")
        # tensors that all layers share lie outside the wrapped model, for example base_model.vera_A
        if named and all(name.startswith("base_model.") for name in named):
            return causal or bare
        if all(bare.is_head(name) for name in named):
            return bare
        raise InputError(
            f"{place}: the adapter does not fit {type(model).__name__}: its tensors have names such as {next(iter(named))!r}, "
            f"which the model does not have; {REMEDY}"
        )
    if len(found) > 1:
        names = " and ".join(repr(slot or "the model itself") for slot in sorted(found)[:3])
        raise InputError(
            f"{place}: the adapter holds tensors for {len(found)} models ({names}); save the adapter of one of them alone"
        )
    slot = next(iter(found))
    if causal is not None and slot == causal.slot:
        return causal
    return Root(model, model, "") if not slot else Root(_Wrapper(model, slot), model, slot)


def place_in(decoder: nn.Module, name: str) -> str | None:
    """Find the part of a name that comes before the decoder's own modules.

    For example, "model" for "model.layers.3.self_attn.q_proj.lora_A.weight" in Llama. The result is
    None if the name does not lie in the decoder.
    """
    parts = name.split(".")
    for start, part in enumerate(parts):
        child = getattr(decoder, "_modules", {}).get(part)
        if child is None:
            continue
        if isinstance(child, nn.ModuleList) and not (
            start + 1 < len(parts) and parts[start + 1].isdecimal()
        ):
            continue
        return ".".join(parts[:start])
    return None


class _Wrapper(nn.Module):
    """Holds the decoder under the dotted name that it has in another model."""

    def __init__(self, decoder: Any, slot: str) -> None:
        super().__init__()
        self.config = decoder.config
        holder: nn.Module = self
        *outer, last = slot.split(".")
        for part in outer:
            inner = nn.Module()
            holder.add_module(part, inner)
            holder = inner
        holder.add_module(last, decoder)
        self._inner = [decoder]  # in a list, so that it is not a child of its own

    def get_input_embeddings(self) -> Any:
        """Return the decoder's embedding, which peft needs to train single tokens."""
        return self._inner[0].get_input_embeddings()


def _in_causal_lm(model: Any) -> Root | None:
    """Put the decoder into an otherwise empty causal LM (a masked LM for encoder-only families).

    The result is None for a family without one. The head's weight is a single zero, expanded to a
    matrix, so it takes memory only if an adapter changes it. It is never tied to the embedding,
    even if the family ties it. peft would otherwise merge a tied head's factors into the embedding
    too, which changes the states.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    from bothways.attention.text_config import is_encoder_only

    auto: Any = AutoModelForMaskedLM if is_encoder_only(model.config) else AutoModelForCausalLM
    try:
        with torch.device("meta"):
            whole = auto.from_config(model.config)
    except Exception:
        # A decoder of a multimodal model may not have a causal LM. Its adapters name the decoder.
        return None
    slot = next(
        (name for name, module in whole.named_modules() if name and type(module) is type(model)),
        None,
    )
    if slot is None:
        return None
    parent, _, child = slot.rpartition(".")
    setattr(whole.get_submodule(parent), child, model)
    own = next(model.parameters())
    for name, tensor in [*whole.named_parameters(), *whole.named_buffers()]:
        if tensor.is_meta:
            holder, _, leaf = name.rpartition(".")
            kind = own.dtype if tensor.is_floating_point() else tensor.dtype
            zeros = torch.zeros((), dtype=kind, device=own.device).expand(tensor.shape)
            value = (
                nn.Parameter(zeros, requires_grad=False)
                if isinstance(tensor, nn.Parameter)
                else zeros
            )
            setattr(whole.get_submodule(holder), leaf, value)
    return Root(whole, model, slot)


# --- names of a configuration ------------------------------------------------------------------


def follow_names(config: Any, root: Root) -> None:
    """Rename what a configuration names by another wrapper's names, in place.

    Only names that match nothing at `root` are looked up. For example, "lm_q.layers.0.mlp.up_proj"
    in `target_modules` becomes "layers.0.mlp.up_proj" if the tensors are those of a bare decoder.

    Args:
        config: peft's configuration.
        root: the model at which the adapter's tensors begin.
    """
    names = [name for name, _ in root.decoder.named_modules() if name]
    parameters = [name for name, _ in root.decoder.named_parameters()]
    for field in ("target_modules", "exclude_modules", "modules_to_save"):
        value = getattr(config, field, None)
        if isinstance(value, str):
            setattr(config, field, _expression(value, names, root))
        elif isinstance(value, list | tuple | set):
            # peft takes every module whose name ends in an entry of modules_to_save, so that "norm"
            # would mean all norms; a renamed entry is one module, named from peft's own root
            start = "base_model.model." if field == "modules_to_save" else ""
            setattr(config, field, type(value)(_listed(value, names, root, start)))
    if getattr(config, "target_parameters", None):
        config.target_parameters = _listed(config.target_parameters, parameters, root)
    indices = getattr(config, "trainable_token_indices", None)
    if isinstance(indices, dict):
        config.trainable_token_indices = dict(
            zip(_listed(indices, names, root), indices.values(), strict=True)
        )
    for field in ("rank_pattern", "alpha_pattern"):
        value = getattr(config, field, None)
        # AdaLoRA's rank_pattern holds a list for each of its own tensors
        if isinstance(value, dict) and all(
            isinstance(each, int | float) for each in value.values()
        ):
            setattr(config, field, _pattern(value, names, root))


def _listed(entries: Iterable[str], names: list[str], root: Root, start: str = "") -> list[str]:
    """Rename entries of a list. peft compares each with a module's name or its end.

    Renamed entries begin with `start`.
    """
    known = set(names)
    found = []
    for entry in entries:
        whole = [f".{root.name(name)}" for name in names]
        if not any(name.endswith(f".{entry}") for name in whole) and not _SENSES.search(entry):
            before = place_in(root.decoder, entry)
            path = entry if not before else entry.removeprefix(f"{before}.")
            entry = start + root.name(path) if before is not None and path in known else entry
        found.append(entry)
    return found


def _expression(value: str, names: list[str], root: Root) -> str | list[str]:
    """Resolve a regular expression that matches only under another wrapper's names."""
    if value == "all-linear":
        return value
    found = _under_a_wrapper(lambda name: re.fullmatch(value, name), names, root)
    return value if found is None else [root.name(path) for path in found]


def _pattern(value: dict[str, Any], names: list[str], root: Root) -> dict[str, Any]:
    """Rename the keys of `rank_pattern` or `alpha_pattern` that match nothing."""
    renamed: dict[str, Any] = {}
    for key, number in value.items():
        found = _under_a_wrapper(
            lambda name, key=key: re.match(rf"(.*\.)?({key})$", name),  # type: ignore[misc]
            names,
            root,
        )
        keys = [key] if found is None else [f"^{re.escape(root.name(path))}" for path in found]
        renamed |= {each: number for each in keys if each not in renamed}
    return renamed


def _under_a_wrapper(
    matches: Callable[[str], Any], names: list[str], root: Root
) -> list[str] | None:
    """Find the decoder's modules that match under the names of some wrapper.

    The result is None if modules match under the names of `root`, or under none.
    """
    if any(matches(root.name(name)) for name in names):
        return None
    for slot in dict.fromkeys((*_WRAPPED, str(root.decoder.base_model_prefix))):
        found = [name for name in names if matches(_joined(slot, name))]
        if found:
            return found
    return None


def _joined(slot: str, path: str) -> str:
    return f"{slot}.{path}" if slot else path
