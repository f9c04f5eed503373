"""Measurements on a loaded model: which way of running plans it takes, and which token really sees which.

Nothing here is looked up by family name. A token "sees" another when changing the other token changes its state; the whole
matrix of such influences is compared with the plan. Library versions and flags are claims, a perturbation is a proof.
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
from bothways.attention.stock import TOLERANCE, can_set_implementation, distance, quiet, set_implementation
from bothways.attention.text_config import text_configs, windowed_layers
from bothways.config import Direction

INFLUENCE = 1e-5
"""Least relative change of a state that counts as influence. Rounding of a regrouped product (mixtures of experts) stays near 1e-7
in float32; a visible token moves a state by 1e-3 or more; in half precision the smallest step of one element is above it."""


@dataclass(frozen=True)
class Proof:
    """Who sees whom in a packed row of two texts.

    Args:
        direction: what was to be proved.
        reach: (T, T) bool; entry (q, k): changing token k changed the state of token q.
        plan: the row.
        missing: pairs (q, k) that the plan allows and that did not happen.
        leaks: pairs (q, k) that happened and that the plan forbids.
    """

    direction: Direction
    reach: Tensor
    plan: AttentionPlan
    missing: tuple[tuple[int, int], ...]
    leaks: tuple[tuple[int, int], ...]

    @property
    def ok(self) -> bool:
        """Whether the model sees exactly what the plan says."""
        return not self.missing and not self.leaks

    @property
    def sentence(self) -> str:
        """The first thing wrong in plain words, tokens counted from 1 within their text; empty when nothing is."""
        segment, position = self.plan.segment_ids(), self.plan.position_ids()
        for q, k in self.leaks:
            if segment[q] != segment[k]:
                return f"a token of text {int(segment[q]) + 1} sees a token of its neighbour, text {int(segment[k]) + 1}"
            return f"token {int(position[q]) + 1} sees the later token {int(position[k]) + 1}"
        for q, k in self.missing:
            return f"token {int(position[q]) + 1} does not see token {int(position[k]) + 1}"
        return ""


def measure_execution(model: nn.Module) -> Execution:
    """Whether the model runs plans itself ("packed") or needs a padded batch ("padded"); leaves it set up for the answer.

    Args:
        model: a bare backbone whose direction is set. Its attention implementation becomes "bothways" or, where the family does
            not route its attention through transformers' interface, "eager".
    """
    return explain_execution(model)[0]


def explain_execution(model: nn.Module) -> tuple[Execution, str]:
    """As `measure_execution`, with the reason in a sentence."""
    problem = ""
    with quiet(model):
        set_implementation(model, "eager")
        plan, ids = _sample(model, (7, 4))
        padded = hidden_states(model, ids, plan, "padded")
        if "chunked_attention" in (getattr(next(text_configs(model)), "layer_types", None) or ()):
            problem = "plans have no chunked attention"
        elif not can_set_implementation(model):
            problem = "its attention is written inside its modelling code"
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
    except Exception as error:  # a family may fail in any way on a mask that is no tensor; the padded path then serves
        return f"it does not take a plan ({type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''})"
    layers = next(text_configs(model)).num_hidden_layers
    reached = sum(executed is plan for executed, _ in log)
    if reached < len(log) or reached < layers:
        return f"the plan reached {reached} of {max(len(log), layers)} attention layers"
    off = distance(packed, padded)
    if not off <= TOLERANCE[packed.dtype]:
        return f"packed states differ from padded ones by {off:.1e}"
    return ""


def reach_matrix(run: Callable[[Tensor], Tensor], ids: Tensor, replacements: Tensor) -> Tensor:
    """Who sees whom, by perturbation.

    Args:
        run: (T,) token ids → (T, H) states; deterministic.
        ids: (T,) int64.
        replacements: (T,) int64, another token for each place.

    Returns:
        (T, T) bool; entry (q, k): replacing token k changed the state of token q by more than `INFLUENCE`.
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
    model: nn.Module, execution: Execution, direction: Direction, *, lengths: tuple[int, ...] = (11, 5), ids: Tensor | None = None
) -> Proof:
    """Perturb every token of a packed row and compare who reacts with what the plan says.

    A window that was kept is counted out: pairs farther apart than it may or may not be seen.

    Args:
        model: a bare backbone.
        execution: how it runs plans.
        direction: what to prove.
        lengths: tokens of the texts in the row.
        ids: (T,) token ids, any when None.
    """
    plan = AttentionPlan(lengths, direction)
    with quiet(model):
        sample = _sample(model, lengths)[1] if ids is None else ids
        # half the vocabulary away, so that no place keeps its token
        vocabulary = next(text_configs(model)).vocab_size
        replacements = 5 + (sample - 5 + max(1, (vocabulary - 5) // 2)) % max(1, vocabulary - 5)
        reach = reach_matrix(lambda row: hidden_states(model, row, plan, execution), sample, replacements)
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
    # the first ids are special tokens in many vocabularies, and some families read positions or masks off them
    ids = torch.randint(5, config.vocab_size, (sum(lengths),), generator=generator)
    return AttentionPlan(lengths, direction_of(model)), ids.to(device)
