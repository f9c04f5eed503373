"""The stage of a recipe that an LLM2Vec configuration describes, one function per script."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bothways.errors import InputError
from bothways.training.recipe.llm2vec_e5 import e5_data, holds_e5
from bothways.training.recipe.llm2vec_keys import MntpKeys, SimcseKeys, SupervisedKeys

if TYPE_CHECKING:
    pass

log = logging.getLogger("bothways")

OWNERS = {"wikitext": "Salesforce/wikitext"}
"""Hub datasets by the short names that they had before the hub required an owner."""
COLLATORS = {"default": "bert", "all_mask": "all_mask"}


def _mntp_stage(config: MntpKeys, where: str, data: tuple[str, ...] | None) -> dict[str, Any]:
    sources, validation = data, None
    if config.validation_file is not None:
        validation = config.validation_file
    if sources is None and config.dataset_name is not None:
        hub = _hub(config.dataset_name, config.dataset_config_name)
        sources, validation = (f"{hub}/train",), validation or f"{hub}/validation"
    elif sources is None and config.train_file is not None:
        sources = (config.train_file,)
    if sources is None:
        raise InputError(f"{where}: no training text; give dataset_name, train_file or --data")
    objective = {
        "kind": "mntp",
        "mask_probability": config.mlm_probability,
        "mask_token": config.mask_token_type,
        "style": COLLATORS[config.data_collator_type],
        # If no length is given, the script cuts rows at the tokenizer's limit, at most 1024.
        "row_length": config.max_seq_length or 1024,
    }
    stage = _stage(config, objective, sources)
    # The limit counts packed rows here, but texts in the other scripts.
    stage["data"] = {"source": list(sources), "rows": config.max_train_samples}
    return stage | _held_out(config, validation, where)


def _held_out(config: MntpKeys, validation: str | None, where: str) -> dict[str, Any]:
    """Return the held-out data of a stage: a file, or the first percent of the training texts.

    run_mntp.py divides the texts in the same way.
    """
    strategy = config.eval_strategy or config.evaluation_strategy or "no"
    asked = strategy != "no" or config.do_eval
    share = config.validation_split_percentage / 100
    if not asked or (validation is None and not share):
        return {}
    if strategy == "epoch":
        log.info(
            "%s: evaluation_strategy epoch: the loss is read only after the last step; use steps to read it more often",
            where,
        )
    # With do_eval alone the loss is read at the end, and the last step always does that.
    end = config.max_steps if config.max_steps > 0 else config.stop_after_n_steps or 10**9
    every = (config.eval_steps or config.logging_steps) if strategy == "steps" else end
    texts: dict[str, Any] = (
        {"share": share} if validation is None else {"data": {"source": [validation]}}
    )
    return {"heldout": {**texts, "every": every, "limit": config.max_eval_samples}}


def _simcse_stage(config: SimcseKeys, where: str, data: tuple[str, ...] | None) -> dict[str, Any]:
    if config.dataset_name not in (None, "Wiki1M") and data is None:
        raise InputError(
            f"{where}: dataset_name: simcse reads one text per line ('Wiki1M'), not "
            f"{config.dataset_name!r}; a supervised configuration reads 'E5', "
            "and has no simcse_dropout"
        )
    if data is None and config.dataset_file_path is None:
        raise InputError(f"{where}: no training text; give dataset_file_path or --data")
    objective = {
        "kind": "contrastive",
        "scale": config.loss_scale,
        "attention_dropout": config.simcse_dropout,
        # Unlike run_supervised.py, run_simcse.py trains on bare texts.
        "plain": True,
        # LLM2Vec's own limit if no length is given
        "max_length": config.max_seq_length or 512,
    }
    return _stage(config, objective, data or (str(config.dataset_file_path),))


def _supervised_stage(
    config: SupervisedKeys, where: str, data: tuple[str, ...] | None
) -> dict[str, Any]:
    if data is None and config.dataset_file_path is None:
        raise InputError(
            f"{where}: no labeled rows; give dataset_file_path, the folder of the E5 portion, or --data"
        )
    given = data[0] if data is not None and len(data) == 1 and holds_e5(data[0]) else None
    folder = config.dataset_file_path if data is None else given
    objective = {
        "kind": "supervised",
        "scale": config.loss_scale,
        "max_length": config.max_seq_length or 512,
        "negatives": 1,
        # HardNegativeNLLLoss masks nothing. Here, known answers are never negatives.
    }
    stage = _stage(config, objective, data or ())
    if folder is not None:
        stage["data"] = e5_data(folder, limit=config.max_train_samples, where=where)
    else:
        stage["data"]["batches"] = "homogeneous"
    return stage


STAGES: dict[str, Callable[[Any, str, tuple[str, ...] | None], dict[str, Any]]] = {
    "mntp": _mntp_stage,
    "simcse": _simcse_stage,
    "supervised": _supervised_stage,
}
"""For each script, the function that makes its stage."""


def _stage(
    config: MntpKeys | SimcseKeys | SupervisedKeys,
    objective: dict[str, Any],
    sources: tuple[str, ...],
) -> dict[str, Any]:
    horizon = (
        {"steps": config.max_steps} if config.max_steps > 0 else {"epochs": config.num_train_epochs}
    )
    # In the Trainer, warmup_steps overrides warmup_ratio, and "constant" has no warm-up.
    warm = config.lr_scheduler_type != "constant"
    return {
        "objective": objective,
        "data": {"source": list(sources), "limit": config.max_train_samples},
        "batch": {
            "size": config.per_device_train_batch_size,
            "accumulation": config.gradient_accumulation_steps,
        },
        "optim": {
            "lr": config.learning_rate,
            "weight_decay": config.weight_decay,
            "betas": [config.adam_beta1, config.adam_beta2],
            "eps": config.adam_epsilon,
            "schedule": config.lr_scheduler_type.removesuffix("_with_warmup"),
            "warmup_steps": config.warmup_steps if warm else 0,
            "warmup_ratio": config.warmup_ratio if warm and not config.warmup_steps else 0.0,
            # To the Trainer, 0 means no clipping.
            "clip_norm": config.max_grad_norm or None,
            "stop_after_steps": config.stop_after_n_steps,
            **horizon,
        },
        # alpha = 2 r in all scripts
        "adapter": {"r": config.lora_r, "alpha": 2 * config.lora_r, "dropout": config.lora_dropout},
        "gradient_checkpointing": config.gradient_checkpointing,
        "save_every": config.save_steps if config.save_strategy == "steps" else None,
        "log_every": config.logging_steps,
    }


def _hub(name: str, config: str | None) -> str:
    return f"{OWNERS.get(name, name)}:{config or 'default'}"
