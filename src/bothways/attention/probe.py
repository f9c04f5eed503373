"""Measures a loaded model: how it runs plans, and which token really sees which.

Nothing here is looked up by family name. A token "sees" another if changing the other token changes
its state. The whole matrix of such influences is compared with the plan. Library versions and flags
are claims, a perturbation is a proof.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bothways.attention.direction import direction_of
from bothways.attention.interface import NAME, recording
from bothways.attention.plan import AttentionPlan
from bothways.attention.run import Execution, hidden_states
from bothways.attention.stock import (
    INFLUENCE,
    can_set_implementation,
    evaluation_mode,
    set_implementation,
)
from bothways.attention.text_config import text_configs, windowed_layers
from bothways.config import Direction

AGREEMENT = {torch.float64: 1e-6, torch.float32: 1e-2}
"""Relative distance that two ways of running one model may have, as the median over tokens.

In half precision it is 0.3. Rounding grows with depth, and single tokens can be far off (SmolLM2 in
bfloat16, untrained for this direction: median 0.07, worst token 1.8). If a mask does not arrive,
most tokens are off by about 1. The sharp part of the answer is the perturbation.
"""


@dataclass(frozen=True)
class Proof:
    """The result of a perturbation: which token sees which in a packed row of texts.

    Args:
        direction: the direction to prove.
        reach: (T, T) bool. Entry (q, k) is True if changing token k changed the state of token q.
        plan: the row.
        missing: pairs (q, k) that the plan allows but that did not happen.
        leaks: pairs (q, k) that happened although the plan forbids them.
    """

    direction: Direction
    reach: Tensor
    plan: AttentionPlan
    missing: tuple[tuple[int, int], ...]
    leaks: tuple[tuple[int, int], ...]

    @property
    def ok(self) -> bool:
        """True if the model sees exactly the tokens that the plan allows."""
        return not self.missing and not self.leaks

    @property
    def sentence(self) -> str:
        """The first error in plain words, or "" if there is none.

        Tokens count from 1 within their text.
        """
        segment, position = self.plan.segment_ids(), self.plan.position_ids()
        for q, k in self.leaks:
            if segment[q] != segment[k]:
                return f"a token of text {int(segment[q]) + 1} sees a token of its neighbor, text {int(segment[k]) + 1}"
            return f"token {int(position[q]) + 1} sees the later token {int(position[k]) + 1}"
        for q, k in self.missing:
            return f"token {int(position[q]) + 1} does not see token {int(position[k]) + 1}"
        return ""


def measure_execution(model: nn.Module) -> Execution:
    """Measure if the model runs plans itself ("packed") or needs a padded batch ("padded").

    Args:
        model: a bare backbone, switched to its direction. Its attention implementation becomes
            "bothways". If the family does not route its attention through transformers' interface,
            it becomes "eager".
    """
    return explain_execution(model)[0]


def explain_execution(model: nn.Module) -> tuple[Execution, str]:
    """Measure as `measure_execution`, and return the reason in a sentence too."""
    problem = ""
    with evaluation_mode(model):
        set_implementation(model, "eager")
        plan, ids = _sample(model, (7, 4))
        padded = hidden_states(model, ids, plan, "padded")
        if "chunked_attention" in (getattr(next(text_configs(model)), "layer_types", None) or ()):
            problem = "plans do not support chunked attention"
        elif not can_set_implementation(model):
            problem = "its attention is part of its modeling code"
        else:
            set_implementation(model, NAME)
            problem = _packed_problem(model, ids, plan, padded)
        if problem:
            set_implementation(model, "eager")
    return ("padded", problem) if problem else ("packed", "every attention layer ran the plan")


def _packed_problem(model: nn.Module, ids: Tensor, plan: AttentionPlan, padded: Tensor) -> str:
    try:
        with recording() as log:
            packed = hidden_states(model, ids, plan, "packed")
    except Exception as error:
        # A family may fail in any way on a mask that is not a tensor. The padded path then serves.
        return f"its layers compute with their mask, which a plan does not support ({type(error).__name__})"
    layers = next(text_configs(model)).num_hidden_layers
    reached = sum(executed is plan for executed, _ in log)
    if reached < len(log) or reached < layers:
        return f"the plan reached {reached} of {max(len(log), layers)} attention layers"
    off = float(
        (
            (packed - padded).double().norm(dim=-1) / padded.double().norm(dim=-1).clamp_min(1e-12)
        ).median()
    )
    if not off <= AGREEMENT.get(packed.dtype, 0.3):
        return f"packed states differ from padded ones by {off:.1e}"
    return _leak(model, ids, plan, packed)


def _leak(model: nn.Module, ids: Tensor, plan: AttentionPlan, packed: Tensor) -> str:
    """Change the last token of the first text, and describe a wrong effect in a sentence.

    An effect is wrong if a state moves that must not, or does not move although it must.
    """
    last = plan.lengths[0] - 1
    other = ids.clone()
    other[last] = _replacements(model, ids)[last]
    change = (hidden_states(model, other, plan, "packed") - packed).double().norm(
        dim=-1
    ) / packed.double().norm(dim=-1)
    if bool((change[last + 1 :] > INFLUENCE).any()):
        return "packed texts see their neighbors"
    if bool(change[0] > INFLUENCE) != (plan.direction == "bidirectional"):
        return f"a packed text is not {plan.direction}"
    return ""


def reach_matrix(run: Callable[[Tensor], Tensor], ids: Tensor, replacements: Tensor) -> Tensor:
    """Find out which token sees which, by perturbation.

    Args:
        run: maps (T,) token ids to (T, H) states, deterministically.
        ids: (T,) int64.
        replacements: (T,) int64, another token for each position.

    Returns:
        (T, T) bool. Entry (q, k) is True if replacing token k changed the state of token q by more
            than `INFLUENCE`.
    """
    with torch.no_grad():
        base = run(ids).double()
        scale = base.norm(dim=-1).clamp_min(1e-12)
        columns = []
        for k in range(len(ids)):
            changed = ids.clone()
            changed[k] = replacements[k]
            columns.append((run(changed).double() - base).norm(dim=-1) / scale > INFLUENCE)
    return torch.stack(columns, dim=1).cpu()


def prove_direction(
    model: nn.Module,
    execution: Execution,
    direction: Direction,
    *,
    lengths: tuple[int, ...] = (11, 5),
    ids: Tensor | None = None,
) -> Proof:
    """Perturb every token of a packed row, and compare the reactions with the plan.

    If the model keeps a sliding window, pairs farther apart than the window are not judged.

    Args:
        model: a bare backbone.
        execution: how it runs plans.
        direction: the direction to prove.
        lengths: tokens of the texts in the row.
        ids: (T,) token ids. If None, they are drawn at random.
    """
    plan = AttentionPlan(lengths, direction)
    with evaluation_mode(model):
        sample = _sample(model, lengths)[1] if ids is None else ids
        reach = reach_matrix(
            lambda row: hidden_states(model, row, plan, execution),
            sample,
            _replacements(model, sample),
        )
    windows = windowed_layers(next(text_configs(model)))
    allowed = plan.dense()
    required = plan.dense(window=min(windows.values())) if windows else allowed
    missing = [(int(q), int(k)) for q, k in (required & ~reach).nonzero()]
    leaks = [(int(q), int(k)) for q, k in (reach & ~allowed).nonzero()]
    return Proof(direction, reach, plan, tuple(missing), tuple(leaks))


def _sample(model: nn.Module, lengths: tuple[int, ...]) -> tuple[AttentionPlan, Tensor]:
    config = next(text_configs(model))
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    # The first ids are special tokens in many vocabularies, and some families derive positions or
    # masks from them.
    ids = torch.randint(5, config.vocab_size, (sum(lengths),), generator=generator)
    return AttentionPlan(lengths, direction_of(model)), ids.to(device)


def _replacements(model: nn.Module, ids: Tensor) -> Tensor:
    """Choose another token for each position, half the vocabulary away."""
    span: int = next(text_configs(model)).vocab_size - 5
    return 5 + (ids - 5 + span // 2) % span
