"""Stored prompts that a loader treats in another way than the encoder, with the cosine it costs.

An export says so when it is written: in the log, in its README.md and in its manifest. Each cosine
is that of one short text: the vector that the loader would give, and the encoder's own vector.

| loader | what it does with a prompt |
|---|---|
| llama.cpp, Ollama, vLLM, TEI, plain transformers | you put it before the text, and it is pooled |
| the same | none of them puts a default prompt before a text |
| llm2vec | joins instruction and text by one blank |
| sentence-transformers 6 | counts the tokens of the prompt alone |
| sentence-transformers before 6 | the same, and strips white space around prompt and text |

sentence-transformers before 6 stops with an IndexError if nothing is left of a prompt and the
tokenizer adds no token of its own (measured with 5.1.2 and 5.2.0).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import pooling_module, template_module
from bothways.encoder.folder.head_modules import Headed
from bothways.encoder.texts.tokenization import stock_tokens
from bothways.encoder.texts.wrapping import SLOT
from bothways.exports.folders.llm2vec_folder import as_llm2vec, skips_instruction
from bothways.exports.reference import SAMPLE, cosine, sent

log = logging.getLogger("bothways")

_Vector = np.ndarray[Any, Any]
SAME = 0.99995
"""A cosine from here on is shown as 1.0000, and costs nothing."""


@dataclass(frozen=True)
class PromptCost:
    """One stored prompt in one loader that does not honor it.

    Attributes:
        loader: for example "llama.cpp and Ollama".
        prompt: its name.
        effect: what the loader does, for example "pools it with the text".
        cosine: between the loader's vector and the encoder's own, for one short text. None if the
            loader stops with an error.
    """

    loader: str
    prompt: str
    effect: str
    cosine: float | None


def prompt_costs(encoder: Encoder, target: str) -> list[PromptCost]:
    """Compare each stored prompt in each loader of a target with the encoder's own vector.

    Args:
        encoder: the encoder to export, in float32.
        target: a key of `LOADERS`, for example "gguf".

    Returns:
        The prompts that cost something. Empty if every loader honors all of them.
    """
    found = []
    options = encoder.options
    for name, prompt in options.prompts.items():
        own = np.asarray(encoder.encode(SAMPLE, prompt_name=name), np.float64)
        for loader in LOADERS[target]:
            if loader.stops(encoder, prompt):
                found.append(PromptCost(loader.title, name, _STOPS, None))
                continue
            vector = loader.vector(encoder, prompt)
            if vector is not None:
                found.append(PromptCost(loader.title, name, loader.effect, cosine(vector, own)))
            if name == options.default_prompt and loader.without_default:
                bare = np.asarray(encoder.encode(SAMPLE, prompt=""), np.float64)
                found.append(PromptCost(loader.title, name, _DEFAULT, cosine(bare, own)))
    return [each for each in found if each.cosine is None or each.cosine < SAME]


def tell(costs: Iterable[PromptCost]) -> None:
    """Log one line for each prompt that a loader does not honor."""
    for each in costs:
        cost = (
            ""
            if each.cosine is None
            else f", so one short text has cosine {each.cosine:.4f} to the encoder's own vector"
        )
        log.warning("%s: prompt %r: %s%s", each.loader, each.prompt, each.effect, cost)


def section(costs: Sequence[PromptCost]) -> list[str]:
    """Return the lines of a README about these prompts. Empty without any."""
    if not costs:
        return []
    return [
        "",
        "## Prompts that a loader does not honor",
        "",
        "The cosine is that of one short text between the loader's vector and the encoder's own.",
        "",
        "| loader | prompt | what it does | cosine |",
        "|---|---|---|---|",
        *(
            f"| {each.loader} | {each.prompt} | {each.effect} | "
            f"{'no vector' if each.cosine is None else f'{each.cosine:.4f}'} |"
            for each in costs
        ),
    ]


def as_values(costs: Iterable[PromptCost]) -> list[dict[str, Any]]:
    """Return the costs as JSON values for the manifest."""
    return [asdict(each) for each in costs]


@dataclass(frozen=True)
class _Loader:
    """A loader, and a function that gives its vector of the sample after a prompt.

    The function returns None if the loader gives the encoder's own vector.
    """

    title: str
    effect: str
    vector: Callable[[Encoder, str], _Vector | None]
    without_default: bool = False
    stops: Callable[[Encoder, str], bool] = lambda encoder, prompt: False


def _pooled(encoder: Encoder, prompt: str) -> _Vector:
    """Return the vector of prompt and text, all of it pooled."""
    return np.asarray(encoder.encode(sent(encoder, prompt, SAMPLE), prompt=""), np.float64)


def _llm2vec(encoder: Encoder, prompt: str) -> _Vector | None:
    """Return the vector of instruction and text joined by one blank, with llm2vec's pooled tokens.

    A template is sent as a whole text.
    """
    if SLOT in prompt:
        return _pooled(encoder, prompt)
    instruction = f"{prompt.strip()} ".lstrip()
    return as_llm2vec(encoder, instruction, skips_instruction(encoder))


def _counted(encoder: Encoder, prompt: str) -> _Vector | None:
    """Return the vector without as many tokens as the prompt has alone."""
    if _own_module(encoder, prompt) or encoder.options.pool_prompt:
        return None
    return _without(encoder, prompt + SAMPLE, len(stock_tokens(encoder.tokenizer, prompt)))


def _stripped(encoder: Encoder, prompt: str) -> _Vector | None:
    """Return the vector of the stripped text, without as many tokens as the stripped prompt has."""
    if _own_module(encoder, prompt):
        return None
    left_out = len(stock_tokens(encoder.tokenizer, prompt.strip()))
    pooled = encoder.options.pool_prompt
    return _without(encoder, (prompt + SAMPLE).strip(), 0 if pooled else left_out)


def _nothing_left(encoder: Encoder, prompt: str) -> bool:
    """Return whether nothing is left of a prompt without white space, not even a special token."""
    if not prompt or _own_module(encoder, prompt):
        return False
    return not encoder.tokenizer(prompt.strip())["input_ids"]


def _own_module(encoder: Encoder, prompt: str) -> bool:
    """Return whether a module in the folder, and not the loader, reads the prompts."""
    return (
        SLOT in prompt
        or pooling_module.is_trained(encoder.pooling)
        or template_module.needs_code(encoder)
    )


def _without(encoder: Encoder, text: str, left_out: int) -> _Vector:
    """Return the vector of a text without its first tokens, as a stock pooling computes it."""
    (row,) = encoder.tokenize([text], prompt="")
    # a stock pooling does not know `pool_bos`
    pool = [place >= left_out for place in range(len(row.ids))]
    batch = encoder.pack([TokenRow(row.ids, pool, row.offsets)]).to(encoder.device)
    with torch.no_grad():
        if encoder.pooling.mode == "weighted_mean":  # positions count from the prompt's start there
            states = encoder.pooled_states(batch)[: len(row.ids)].float()
            weights = torch.arange(1, len(row.ids) + 1) * torch.tensor(pool)
            vector = (weights.to(states)[:, None] * states).sum(0, keepdim=True) / weights.sum()
            behind = encoder.pooling
            vector = behind.transform(vector) if isinstance(behind, Headed) else vector
        else:
            vector = encoder(batch)
    return np.asarray(vector[0].float().cpu(), np.float64)


_DEFAULT = "does not put it before a text by itself"
_POOLS = "pools it with the text"
_STOPS = "strips it to nothing and stops with an IndexError"
_TRANSFORMERS = _Loader("plain transformers", _POOLS, _pooled, without_default=True)


def _server(title: str) -> tuple[_Loader, ...]:
    return (_Loader(title, _POOLS, _pooled, without_default=True),)


_GRAPH = (_Loader("a program that gives the attention mask as pool_mask", _POOLS, _pooled, True),)
LOADERS: dict[str, tuple[_Loader, ...]] = {
    "gguf": _server("llama.cpp and Ollama"),
    "ollama": _server("llama.cpp and Ollama"),
    "vllm": _server("vLLM"),
    "tei": _server("TEI"),
    "onnx": _GRAPH,
    "openvino": _GRAPH,
    "llm2vec": (_Loader("llm2vec", "joins it to the text by one blank", _llm2vec, True),),
    "sentence-transformers": (
        _Loader("sentence-transformers 6", "leaves out the tokens of the prompt alone", _counted),
        _Loader(
            "sentence-transformers before 6",
            "strips white space around it",
            _stripped,
            stops=_nothing_left,
        ),
        _TRANSFORMERS,
    ),
}
"""The loaders of each target, in the order in which they are told."""
