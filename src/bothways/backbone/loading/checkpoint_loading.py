"""Loads a checkpoint folder or hub id through transformers, and turns each failure into one line.

Two habits of transformers make this necessary. It fills weights that a checkpoint lacks with random
numbers and only logs them. And its failures arrive as pages of text from half a dozen exception
classes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging as transformers_logging

from bothways.backbone.dropout import refuse_wrong_rates
from bothways.backbone.loading.left_out import refuse_left_out
from bothways.backbone.loading.whole_numbers import refuse_whole_numbers
from bothways.backbone.tokenizer.tokenizer_file import follow_flags
from bothways.errors import InputError, SourceError
from bothways.foreign import foreign
from bothways.foreign import one_line as one_line_of
from bothways.nearest import did_you_mean

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

ACCEPTED = (
    "give a hub id (organization/name), a model folder, a .gguf file, or the embedded smollm2-135m"
)
# Flags that transformers reads with getattr. Configs do not declare them, but they have an effect.
_UNDECLARED = ("is_causal", "use_bidirectional_attention")

_MOST_LAYERS = 10_000


def read_config(name: str, where: str) -> PretrainedConfig:
    """Read the transformers config at `where` (folder or hub id).

    `name` is the model's name as the user gave it, for messages.
    """
    with in_one_line(name):
        config: PretrainedConfig = AutoConfig.from_pretrained(where, trust_remote_code=False)
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > _MOST_LAYERS:  # building them would not end
        raise SourceError(
            f"{name}: config.json says num_hidden_layers {layers}; no model has more than {_MOST_LAYERS}"
        )
    return config


def read_tokenizer(name: str, where: str, **options: object) -> PreTrainedTokenizerBase:
    """Read the tokenizer at `where` (folder or hub id), with the BOS and EOS of its files."""
    with in_one_line(name, "its tokenizer cannot be loaded"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            where, trust_remote_code=False, **options
        )
    with in_one_line(name, "its tokenizer cannot be used"):
        follow_flags(tokenizer, where, name)
    return tokenizer


def read_weights(name: str, where: str, auto: Any, **options: Any) -> Any:
    """Load the model at `where` in evaluation mode, with every weight from the checkpoint.

    Args:
        name: the model's name as the user gave it. Messages start with it.
        where: folder or hub id.
        auto: AutoModel or AutoModelForCausalLM.
        **options: passed to `from_pretrained`.

    Raises:
        SourceError: if it is unreadable, if weights other than a pooler's are missing, if weights
            would be left out (`left_out`), if they are integers without a scale, or if config.json
            has a rate of dropout that is not a probability.
        InputError: if it is only a PEFT adapter.
    """
    with in_one_line(name):
        model, info = auto.from_pretrained(
            where,
            output_loading_info=True,
            trust_remote_code=False,
            # transformers' own error names no weight
            ignore_mismatched_sizes=True,
            **options,
        )
        refuse_whole_numbers(name, where, model.config)
    refuse_wrong_rates(name, model.config)
    wrong = sorted(
        f"{each[0]} {tuple(each[1])} instead of {tuple(each[2])}"
        for each in info.get("mismatched_keys") or ()
    )
    if wrong:
        raise SourceError(
            f"{name}: {len(wrong)} weights have other shapes than config.json says ({', '.join(wrong[:3])}"
            f"{', …' if len(wrong) > 3 else ''}); restore the config.json that it was saved with, or fetch the model again"
        )
    missing = sorted(info["missing_keys"])
    pooler = [key for key in missing if key.startswith("pooler.") or ".pooler." in key]
    absent = [key for key in missing if key not in pooler]
    if absent:
        raise SourceError(
            f"{name}: the checkpoint lacks {len(absent)} weights of {type(model).__name__} ({', '.join(absent[:3])}"
            f"{', …' if len(absent) > 3 else ''}); they would be random, so it is refused"
        )
    refuse_left_out(name, model, info["unexpected_keys"])
    if pooler and getattr(model, "pooler", None) is not None:
        # A masked-LM checkpoint does not have a pooler, and a random one must not be saved with the
        # model.
        model.pooler = None
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(
            f"{name}: is a PEFT adapter over another model; read it with bothways.load, or name the base model"
        )
    return model.eval()


def override_config(config: PretrainedConfig, values: dict[str, Any], name: str) -> None:
    """Set fields of the text part of a transformers config in place.

    For example, {"attention_dropout": 0.1} sets the dropout rate of Llama's attention.

    Raises:
        InputError: if this family's config does not have the field. A misspelled one would
            otherwise be ignored in silence.
    """
    text = config.get_text_config(decoder=True)
    for key, value in values.items():
        if not hasattr(text, key) and key not in _UNDECLARED:
            hint = did_you_mean(key, [*text.to_dict(), *text.attribute_map, *_UNDECLARED])
            raise InputError(
                f"config_overrides.{key}: {name} ({text.model_type}) has no such config field{hint}"
            )
        setattr(text, key, value)


@contextmanager
def silenced() -> Iterator[None]:
    """Silence the progress bars, reports and retry notices of transformers and the hub.

    Errors still arrive as exceptions.
    """
    bars = transformers_logging.is_progress_bar_enabled()
    level = transformers_logging.get_verbosity()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
        hub.setLevel(hub_level)


@contextmanager
def in_one_line(name: str, what: str = "cannot be loaded") -> Iterator[None]:
    """Turn any error of transformers, the hub, tokenizers or the file system into one line.

    The line is that of a SourceError.

    Args:
        name: the model's name as the user gave it.
        what: the failed action, for problems without a clearer name, for example "cannot be
            loaded".
    """
    with foreign(name, kind=SourceError, reason=lambda error: _reason(error, what)), silenced():
        yield


def _reason(error: Exception, what: str) -> str:
    text = " ".join(str(error).split())
    lower = text.lower()
    module = type(error).__module__.split(".")[0]
    if "gated repo" in lower or "awaiting a review" in lower:
        return "is gated on the hub; ask for access on its page, then log in with: hf auth login"
    if "not a valid model identifier" in lower or "repository not found" in lower:
        return f"no such model on the hub, or it is private (hf auth login); {ACCEPTED}"
    if module == "httpx" or any(
        sign in lower
        for sign in ("couldn't connect", "outgoing traffic has been disabled", "offline mode")
    ):
        return f"the model hub cannot be reached and its local cache has no copy; {ACCEPTED}"
    if "trust_remote_code" in lower or "custom code" in lower:
        return "needs code from its own repository, which is never run; use a family that transformers knows"
    return f"{what}: {type(error).__name__}: {one_line_of(text)}"
