"""Reads a .gguf file (llama.cpp's format) as plain weights that can be trained and saved again.

transformers dequantizes GGUF while loading. But it leaves a quantizer on the model that refuses
`save_pretrained`, and it does not restore every pre-tokenizer. This module corrects both.
"""

from __future__ import annotations

import importlib.util
import io
import logging
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM

from bothways.backbone.loading.checkpoint_loading import in_one_line, read_tokenizer, read_weights
from bothways.errors import MissingExtra, SourceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_log = logging.getLogger(__name__)

# Values of tokenizer.ggml.pre for which a text is cut at every digit before GPT-2's pattern applies
# (llama.cpp, src/llama-vocab.cpp).
_DIGITS_APART = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
)
# Values for which GPT-2's own pattern is right. transformers also builds it for unknown values.
_GPT2_PATTERN = frozenset(
    {"gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "exaone4", "trillion", "granite-docling"}
)


def require_gguf(purpose: str) -> None:
    """Raise MissingExtra if the `gguf` package is not installed."""
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtra("gguf", "gguf", purpose)


def read_gguf(path: str | Path, *, dtype: torch.dtype, **options: object) -> tuple[Any, Any]:
    """Dequantize a .gguf file.

    Args:
        path: the file. It must hold the whole model, not one part of a split one.
        dtype: dtype of the resulting weights.
        **options: passed to `from_pretrained`.

    Returns:
        The CausalLM without a quantizer, and its tokenizer.

    Raises:
        MissingExtra: if the `gguf` package is not installed.
        SourceError: if it is not a GGUF file, or has an architecture that transformers cannot read
            from GGUF.
    """
    path = Path(path).resolve()
    require_gguf(f"reading {path.name}")
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise SourceError(
                f"{path}: is not a GGUF file (it does not begin with 'GGUF'); the download may be incomplete"
            )
    name, folder = str(path), str(path.parent)
    options = {**_dense(), **options}
    # The dequantizer draws a progress bar that no setting of transformers turns off.
    with redirect_stderr(io.StringIO()):
        causal = read_weights(
            name, folder, AutoModelForCausalLM, gguf_file=path.name, dtype=dtype, **options
        )
    forget_quantizer(causal)
    tokenizer = read_tokenizer(name, folder, gguf_file=path.name)
    with in_one_line(name, "its tokenizer cannot be loaded"):
        restore_pre_tokenizer(tokenizer, pre_tokenizer_name(path))
    return causal, tokenizer


def _dense() -> dict[str, Any]:
    # Newer versions would keep the quantized blocks if a kernel for them is installed, and those
    # cannot be trained.
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def forget_quantizer(model: PreTrainedModel) -> None:
    """Remove every trace of GGUF from a dequantized model, so it saves and loads like any other."""
    for module in model.modules():
        for attribute in ("hf_quantizer", "is_quantized", "quantization_method"):
            module.__dict__.pop(attribute, None)
        config = getattr(module, "config", None)
        if config is not None:
            config.__dict__.pop("quantization_config", None)


def pre_tokenizer_name(path: str | Path) -> str | None:
    """Read the file's `tokenizer.ggml.pre`, or None if the tokenizer is not byte-level BPE."""
    from gguf import GGUFReader

    fields = GGUFReader(str(path)).fields
    model, pre = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if model is None or bytes(model.parts[-1]) != b"gpt2":
        return None
    return "default" if pre is None else bytes(pre.parts[-1]).decode("utf-8")


def restore_pre_tokenizer(tokenizer: PreTrainedTokenizerBase, pre: str | None) -> None:
    """Cut texts as the vocabulary was trained, in cases in which transformers does not.

    Otherwise white space before a number would become other tokens than in training: two line
    breaks as two tokens, not as one. A pre-tokenizer that neither transformers nor this table knows
    is used as GPT-2's, with a warning.

    Args:
        tokenizer: as read from the file. It is changed in place.
        pre: the file's `tokenizer.ggml.pre`, for example "smollm". None if it does not apply.
    """
    if pre is None or pre in _GPT2_PATTERN:
        return
    backend = tokenizer.backend_tokenizer
    if pre in _DIGITS_APART:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    elif not isinstance(backend.pre_tokenizer, pre_tokenizers.Sequence):
        _log.warning(
            "the GGUF file names the unknown pre-tokenizer %r, so token boundaries may differ from training; "
            "for the exact tokenizer, use the model's original folder",
            pre,
        )
