"""Reads a fast tokenizer as GGUF keys.

llama.cpp has the pre-tokenizers of published models in its own code, and finds them by a name
(`tokenizer.ggml.pre`). A tokenizer can be exported if its pre-tokenizer is one of those in `PRE`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bothways.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# gguf.TokenType
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Vocabulary:
    """The parts of a tokenizer that a GGUF file stores.

    Attributes:
        model: "gpt2" for byte-level BPE, "llama" for SentencePiece.
        pre: name of the pre-tokenizer in llama.cpp.
        tokens: text of each token, by id.
        types: kind of each token, see `gguf.TokenType`.
        merges: pairs in their order, for byte-level BPE.
        scores: score of each token, for SentencePiece.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]


def vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """Read a tokenizer's vocabulary.

    Args:
        tokenizer: a fast transformers tokenizer.
        rows: number of rows of the model's embedding. Ids without a token get a placeholder.

    Raises:
        InputError: if llama.cpp does not have this kind of tokenizer or its pre-tokenizer.
    """
    file = json.loads(tokenizer.backend_tokenizer.to_str())
    model = file["model"]
    if model["type"] != "BPE":
        raise InputError(
            f"export to GGUF: llama.cpp cannot read tokenizers of type {model['type']}; it needs BPE"
        )
    pieces: dict[int, str] = {index: token for token, index in model["vocab"].items()}
    added = {each["id"]: each for each in file["added_tokens"]}
    tokens, types = [], []
    for index in range(rows):
        if index in added:
            tokens.append(added[index]["content"])
            types.append(CONTROL if added[index]["special"] else USER_DEFINED)
        elif index in pieces:
            piece = pieces[index]
            tokens.append(piece)
            types.append(
                BYTE
                if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
                else NORMAL
            )
        else:
            tokens.append(f"[PAD{index}]")
            types.append(UNUSED)
    merges = [each if isinstance(each, str) else " ".join(each) for each in model["merges"]]
    if _is_sentencepiece(file):
        order = {
            ("".join(each.split(" "))): rank for rank, each in reversed(list(enumerate(merges)))
        }
        scores = [-float(order.get(token, len(order))) for token in tokens]
        return Vocabulary("llama", "default", tokens, types, [], scores)
    return Vocabulary("gpt2", _pre(file), tokens, types, merges, [])


def _is_sentencepiece(file: dict[str, Any]) -> bool:
    return bool(file["model"].get("byte_fallback")) and "ByteLevel" not in json.dumps(
        file["pre_tokenizer"]
    )


_GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
_QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# The steps of a pre-tokenizer, and llama.cpp's name. The regular expressions are in
# llama-vocab.cpp.
PRE: dict[tuple[str, ...], str] = {
    ("bytes+regex",): "gpt-2",
    ("digits", "bytes+regex"): "smollm",
    (f"split:{_GPT2}", "bytes"): "gpt-2",
    (f"split:{_QWEN2}", "bytes"): "qwen2",
    (f"split:{_LLAMA3}", "bytes"): "llama-bpe",
}


def _pre(file: dict[str, Any]) -> str:
    steps = tuple(_steps(file["pre_tokenizer"]))
    normalizer = (file["normalizer"] or {}).get("type")
    name = PRE.get(steps)
    if name is None or normalizer not in (None, "NFC"):
        raise InputError(
            "export to GGUF: llama.cpp does not have this tokenizer's pre-tokenizer, so it would split texts in another way; "
            f"known: {', '.join(sorted(set(PRE.values())))}"
        )
    return name


def _steps(step: dict[str, Any] | None) -> list[str]:
    kind = None if step is None else step["type"]
    if step is None or kind is None:
        return []
    if kind == "Sequence":
        return [name for each in step["pretokenizers"] for name in _steps(each)]
    if kind == "ByteLevel":
        blank = "+blank" if step["add_prefix_space"] else ""
        return [f"bytes{'+regex' if step['use_regex'] else ''}{blank}"]
    if kind == "Digits" and step["individual_digits"]:
        return ["digits"]
    if kind == "Split" and step["behavior"].lower() == "isolated" and not step["invert"]:
        return [f"split:{step['pattern'].get('Regex')}"]
    return [kind]
