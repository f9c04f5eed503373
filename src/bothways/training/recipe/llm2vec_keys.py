"""The keys of LLM2Vec's own train configurations, typed, and what becomes of all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from bothways.config import Strict
from bothways.errors import InputError
from bothways.moved import old_names
from bothways.nearest import did_you_mean
from bothways.training.recipe.trainer_keys import REFUSED, trainer_only

ScriptKind = Literal["mntp", "simcse", "supervised"]

MNTP_KEYS = frozenset(
    {
        "mlm_probability",
        "data_collator_type",
        "mask_token_type",
        "dataset_config_name",
        "train_file",
        "validation_file",
        "line_by_line",
        "max_eval_samples",
    }
)
"""Keys of the mntp script alone."""
SIMCSE_KEYS = frozenset(
    {
        "simcse_dropout",  # only of simcse
        "loss_scale",
        "loss_class",
        "dataset_file_path",
        "pooling_mode",
        "bidirectional",
        "peft_model_name_or_path",
    }
)
"""Keys of the simcse and supervised scripts, which the mntp script does not know."""
WORD_KEYS = frozenset(
    {
        "model_class",
        "classifier_dropout",
        "merge_subwords",
        "retroactive_labels",
        "task",
        "cls_addr",
        "peft_addr",
    }
)
"""Keys of the word-level probe, see `llm2vec_words`."""


class Common(Strict):
    """Keys of all scripts."""

    model_name_or_path: str | None = None
    torch_dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa"
    max_seq_length: int | None = Field(default=None, ge=2)
    max_train_samples: int | None = Field(default=None, ge=1)
    lora_r: int = Field(default=8, ge=1)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    stop_after_n_steps: int | None = Field(default=10000, ge=1)
    output_dir: str | None = None
    overwrite_output_dir: bool = False
    per_device_train_batch_size: int = Field(default=8, ge=1)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = Field(default=1e-8, gt=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: int = Field(default=0, ge=0)
    warmup_ratio: float = Field(default=0.0, ge=0, le=1)
    num_train_epochs: float = Field(default=3.0, gt=0)
    max_steps: int = -1
    gradient_checkpointing: bool = False
    evaluation_strategy: Literal["no", "steps", "epoch"] | None = None
    eval_strategy: Literal["no", "steps", "epoch"] | None = None
    eval_steps: int | None = Field(default=None, ge=1)
    save_strategy: Literal["no", "steps", "epoch"] = "steps"
    save_steps: int = Field(default=500, ge=1)
    save_total_limit: int | None = Field(default=None, ge=1)
    logging_steps: int = Field(default=500, ge=1)
    seed: int = Field(default=42, ge=0)


class MntpKeys(Common):
    """Keys of experiments/run_mntp.py."""

    dataset_name: str | None = None
    dataset_config_name: str | None = None
    train_file: str | None = None
    validation_file: str | None = None
    max_eval_samples: int | None = Field(default=None, ge=1)
    validation_split_percentage: int = Field(default=5, ge=0, lt=100)
    do_eval: bool = False
    line_by_line: Literal[False] = False
    mlm_probability: float = Field(default=0.15, gt=0, le=1)
    mask_token_type: Literal["blank", "eos", "mask"] = "blank"
    data_collator_type: Literal["default", "all_mask"] = "default"


class SupervisedKeys(Common):
    """Keys of experiments/run_supervised.py."""

    peft_model_name_or_path: str | None = None
    bidirectional: bool = False
    pooling_mode: Literal["mean", "weighted_mean", "eos_token", "bos_token", "last_token"] = "mean"
    dataset_name: str | None = None
    dataset_file_path: str | None = None
    loss_scale: float = Field(default=50.0, gt=0)
    loss_class: Literal["HardNegativeNLLLoss"] = "HardNegativeNLLLoss"


class SimcseKeys(SupervisedKeys):
    """Keys of experiments/run_simcse.py."""

    simcse_dropout: float = Field(default=0.1, ge=0, lt=1)


SCRIPTS: dict[str, type[Common]] = {
    "mntp": MntpKeys,
    "simcse": SimcseKeys,
    "supervised": SupervisedKeys,
}
"""The keys of each script."""


def is_llm2vec_json(values: Mapping[str, Any]) -> bool:
    """Tell if a JSON mapping is one of LLM2Vec's configurations and not a recipe."""
    return "stages" not in values and bool(
        values.keys() & (MNTP_KEYS | SIMCSE_KEYS | WORD_KEYS | {"model_name_or_path", "output_dir"})
    )


def kind_of(values: Mapping[str, Any], where: str) -> ScriptKind:
    """Tell which script a configuration is for.

    Args:
        values: the JSON object.
        where: its file name, for messages.

    Raises:
        InputError: if it is for none of the three, or mixes their keys.
    """
    mntp, simcse = values.keys() & MNTP_KEYS, values.keys() & SIMCSE_KEYS
    if values.keys() & WORD_KEYS:
        raise InputError(
            f"{where}: is a configuration of LLM2Vec's word-level probe, which does not train an encoder; "
            "type: bothways train "
            f"{where} --data FOLDER, with train.txt, dev.txt and test.txt of CoNLL-2003"
        )
    if mntp and simcse:
        raise InputError(
            f"{where}: mixes keys of mntp ({', '.join(sorted(mntp))}) and simcse ({', '.join(sorted(simcse))})"
        )
    if not mntp and not simcse:
        raise InputError(
            f"{where}: neither an mntp nor a simcse or supervised configuration (none of mlm_probability, "
            "simcse_dropout, … is there)"
        )
    if mntp:
        return "mntp"
    return (
        "supervised"
        if "simcse_dropout" not in values and values.get("dataset_name") == "E5"
        else "simcse"
    )


def sort_keys(
    values: Mapping[str, Any], known: type[Strict], where: str
) -> tuple[dict[str, Any], list[str]]:
    """Separate the keys with a meaning here from those that only the Trainer uses.

    Args:
        values: the JSON object.
        known: the script's keys.
        where: its file name, for messages.

    Returns:
        The values with a meaning here, and the names of the others.

    Raises:
        InputError: if a key is of neither kind, or if a Trainer setting would change the result and
            is not supported.
    """
    ours, ignored = {}, []
    others = trainer_only()
    for key, value in values.items():
        if key in known.model_fields:
            ours[key] = value
        elif key in REFUSED:
            if value not in REFUSED[key].allowed:
                raise InputError(
                    f"{where}: {key}: {value!r} is not supported; {REFUSED[key].advice}"
                )
            ignored.append(key)
        elif key in others:
            ignored.append(key)
        else:
            hint = did_you_mean(key, [*known.model_fields, *sorted(others)])
            raise InputError(f"{where}: unknown key {key!r}{hint}")
    return ours, ignored


__getattr__ = old_names(__name__)
