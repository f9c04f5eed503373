"""Finds the mistakes of later stages before the first one trains for hours.

Each later stage is tried on the encoder that is open already: its data, its objective, its dropout,
the layers of its adapter. Mistakes that only show on its own start, such as a pooling that is
trained before it, are found later.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bothways.backbone.adapter.targets import target_names, whole_names
from bothways.data.labeled.example import Example
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.objectives.contrastive import Contrastive, ContrastiveConfig
from bothways.objectives.supervised import SupervisedConfig
from bothways.training.recipe.stage_config import Stage
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import GivenTexts, read_stage_data
from bothways.training.stage.stage_order import stage_order


def check_later(
    first: StageContext, encoder: Encoder, given: GivenTexts, *, processes: int
) -> None:
    """Check the stages after `first`.

    Args:
        first: the stage that trains next.
        encoder: opened for it. It is unchanged afterwards.
        given: data in memory, in place of the recipe's.
        processes: number of processes of the run.

    Raises:
        InputError: if a stage cannot run. The message starts with its name.
        SourceError: if data cannot be found.
    """
    for context in StageContext.all_of(first.recipe, first.out)[first.index + 1 :]:
        stage = context.stage
        data = read_stage_data(stage, given)
        check_negatives(stage, data.items)
        if isinstance(stage.objective, (ContrastiveConfig, SupervisedConfig)):
            # Each text or row is one example, so the number of steps is known.
            if data.stream is None:
                stage_order(context, data.groups_of(len(data.items)), processes)
            _try_objective(stage, encoder, data.items)
        if stage.adapter is not None:
            target_names(encoder.backbone, stage.adapter)
            whole_names(encoder.backbone, stage.adapter)


def check_negatives(stage: Stage, items: Sequence[object]) -> None:
    """Refuse labeled rows that all lack negatives, if a row gets none from its batch either.

    The loss would be 0 at every step.

    Raises:
        InputError: see above.
    """
    objective = stage.objective
    if (
        not isinstance(objective, SupervisedConfig)
        or stage.refresh is not None
        or stage.data.mine is not None
    ):
        return
    if objective.in_batch and stage.batch.size > 1:
        return
    if items and not any(item.negatives for item in items if isinstance(item, Example)):
        why = "objective.in_batch is false" if not objective.in_batch else "batch.size is 1"
        raise InputError(
            f"stages.{stage.name}: no row of the data has a negative and {why}, so the loss would be 0; give rows with negatives "
            "(bothways mine), or set objective.in_batch to true and batch.size to 2 or more"
        )


def _try_objective(stage: Stage, encoder: Encoder, items: Sequence[object]) -> None:
    """Build the objective on the encoder, check that its views can differ, and remove it."""
    training = encoder.training
    with torch.random.fork_rng(devices=[]):  # a layer that only training has draws its weights
        objective = stage.objective.build(encoder)
        try:
            # Two items that differ. The whole data must have such a pair.
            other = next((item for item in items if item != items[0]), items[-1])
            objective.prepare([items[0], other], encoder)  # type: ignore[list-item]
            if isinstance(objective, Contrastive) and (
                stage.adapter is None or stage.adapter.dropout == 0
            ):
                encoder.train()
                objective.check(encoder)
        except InputError as error:
            raise InputError(f"stages.{stage.name}: {error}") from None
        finally:
            objective.release()
            encoder.train(training)
