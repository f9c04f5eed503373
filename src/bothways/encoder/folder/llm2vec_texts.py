"""LLM2Vec's chat wrappers and the end token of eos_token pooling, by base model.

Open it to see which bases are wrapped. Names and strings are those of `prepare_for_tokenization` in
the authors' llm2vec/llm2vec.py (release 0.2.3). It compares the base's hub id, which it takes from
the saved config and not from the path, and so does `backbone.origin`. Like the authors' code, a
wrapper strips white space at the end of a text (`tokenization.Wrapper`).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from bothways.backbone.origin import Origin, origin
from bothways.encoder.texts.wrapping import Wrapper

#: Separator of instruction and text.
JOINT = " "


class _Chat(NamedTuple):
    base: str  # hub id
    model_type: str
    before: str
    after: str
    eos: bool = True  # whether eos_token pooling appends its end token as well


_INST = ("[INST] ", " [/INST]")
_IM = ("<|im_start|>user\n", "<|im_end|>")
_CHATS = (
    # the wrapper of Llama 3 ends in an end token of its own, so no second one is appended
    _Chat(
        "meta-llama/Meta-Llama-3-8B-Instruct",
        "llama",
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|>",
        eos=False,
    ),
    _Chat("mistralai/Mistral-7B-Instruct-v0.2", "mistral", *_INST),
    _Chat("meta-llama/Llama-2-7b-chat-hf", "llama", *_INST),
    _Chat("google/gemma-2-9b-it", "gemma2", "<bos><start_of_turn>user\n", "<end_of_turn>"),
    _Chat("Qwen/Qwen2-1.5B-Instruct", "qwen2", *_IM),
    _Chat("Qwen/Qwen2-7B-Instruct", "qwen2", *_IM),
)
# Llama 3 has another end token than earlier Llamas. The authors name only its base model.
_EOS_OF_BASE = {"meta-llama/Meta-Llama-3-8B": "<|end_of_text|>"}
_EOS = {"llama": " </s>", "mistral": " </s>", "gemma": "<eos>", "qwen2": "<|endoftext|>"}


def text_wrapper(
    base: str | os.PathLike[str], *, eos: bool = False, model_type: str | None = None
) -> Wrapper:
    """Find LLM2Vec's wrapper for this base. For most bases its prefix and suffix are empty.

    For example, `text_wrapper("meta-llama/Llama-2-7b-chat-hf")` has the prefix "[INST] " and the
    suffix " [/INST]".

    Args:
        base: hub id, or the folder of a base, an encoder or an adapter, which is followed to its
            base.
        eos: the pooling is eos_token, so an end token is appended.
        model_type: transformers' name of the base's family, if the caller knows it. Used if no
            folder gives it.
    """
    found = origin(base)
    if found.model_type is None:
        found = found._replace(model_type=model_type)
    chat = next((chat for chat in _CHATS if _is(found, chat.base, chat.model_type)), None)
    before, after = ("", "") if chat is None else (chat.before, chat.after)
    if eos and (chat is None or chat.eos):
        own = next(
            (token for base, token in _EOS_OF_BASE.items() if _is(found, base, "llama")), None
        )
        family = found.model_type or (chat.model_type if chat else "")
        after += own or _EOS.get(family, "")
    return Wrapper(before, after, JOINT)


def _is(found: Origin, base: str, model_type: str) -> bool:
    """Return whether a model is made from this base.

    The hub id decides. The name of a folder only counts if the family in the folder also fits.
    """
    if found.stated and found.name.lower() == base.lower():
        return True
    named = found.short == base.rsplit("/", 1)[-1].lower()
    return named and found.model_type in ((None, model_type) if found.stated else (model_type,))
