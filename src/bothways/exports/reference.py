"""Texts with the vectors that bothways gives for them, to check an export without the original.

The texts are short, long and Korean, because each catches another error. A causal loader is nearly
right on two tokens, a truncating one on short texts, and a wrong pre-tokenizer on English. The raw
texts are for 8-bit weights, which lose most on a single word, on markup and on repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bothways.encoder.encoder import Encoder
from bothways.encoder.texts.wrapping import EOS, SLOT

TEXTS: dict[str, str] = {
    "short": "A cat sits on the warm window sill.",
    "numbers": "In 2024, 12345 of 67,890 people paid $3.50 -- isn't that odd?",
    "blanks": "def f(x):\n\n    return  x+1\t# done",
    "korean": "오늘은 날씨가 좋아서 강가를 오래 걸었습니다. 내일은 비가 온다고 합니다.",
    "long": " ".join(
        f"Sentence {number} says that the river runs past house {number * 7 % 31} and on to the sea."
        for number in range(1, 9)
    ),
    "word": "bank",
    "headline": "police probe after 3 die in wa crash",
    "markup": '= Senjō no Valkyria 3 = \n The game sold 1 @,@ 500 copies , its " Extra Edition " was released in 2011 ; [ 4 ]',
    "mixed": "Transformer 모델의 attention mask를 바꾸면 양방향 encoder가 된다 (2024년, arXiv:2404.05961).",
    "repeated": "no no no no no no no no no no no no !!!!!!!!!!!!",
}
SAMPLE = "where does the river run"
"""The text that is encoded with each stored prompt."""


@dataclass(frozen=True)
class ReferenceRow:
    """One text and its vector.

    Attributes:
        case: "short", …, or "prompt NAME".
        text: text to send to a server, with the prompt before it.
        vector: (D,) vector of bothways with the prompt pooled, as servers do.
        cost: cosine between that vector and the one of `encode(prompt_name=…)`. 1.0 without a
            prompt.
        prompt: name of the stored prompt that the loader itself puts before the text. "" if none.
    """

    case: str
    text: str
    vector: list[float]
    cost: float = 1.0
    prompt: str = ""


def rows(encoder: Encoder) -> list[ReferenceRow]:
    """Encode the texts, and one text after each stored prompt.

    Args:
        encoder: in float32. Texts longer than its limit are left out, because servers do not cut
            them in the same way.
    """
    limit = encoder.max_length
    found = []
    for case, text in TEXTS.items():
        if limit is None or len(encoder.tokenize([text], max_length=10**9)[0].ids) <= limit:
            found.append(ReferenceRow(case, text, _vector(encoder, text).tolist()))
    for name, prompt in encoder.options.prompts.items():
        text = sent(encoder, prompt, SAMPLE)
        pooled = _vector(encoder, text)
        own = np.asarray(encoder.encode(SAMPLE, prompt_name=name), dtype=np.float64)
        found.append(ReferenceRow(f"prompt {name}", text, pooled.tolist(), cosine(pooled, own)))
    return found


def sent(encoder: Encoder, prompt: str, text: str) -> str:
    """Return the string to send to a server that does not know prompts.

    For example, "Find: " and "a cat" give "Find: a cat", and the template "Text: {text}{eos}" gives
    "Text: a cat</s>".
    """
    if SLOT not in prompt:
        return prompt + text
    return prompt.replace(SLOT, text).replace(EOS, encoder.tokenizer.eos_token or "")


def own_rows(encoder: Encoder) -> list[ReferenceRow]:
    """Encode the texts, and one text with each stored prompt.

    This is for loaders that read the prompts and leave them out of the pooling as we do.
    """
    plain = [row for row in rows(encoder) if not row.case.startswith("prompt ")]
    own = [
        ReferenceRow(
            f"prompt {name}",
            SAMPLE,
            np.asarray(encoder.encode(SAMPLE, prompt_name=name), np.float64).tolist(),
            prompt=name,
        )
        for name in encoder.options.prompts
    ]
    return plain + own


def prompt_section(
    reference: Sequence[ReferenceRow], *, column: str, explanation: str
) -> list[str]:
    """Return the lines of a README about stored prompts that a server pools with the text.

    Args:
        reference: the rows of the export.
        column: head of the column of texts, for example "text to send".
        explanation: the sentence above the table.

    Returns:
        A heading, the explanation and a table with one line a prompt. Empty without prompts.
    """
    prompts = [row for row in reference if row.case.startswith("prompt ")]
    if not prompts:
        return []
    lines = [
        "",
        "## Prompts",
        "",
        explanation,
        "",
        f"| prompt | {column} | cosine |",
        "|---|---|---|",
    ]
    for row in prompts:
        text = row.text.replace("\n", "\\n").replace("|", "\\|")
        lines.append(f"| {row.case.removeprefix('prompt ')} | `{text}` | {row.cost:.4f} |")
    return lines


def _vector(encoder: Encoder, text: str) -> np.ndarray[Any, Any]:
    return np.asarray(encoder.encode(text, prompt=""), dtype=np.float64)


def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Compute the cosine of two vectors in float64. If one of them is zero, return 0.0."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0
