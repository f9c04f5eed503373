"""Refuses a base in 4 or 8 bits (QLoRA, arXiv 2305.14314) under the names that users of peft type.

4 bits are a setting of a stage's adapter, see `backbone/adapter/four_bits.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

ALLOWED = "adapter.load_in_4bit"
"""The end of the path of the one key that is supported, a setting of a stage's adapter."""
WHOLE = (
    "4 bits (QLoRA) are a setting of a stage's adapter: --set stages.*.adapter.load_in_4bit=true; 8 bits are not "
    "supported, use dtype: bfloat16 with an adapter"
)
QUANTIZED = (
    "load_in_4bit",
    "load_in_8bit",
    "quantization_config",
    "quantization",
    "quantization_bit",
    "quantize",
    "qlora",
    "use_qlora",
    "bits",
    "bnb_config",
    "bnb_4bit_compute_dtype",
    "bnb_4bit_quant_type",
    "bnb_4bit_use_double_quant",
)
"""Keys of transformers, peft and their trainers that ask for rounded weights."""
_TYPES = re.compile(r"(u?int|nf|fp|float)?[48](_?bits?)?|q4\w*|q8\w*", re.IGNORECASE)
"""Values of dtype, such as int8, nf4 and 4bit."""


def asks(key: str, value: object) -> bool:
    """Tell if a key asks for rounded weights, for example `load_in_4bit` with true."""
    if key == "dtype":
        return isinstance(value, str) and _TYPES.fullmatch(value) is not None
    if isinstance(value, str) and value.lower() == "qlora":
        return True
    return key in QUANTIZED and value is not None and value is not False


def asked(values: Mapping[str, Any]) -> str | None:
    """Return the path of the first key of a recipe that asks for rounded weights, or None.

    For example, asked({"base": {"load_in_4bit": True}}) is "base.load_in_4bit". `quantize` of an
    objective rounds vectors, so it is not among them. Nor is a stage's `ALLOWED`.
    """
    return next(
        (
            path
            for path, key, value in _keys(values, "")
            if asks(key, value)
            and not (path.startswith("stages.") and path.endswith(f".{ALLOWED}"))
        ),
        None,
    )


def _keys(values: Mapping[str, Any], above: str) -> Iterator[tuple[str, str, Any]]:
    for key, value in values.items():
        path = f"{above}{key}"
        yield path, str(key), value
        if key in ("base", "adapter") and isinstance(value, Mapping):
            yield from _keys(value, f"{path}.")
        if key == "stages" and isinstance(value, (list, tuple)):
            for number, stage in enumerate(value):
                if isinstance(stage, Mapping):
                    yield from _keys(stage, f"{path}.{number}.")
