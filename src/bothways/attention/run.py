"""Runs a backbone of any family on a packed row: (T,) token ids and a plan in, (T, H) states out.

Families that call transformers' attention interface run the plan itself. The others (with attention
in their own modeling file: GPT-J, BLOOM, Falcon, …) get the same texts as a right-padded batch, and
their states are packed again afterwards. This is slower, with the same numbers.
`probe.measure_execution` measures once which way a model needs. It is never looked up by name.

Two patterns are decided here. Shifted groups belong to training: in evaluation mode attention is
full even if the plan has groups (LongLoRA, arXiv 2309.12307), unless they are marked `at_test`. In
a padded batch, hidden blocks become texts of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bothways.attention import blocks
from bothways.attention.all_modules import all_modules
from bothways.attention.interface import using
from bothways.attention.plan import AttentionPlan
from bothways.attention.text_config import text_configs
from bothways.attention.text_rope import fresh_rope, passes_of, rope_of_each_text
from bothways.config import PooledLayers
from bothways.errors import UnsupportedFamily

Execution = Literal["packed", "padded"]


class DecoderOutput(Protocol):
    """What a transformers decoder returns. Families add other values to it."""

    last_hidden_state: Tensor


def hidden_states(
    model: nn.Module,
    input_ids: Tensor,
    plan: AttentionPlan,
    execution: Execution = "packed",
    layers: PooledLayers = "last",
) -> Tensor:
    """Compute the hidden states of a packed row.

    Args:
        model: a bare transformers backbone (possibly with adapters), configured for
            `plan.direction`.
        input_ids: (T,) int64.
        plan: segments of the row, and their pattern.
        execution: "packed" runs the plan. "padded" unpacks to a batch (S, longest) and packs the
            result again.
        layers: "last", or "first_last", see `of_layers`.

    Returns:
        (T, H) in the model's dtype; of "first_last" in float32.

    Raises:
        UnsupportedFamily: if the execution is "padded", and the plan has shifted groups in training
            or hidden blocks in a bidirectional text. Also if `layers` needs the states of the first
            layer and the family does not give them.
    """
    if plan.shifted is not None and not (model.training or plan.shifted.at_test):
        plan = plan.full
    if execution == "padded":
        return _padded(model, input_ids, plan, layers)
    return of_layers(
        model, _packed(model, input_ids, plan, use_cache=False, **states_argument(layers)), layers
    )[0]


def states_argument(layers: PooledLayers) -> dict[str, bool]:
    """Give the argument by which a model returns the states that `of_layers` needs."""
    return {"output_hidden_states": True} if layers == "first_last" else {}


def of_layers(model: nn.Module, output: DecoderOutput, layers: PooledLayers) -> Tensor:
    """Take the states (B, L, H) that a pooling reads from what a transformers model returned.

    "first_last" is (hidden_states[1] + hidden_states[-1]) / 2, in float32. transformers counts the
    embeddings as hidden_states[0]. So [1] is what the first layer gives, without a final norm, and
    [-1] is the last layer's, behind the final norm. SimCSE's code takes these two for
    "avg_first_last" (princeton-nlp/SimCSE @206d7ae, evaluation.py; [0] before its issue 133), and
    so does BERT-whitening's for "first-last-avg".

    Raises:
        UnsupportedFamily: if the model does not give the states of its first layer for each token.
    """
    last: Tensor = output.last_hidden_state
    if layers == "last":
        return last
    every: Sequence[Tensor] | None = getattr(output, "hidden_states", None)
    if every is None or len(every) < 2 or every[1].shape != last.shape:
        raise UnsupportedFamily(
            f"{next(text_configs(model)).model_type}: first_last_avg pooling needs the states of the first layer, and this family's code "
            "does not give them; choose another pooling"
        )
    return (every[1].float() + last.float()) / 2


def prefill(model: nn.Module, input_ids: Tensor) -> DecoderOutput:
    """Run one causal text under a plan, and keep its keys and values to continue from.

    Args:
        model: as for `hidden_states`, with execution "packed".
        input_ids: (T,) int64.

    Returns:
        transformers' output: `last_hidden_state` (1, T, H) and, for most families,
            `past_key_values`.
    """
    return _packed(model, input_ids, AttentionPlan((len(input_ids),), "causal"), use_cache=True)


def _packed(
    model: nn.Module, input_ids: Tensor, plan: AttentionPlan, *, use_cache: bool, **options: bool
) -> DecoderOutput:
    positions = plan.position_ids(input_ids.device) + position_offset(model)
    with using(plan), rope_of_each_text(model, plan.lengths):
        output: DecoderOutput = model(
            input_ids=input_ids[None], position_ids=positions[None], use_cache=use_cache, **options
        )
    return output


def position_offset(model: nn.Module) -> int:
    """Return the first position of a text.

    It is 0, but padding_idx + 1 in families derived from RoBERTa. Their learned table keeps rows
    for padding.
    """
    for module in all_modules(model):
        table = module._modules.get("position_embeddings")
        if isinstance(table, nn.Embedding):
            return 0 if table.padding_idx is None else table.padding_idx + 1
    return 0


def _padded(
    model: nn.Module, input_ids: Tensor, plan: AttentionPlan, layers: PooledLayers = "last"
) -> Tensor:
    if plan.shifted is not None:
        raise _unsupported(model, "shifted groups cannot be trained")
    if plan.blocks:
        if plan.direction != "causal":
            raise _unsupported(model, "a bidirectional text cannot be made blind to hidden blocks")
        unfolded = blocks.unfold(plan.lengths, plan.blocks, input_ids.device)
        return _padded(
            model, input_ids[unfolded.source], AttentionPlan(unfolded.lengths, "causal"), layers
        )[unfolded.place]
    texts = list(input_ids.split(plan.lengths))
    passes = passes_of(model, plan.lengths)
    if len(passes) == 1:
        return torch.cat(_padded_texts(model, texts, layers))
    found: list[Tensor] = [input_ids] * len(texts)
    for numbers in passes:
        states = _padded_texts(model, [texts[number] for number in numbers], layers)
        for number, each in zip(numbers, states):
            found[number] = each
    return torch.cat(found)


def _padded_texts(model: nn.Module, texts: Sequence[Tensor], layers: PooledLayers) -> list[Tensor]:
    """Compute the states of texts, each (L, H), in one padded batch."""
    sizes = [len(text) for text in texts]
    rows = pad_sequence(list(texts), batch_first=True)
    lengths = torch.tensor(sizes, device=rows.device)
    mask = torch.arange(rows.shape[1], device=rows.device)[None] < lengths[:, None]
    # The family counts positions itself. Some do not accept position_ids (BLOOM's alibi), and with
    # right padding their own count is right.
    with fresh_rope(model):
        output = model(
            input_ids=rows, attention_mask=mask.long(), use_cache=False, **states_argument(layers)
        )
    return list(of_layers(model, output, layers)[mask].split(sizes))


def _unsupported(model: nn.Module, what: str) -> UnsupportedFamily:
    family = next(text_configs(model)).model_type
    return UnsupportedFamily(
        f"{family}: {what}, because this family's own attention code runs padded batches and cannot run a plan"
    )
