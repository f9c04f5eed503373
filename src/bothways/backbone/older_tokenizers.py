"""Writes tokenizer settings that transformers 4 reads too.

transformers 5 renamed the class that reads tokenizer.json, and made `extra_special_tokens` a list, where version 4
has an object of that name and stops. It reads the older names back. Measured on 4.44.2, 4.57.6, 5.2.0 and 5.23.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_CLASSES = {"TokenizersBackend": "PreTrainedTokenizerFast"}
_LOCAL = ("is_local", "local_files_only", "name_or_path")  # how the tokenizer was loaded here


def for_transformers_4(settings: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """Give tokenizer_config.json's values under the names that transformers 4 knows.

    Args:
        settings: as transformers 5 writes them.
        inputs: what the tokenizer gives a model. Version 4 adds token_type_ids by default, which decoders stop at.
    """
    values = {key: value for key, value in settings.items() if key not in _LOCAL}
    values["model_input_names"] = list(inputs)
    if values.get("tokenizer_class") in _CLASSES:
        values["tokenizer_class"] = _CLASSES[values["tokenizer_class"]]
    if isinstance(values.get("extra_special_tokens"), list):
        values["additional_special_tokens"] = values.pop("extra_special_tokens")
    return values
