"""Checks settings of published folders that affect the tokens: supported, or refused by name.

The reference is sentence-transformers. If it follows a setting that this encoder has no equivalent
for, the setting is refused with file and name. Settings without an effect on vectors (padding side,
decoding, kernels, types) are ignored.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers.normalizers import Lowercase, Sequence

from bothways.backbone.tokenizer.preparation import specials
from bothways.errors import InputError
from bothways.folder_files import TRANSFORMER_SETTINGS
from bothways.foreign import one_line, positive, read_object

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("bothways")

TRANSFORMER = (
    TRANSFORMER_SETTINGS,
    *(
        f"sentence_{name}_config.json"
        for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    ),
)
"""File names of a Transformer module. The first one that exists is used."""

_PLAIN = {"method": "forward", "method_output_name": "last_hidden_state"}
_REFUSED = (
    "query_length",
    "document_length",
    "query_expansion",
    "tokenizer_name_or_path",
)
_CALLS = frozenset({"text", "common", "audio", "image", "video", "chat_template"})
_CUT, _WHOLE = (True, "longest_first", "only_first"), (False, "do_not_truncate")
_PADDING = ("padding", "padding_side", "pad_to_multiple_of")  # of no effect on vectors
# arguments of the loaders that leave vectors unchanged, up to rounding
_HARMLESS = {
    "model": {
        *(
            "attn_implementation",
            "torch_dtype",
            "dtype",
            "device_map",
            "low_cpu_mem_usage",
            "trust_remote_code",
            "use_safetensors",
        ),
        *(
            "add_pooling_layer",
            "use_cache",
            "provider",
            "file_name",
            "export",
            "revision",
            "token",
            "local_files_only",
        ),
    },
    "processor": {
        *(
            "padding_side",
            "use_fast",
            "trust_remote_code",
            "model_max_length",
            "clean_up_tokenization_spaces",
        ),
        *("revision", "token", "local_files_only", "padding"),
    },
    "config": {
        *(
            "trust_remote_code",
            "use_cache",
            "attn_implementation",
            "torch_dtype",
            "dtype",
            "num_labels",
            "revision",
            "token",
        ),
        *("output_hidden_states", "output_attentions", "return_dict", "local_files_only"),
    },
}
_NAMES = {
    "model": ("model_args", "model_kwargs"),
    "processor": ("tokenizer_args", "processor_kwargs"),
    "config": ("config_args", "config_kwargs"),
}


# settings of sentence_bert_config.json, as sentence-transformers' Transformer takes them
_KNOWN = frozenset(
    {
        *_REFUSED,
        *("do_lower_case", "processing_kwargs"),
        *(name for names in _NAMES.values() for name in names),
        *("max_seq_length", "modality_config", "module_output_name", "transformer_task"),
        *("unpad_inputs", "backend", "cache_dir"),
    }
)


def refuse_unknown(config: dict[str, Any], known: Collection[str], file: Path) -> None:
    """Raise InputError for a setting that sentence-transformers does not know either.

    For example, `pooling_mode_median` in 1_Pooling/config.json. Settings that are off are ignored.
    """
    for key, value in config.items():
        if key not in known and value not in (None, False, "", [], {}):
            raise InputError(
                f"{file}: {key} ({value!r:.60}) is a setting that sentence-transformers does not have; remove it if it has no effect"
            )


def read_transformer(root: Path) -> dict[str, Any]:
    """Read sentence_bert_config.json, with `max_seq_length` as sentence-transformers uses it.

    Raises:
        InputError: a setting would change the tokens or states in a way that is not supported here.
    """
    file = next(
        (root / name for name in TRANSFORMER if (root / name).is_file()), root / TRANSFORMER[0]
    )
    config: dict[str, Any] = read_object(file, {})
    refuse_unknown(config, _KNOWN, file)
    modalities = config.get("modality_config") or {}
    if not isinstance(modalities, dict):
        raise InputError(f"{file}: modality_config must be an object; correct it, or remove it")
    if "message" in modalities:
        raise InputError(
            f"{file}: texts go through the tokenizer's chat template (modality_config.message), which is not supported; "
            " if the model was trained without it, remove that entry"
        )
    if modalities and (
        modalities.get("text") != _PLAIN
        or config.get("module_output_name", "token_embeddings") != "token_embeddings"
    ):
        raise InputError(
            f"{file}: modality_config must take the model's last hidden states, because nothing else is supported"
        )
    for key in _REFUSED:
        if config.get(key):
            raise InputError(
                f"{file}: {key} is {config[key]!r}, which is not supported; remove it if it has no effect"
            )
    if config.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise InputError(
            f"{file}: transformer_task {config['transformer_task']!r} is not a text encoder; known: feature-extraction"
        )
    length = _loader_arguments(config, file)
    config = config if length is None else {**config, "max_seq_length": length}
    return {**config, **_of_calls(config, file)}


def _loader_arguments(config: dict[str, Any], file: Path) -> object:
    """Refuse arguments of the loaders that change vectors.

    Returns the tokenizer's `model_max_length` if it is among them.
    """
    length = None
    for kind, keys in _NAMES.items():
        for key in keys:
            given = config.get(key) or {}
            if not isinstance(given, dict):
                raise InputError(f"{file}: {key} must be an object; correct it, or remove it")
            length = given.get("model_max_length", length) if kind == "processor" else length
            for name, value in given.items():
                if name not in _HARMLESS[kind] and value is not None:
                    raise InputError(
                        f"{file}: {key}.{name} is {value!r}, which is not supported; remove it if it has no effect"
                    )
    return length


def _of_calls(config: dict[str, Any], file: Path) -> dict[str, Any]:
    """Read `processing_kwargs`, the arguments with which the tokenizer is called.

    For example, `{"text": {"truncation": true, "max_length": 64}}` gives `{"max_seq_length": 64}`.

    Returns:
        The changed settings. `truncation` is False if long texts are not cut at all.

    Raises:
        InputError: an argument changes the tokens in another way, or is unknown.
    """
    place = f"{file}: processing_kwargs"
    given = config.get("processing_kwargs") or {}
    if not isinstance(given, dict):
        raise InputError(f"{place} must be an object; correct it, or remove it")
    refuse_unknown(given, _CALLS, file)
    arguments: dict[str, Any] = {}
    for kind in ("text", "common"):  # the second wins, as in sentence-transformers
        found = given.get(kind) or {}
        if not isinstance(found, dict):
            raise InputError(f"{place}.{kind} must be an object; correct it, or remove it")
        for name, value in found.items():
            cut = name == "truncation" and value in (*_CUT, *_WHOLE)
            if not cut and name not in ("max_length", *_PADDING) and value is not None:
                raise InputError(
                    f"{place}.{kind}.{name} is {value!r:.60}, which is not supported; remove it if it has no effect"
                )
        arguments |= found
    if arguments.get("truncation", True) in _WHOLE:
        return {"max_seq_length": None, "truncation": False}
    if arguments.get("max_length") is None:
        return {}
    return {"max_seq_length": positive(arguments["max_length"], f"{place}: max_length")}


def check_requirements(requirements: object, file: Path) -> None:
    """Refuse a model if a package does not have the version that its author requires.

    sentence-transformers does the same from version 6.2 on. For example, {"transformers":
    {"specifier": ">=5.15", "reason": "older versions ignore is_causal"}}.

    Raises:
        InputError: names the packages, the versions and the author's reasons.
    """
    from sentence_transformers import util

    check = getattr(util, "check_version_requirements", None)
    if check is None:
        log.warning(
            "%s: requirements (%s) are not checked; update sentence-transformers to check them",
            file,
            one_line(str(requirements), 80),
        )
        return
    try:
        check(requirements, source=str(file.parent))
    except ImportError as error:
        raise InputError(f"{file}: requirements: {one_line(str(error), 400)}") from None


def has_lower_case(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer's first stage turns texts into lower case."""
    return any(isinstance(stage, Lowercase) for stage in _normalizers(tokenizer))


def lower_case(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer turn texts into lower case, as `do_lower_case` in sentence-transformers."""
    if has_lower_case(tokenizer):
        return
    tokenizer.backend_tokenizer.normalizer = Sequence([Lowercase(), *_normalizers(tokenizer)])


def _normalizers(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """List the stages of a tokenizer's normalizer."""
    own: Any = tokenizer.backend_tokenizer.normalizer
    if own is None:
        return []
    several: Any = isinstance(own, Sequence)
    return list(own) if several else [own]


def say_code(root: Path, used: str) -> None:
    """Warn if config.json names a model class of the author, which is never run.

    sentence-transformers does the same without `trust_remote_code`, and the vectors are those of
    transformers' own class.

    Args:
        root: folder of the backbone.
        used: name of the class that was loaded instead.
    """
    file = root / "config.json"
    named = read_object(file, {}).get("auto_map")
    code = named.get("AutoModel") if isinstance(named, dict) else None
    if code:
        log.warning(
            "%s: auto_map names the author's code (AutoModel %s), which is never run; vectors are those of transformers' %s, so compare "
            "a few with the author's",
            file,
            code,
            used,
        )


def check_tokenizer(root: Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Refuse a tokenizer that contradicts its files, or settings that only other loaders follow.

    Args:
        root: folder of the backbone.
        tokenizer: the tokenizer loaded from it.
        model: the backbone.

    Raises:
        InputError: names file and setting.
    """
    file = root / "tokenizer_config.json"
    stated = read_object(file, {})
    for key, name, added in (
        ("add_bos_token", "BOS", lambda: specials(tokenizer).bos_added),
        ("add_eos_token", "EOS", lambda: specials(tokenizer).eos_added),
    ):
        if stated.get(key) is True and not added():
            raise InputError(
                f"{file}: {key} is true, but the post-processor of tokenizer.json adds no {name}, so transformers gives you none; "
                f"add it to the post-processor if the model was trained with {name}, else write false"
            )
    types = tokenizer("a text").get("token_type_ids") or []
    if any(types) and "token_type_ids" in inspect.signature(model.forward).parameters:
        raise InputError(
            f"{file}: model_input_names has token_type_ids, and the tokenizer gives types other than 0 ({types}), which would reach the "
            "model in sentence-transformers but not here; remove it if the model was trained without them"
        )
    if getattr(tokenizer, "truncation_side", "right") != "right":
        raise InputError(
            f"{file}: truncation_side is {tokenizer.truncation_side!r}, but only cutting long texts at their end is supported; "
            'write "right" if the model may read beginnings'
        )
