"""The masking that LLM2Vec published per model, as data.

LLM2Vec (arXiv 2404.05961, §3.1 and appendix) searched probabilities {20, 40, 60, 80, 90} % × {BERT,
RoBERTa style} on SICK-R for each base model, and released the results in its train_configs/mntp.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from bothways.backbone.origin import origin
from bothways.objectives.masking import MaskStyle, MaskToken


@dataclass(frozen=True)
class PublishedMasking:
    """Masking of one published MNTP run.

    Args:
        match: a part of the base's name or transformers model type, in lower case.
        probability: probability that a token becomes a label.
        style: see `masking.mask_tokens`.
        mask_token: see `masking.mask_token_id`.
        source: place of publication.
    """

    match: str
    probability: float
    style: MaskStyle
    mask_token: MaskToken
    source: str


_CONFIGS = "McGill-NLP/llm2vec @312adcf, train_configs/mntp"

SEQUENCE_LEVEL = (
    PublishedMasking(
        "mistral", 0.8, "all_mask", "blank", f"{_CONFIGS}/Mistral.json (Mistral-7B-Instruct-v0.2)"
    ),
    PublishedMasking(
        "sheared-llama", 0.2, "bert", "blank", f"{_CONFIGS}/Sheared-Llama.json (Sheared-LLaMA-1.3B)"
    ),
    PublishedMasking(
        "llama",
        0.2,
        "bert",
        "blank",
        f"{_CONFIGS} (Llama-2-7b-chat, Meta-Llama-3-8B-Instruct and 3.1)",
    ),
)
WORD_LEVEL = (
    PublishedMasking(
        "mistral",
        0.2,
        "bert",
        "blank",
        "arXiv 2404.05961, word-level tasks: Mistral-7B with 20 %, BERT style",
    ),
    *SEQUENCE_LEVEL[1:],
)


def published_masking(
    model: str | os.PathLike[str], *, word_level: bool = False
) -> PublishedMasking | None:
    """Find the masking published for a model, by the name of its base or by its family.

    For example, `published_masking("mistralai/Mistral-7B-v0.1").probability` is 0.8.

    Args:
        model: hub id, folder or transformers model type, for example
            "mistralai/Mistral-7B-Instruct-v0.2", "out/mntp", "llama". Only the last part of a path
            counts, and the family in the folder's config.json has priority: a Llama under
            runs/mistral/ is a Llama.
        word_level: use the variant of the paper's word-level tasks (chunking, NER, POS).

    Returns:
        The first match, or None if the family has no published run.
    """
    found = origin(model)
    names = (found.short, found.model_type) if found.stated else (found.model_type, found.short)
    table = WORD_LEVEL if word_level else SEQUENCE_LEVEL
    for name in names:
        entry = next(
            (entry for entry in table if name is not None and entry.match in name.lower()), None
        )
        if entry is not None or (name is not None and not found.stated):
            return entry
    return None
