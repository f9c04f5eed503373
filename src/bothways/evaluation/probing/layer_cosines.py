"""How much the switch to bidirectional attention changes the hidden states: layer × token cosines.

This is LLM2Vec's analysis of untrained models (arXiv 2404.05961, section 5.2). The same text goes
through the same weights, once causally and once bidirectionally. The result is the cosine of the
two states of each token after each layer. It is near 1 throughout for Mistral-7B and low for the
Llamas, in line with how much each suffers from the switch before MNTP. Letters: L layers, T tokens,
H hidden.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from bothways.attention.direction import set_direction
from bothways.attention.interface import using
from bothways.attention.probe import measure_execution
from bothways.attention.run import position_offset
from bothways.attention.stock import evaluation_mode
from bothways.attention.text_config import text_configs
from bothways.config import Direction
from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError


def layer_cosines(base: Encoder | str | os.PathLike[str], texts: str | Sequence[str]) -> np.ndarray:
    """Compute the cosine of causal and bidirectional states for each layer and token.

    Args:
        base: an encoder of either direction, or the name of a base model.
        texts: one text or several. Each is run by itself, cut at the encoder's `max_length`.

    Returns:
        (L, T) float64, with the tokens of all texts one after the other. Row l is the output of
        layer l + 1. The last row is taken after the final norm, as transformers returns it.

    Raises:
        InputError: if there are no texts, or if states are not finite.
        UnsupportedFamily: if the backbone cannot run in both directions.
    """
    if not isinstance(base, Encoder):
        from bothways.encoder.convert import convert

        base = convert(base)
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts:
        raise InputError("layer cosines need at least one text")
    return np.concatenate([row_cosines(base, row) for row in base.tokenize(texts)], axis=1)


def row_cosines(encoder: Encoder, row: TokenRow) -> np.ndarray:
    """Compute the cosines (L, T) of one tokenized text, see `layer_cosines`."""
    with running(encoder, "causal"):
        causal = layer_states(encoder, row)
    with running(encoder, "bidirectional"):
        both = layer_states(encoder, row)
    found = torch.stack(
        [
            torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1)
            for a, b in zip(causal, both)
        ]
    )
    if not bool(torch.isfinite(found).all()):
        raise InputError("layer cosines: the model's states are not finite; use a wider dtype")
    return found.cpu().numpy()


def layer_states(encoder: Encoder, row: TokenRow) -> list[Tensor]:
    """Compute the states (T, H) of one text after each of the L layers.

    The encoder runs in its present direction.
    """
    batch = encoder.pack([row]).to(encoder.device)
    ids = batch.input_ids[None]
    with evaluation_mode(encoder):
        if encoder.execution == "packed":
            positions = batch.plan.position_ids(ids.device) + position_offset(encoder.backbone)
            with using(batch.plan):
                out = encoder.backbone(
                    input_ids=ids,
                    position_ids=positions[None],
                    use_cache=False,
                    output_hidden_states=True,
                )
        else:
            out = encoder.backbone(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                use_cache=False,
                output_hidden_states=True,
            )
    # leave out the embeddings, which do not depend on the direction
    return [states[0] for states in out.hidden_states[1:]]


@contextmanager
def running(encoder: Encoder, direction: Direction) -> Iterator[None]:
    """Run the encoder's backbone in `direction` inside the block.

    Afterwards its direction, configuration and execution are restored. For the bidirectional run of
    a causal encoder its windows are lifted, as `convert` does. A bidirectional encoder that keeps
    its windows has them again afterwards.

    Raises:
        UnsupportedFamily: if the backbone is encoder-only and cannot run causally.
    """
    if encoder.direction == direction:
        yield
        return
    model = encoder.backbone
    before, execution = encoder.direction, encoder.execution
    # A causal model reports the windows of its training as kept, but nobody chose to keep them.
    kept = encoder.direction == "bidirectional" and (encoder.provenance.get("report") or {}).get(
        "kept_windows"
    )
    windows = "keep" if kept else "lift"
    fields = [(config, dict(vars(config))) for config in text_configs(model)]
    try:
        set_direction(model, direction, windows=windows)
        encoder.direction, encoder.execution = direction, measure_execution(model)
        yield
    finally:
        set_direction(model, before, windows=windows)
        measure_execution(model)  # this restores the attention implementation
        encoder.direction, encoder.execution = before, execution
        for config, values in fields:
            vars(config).clear()
            vars(config).update(values)
