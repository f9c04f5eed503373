"""Writes tokenizer settings that transformers 4 can read too.

transformers 5 renamed the class that reads tokenizer.json, and made `extra_special_tokens` a list.
Version 4 expects an object of that name and stops. Version 5 reads the older names too. Measured on
4.44.2, 4.57.6, 5.2.0 and 5.23.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_CLASSES = {"TokenizersBackend": "PreTrainedTokenizerFast"}
# these tell how the tokenizer was loaded here
_LOCAL = ("is_local", "local_files_only", "name_or_path")


def for_transformers_4(settings: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """Give tokenizer_config.json's values under the names that transformers 4 knows.

    Args:
        settings: the values as transformers 5 writes them.
        inputs: names of the inputs that the tokenizer gives a model. Version 4 adds token_type_ids
            by default, and decoders stop with an error on them.
    """
    values = {key: value for key, value in settings.items() if key not in _LOCAL}
    values["model_input_names"] = list(inputs)
    if values.get("tokenizer_class") in _CLASSES:
        values["tokenizer_class"] = _CLASSES[values["tokenizer_class"]]
    if isinstance(values.get("extra_special_tokens"), list):
        values["additional_special_tokens"] = values.pop("extra_special_tokens")
    # sorted as transformers writes them, so that an encoder saved again has the same file
    return dict(sorted(values.items()))
