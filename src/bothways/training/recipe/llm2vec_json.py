"""LLM2Vec's own train configurations (train_configs/mntp/*.json, simcse/*.json, supervised/*.json) as recipes, as they are.

It stands apart because it is a translation between two vocabularies. Three kinds of keys: those with a meaning here; those that only
steer the Hugging Face Trainer (named once in a log line); and everything else, refused with the nearest name. A key that is absent
has the value it would have had there: LLM2Vec's own defaults (experiments/run_mntp.py, run_simcse.py, run_supervised.py) and
transformers' TrainingArguments.

Source of names and defaults: McGill-NLP/llm2vec @312adcf.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field

from bothways.backbone.adapter.adapter_files import fingerprint, local_adapter, merged_in
from bothways.backbone.origin import origin
from bothways.config import Strict, parse
from bothways.encoder.folder.llm2vec_texts import JOINT, text_wrapper
from bothways.errors import InputError
from bothways.objectives.masking import MASK
from bothways.training.recipe.llm2vec_e5 import e5_data, holds_e5
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.trainer_keys import REFUSED, trainer_only

log = logging.getLogger("bothways")

Kind = Literal["mntp", "simcse", "supervised"]

#: Keys by which the mntp script is told from the other two, which do not know them; and the keys that those two share.
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
SIMCSE_KEYS = frozenset(
    {
        "simcse_dropout",  # of simcse alone
        "loss_scale",
        "loss_class",
        "dataset_file_path",
        "pooling_mode",
        "bidirectional",
        "peft_model_name_or_path",
    }
)
#: Keys of the word-level probe, see `training.llm2vec_words`.
WORD_KEYS = frozenset(
    {"model_class", "classifier_dropout", "merge_subwords", "retroactive_labels", "task", "cls_addr", "peft_addr"}
)

#: Hub datasets by the short names they had before the hub wanted an owner.
OWNERS = {"wikitext": "Salesforce/wikitext"}
COLLATORS = {"default": "bert", "all_mask": "all_mask"}
POOLINGS = {"mean": "mean", "weighted_mean": "weighted_mean", "eos_token": "eos", "bos_token": "bos", "last_token": "last"}


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


class _Mntp(Common):
    """experiments/run_mntp.py."""

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


class _Supervised(Common):
    """experiments/run_supervised.py."""

    peft_model_name_or_path: str | None = None
    bidirectional: bool = False
    pooling_mode: Literal["mean", "weighted_mean", "eos_token", "bos_token", "last_token"] = "mean"
    dataset_name: str | None = None
    dataset_file_path: str | None = None
    loss_scale: float = Field(default=50.0, gt=0)
    loss_class: Literal["HardNegativeNLLLoss"] = "HardNegativeNLLLoss"


class _Simcse(_Supervised):
    """experiments/run_simcse.py."""

    simcse_dropout: float = Field(default=0.1, ge=0, lt=1)


_KEYS: dict[str, type[Common]] = {"mntp": _Mntp, "simcse": _Simcse, "supervised": _Supervised}


def is_llm2vec(values: Mapping[str, Any]) -> bool:
    """Whether a JSON mapping is one of LLM2Vec's configurations rather than a recipe."""
    return "stages" not in values and bool(
        values.keys() & (MNTP_KEYS | SIMCSE_KEYS | WORD_KEYS | {"model_name_or_path", "output_dir"})
    )


def recipe_of(values: Mapping[str, Any], *, where: str, base: str | None = None, data: tuple[str, ...] | None = None) -> Recipe:
    """A recipe of one stage, with the numbers of an LLM2Vec configuration.

    Args:
        values: the JSON object.
        where: its file name, for messages.
        base: in place of model_name_or_path (and of the adapter that belongs to it).
        data: training texts or labelled rows in place of the configuration's.

    Raises:
        InputError: not one of the three scripts' configurations, an unknown key, or a value that does not fit.
    """
    kind = _recognise(values, where)
    ours, ignored = sort_keys(values, _KEYS[kind], where)
    if ignored:
        log.info("%s: no meaning here, left aside: %s", where, ", ".join(sorted(ignored)))
    config: Any = parse(_KEYS[kind], ours, where=where)
    if config.attn_implementation != "sdpa" or config.torch_dtype == "float16":
        log.info(
            "%s: attention runs through this library's own kernel (attn_implementation %s)%s",
            where,
            config.attn_implementation,
            "; torch_dtype float16 needs loss scaling, so dtype auto is used" if config.torch_dtype == "float16" else "",
        )
    start = base or config.model_name_or_path
    if start is None:
        raise InputError(f"{where}: model_name_or_path is missing; name the base model there or with --base")
    stage = _STAGES[kind](config, where, data)
    recipe: dict[str, Any] = {
        "name": f"llm2vec-{kind}",
        "base": start,
        "dtype": "auto" if config.torch_dtype == "float16" else config.torch_dtype,
        "seed": config.seed,
        "stages": [{**stage, "name": kind}],
    }
    if config.save_total_limit is not None:
        recipe["keep_checkpoints"] = config.save_total_limit
    if kind == "mntp" and config.mask_token_type == "mask":
        recipe["new_tokens"] = [MASK]
    if kind != "mntp":
        recipe |= {
            "direction": "bidirectional" if config.bidirectional else "causal",
            "pooling": POOLINGS[config.pooling_mode],
            # the adapter was trained on the configuration's own base
            "base_adapter": _adapter_over(base, config.peft_model_name_or_path, where),
        }
    recipe |= _texts_of(start, getattr(config, "pooling_mode", "mean"))
    return Recipe.from_values(recipe, where=where)


def _adapter_over(base: str | None, adapter: str | None, where: str) -> str | None:
    """The configuration's adapter, unless another base was given that it does not belong to or that holds it already."""
    if base is None or adapter is None:
        return adapter
    folder = local_adapter(adapter)
    if fingerprint(folder) in merged_in(base):
        log.info("%s: peft_model_name_or_path %s is merged in %s already", where, adapter, base)
        return None
    named, given = origin(folder), origin(base)
    if folder.is_dir() and (named.name, named.stated) == (given.name, given.stated):
        return adapter
    log.info("%s: peft_model_name_or_path %s belongs to the replaced base and is left out", where, adapter)
    return None


def _texts_of(base: str, pooling: str) -> dict[str, Any]:
    """What `LLM2Vec.from_pretrained` does with a text, whatever the stage was: chat wrapper, EOS for eos_token, BOS is not pooled."""
    plain = text_wrapper(base)
    around = text_wrapper(base, eos=pooling == "eos_token")
    # the family of a hub id is not known before the model is read; the tokenizer's EOS is the same token for all published bases
    unknown = pooling == "eos_token" and around == plain and not plain.suffix.endswith("<|eot_id|>")
    return {
        "wrapper": [around.prefix, around.suffix] if around.prefix or around.suffix else None,
        "joint": JOINT,
        "add_eos": unknown or None,
        "pool_bos": pooling == "bos_token",
    }


def _recognise(values: Mapping[str, Any], where: str) -> Kind:
    mntp, simcse = values.keys() & MNTP_KEYS, values.keys() & SIMCSE_KEYS
    if values.keys() & WORD_KEYS:
        raise InputError(
            f"{where}: a configuration of LLM2Vec's word-level probe, which trains no encoder; on the command line: bothways train "
            f"{where} --data FOLDER, with train.txt, dev.txt and test.txt of CoNLL-2003"
        )
    if mntp and simcse:
        raise InputError(f"{where}: mixes keys of mntp ({', '.join(sorted(mntp))}) and simcse ({', '.join(sorted(simcse))})")
    if not mntp and not simcse:
        raise InputError(
            f"{where}: neither an mntp nor a simcse or supervised configuration (none of mlm_probability, simcse_dropout, … is there)"
        )
    if mntp:
        return "mntp"
    return "supervised" if "simcse_dropout" not in values and values.get("dataset_name") == "E5" else "simcse"


def sort_keys(values: Mapping[str, Any], known: type[Strict], where: str) -> tuple[dict[str, Any], list[str]]:
    """Keys with a meaning here, and names of those that have one for the Trainer only.

    Raises:
        InputError: a key of neither kind, or a Trainer setting that would change the result and cannot be honoured.
    """
    ours, ignored = {}, []
    others = trainer_only()
    for key, value in values.items():
        if key in known.model_fields:
            ours[key] = value
        elif key in REFUSED:
            if value not in REFUSED[key].allowed:
                raise InputError(f"{where}: {key}: {value!r} cannot be honoured; {REFUSED[key].advice}")
            ignored.append(key)
        elif key in others:
            ignored.append(key)
        else:
            near = difflib.get_close_matches(key, [*known.model_fields, *sorted(others)], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{where}: unknown key {key!r}{hint}")
    return ours, ignored


def _mntp_stage(config: _Mntp, where: str, data: tuple[str, ...] | None) -> dict[str, Any]:
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
        # the script cuts rows at the tokenizer's limit, at most 1024, when no length is given
        "row_length": config.max_seq_length or 1024,
    }
    stage = _stage(config, objective, sources)
    # first rows, where the other scripts' are texts
    stage["data"] = {"source": list(sources), "rows": config.max_train_samples}
    return stage | _held_out(config, validation, where)


def _held_out(config: _Mntp, validation: str | None, where: str) -> dict[str, Any]:
    """The held-out texts of a stage: a file, or the first percent of the training texts, as run_mntp.py divides them."""
    strategy = config.eval_strategy or config.evaluation_strategy or "no"
    asked = strategy != "no" or config.do_eval
    share = config.validation_split_percentage / 100
    if not asked or (validation is None and not share):
        return {}
    if strategy == "epoch":
        log.info("%s: evaluation_strategy epoch: the loss is read after the last step alone; use steps for more", where)
    # do_eval alone reads the loss at the end, which the last step always does
    end = config.max_steps if config.max_steps > 0 else config.stop_after_n_steps or 10**9
    every = (config.eval_steps or config.logging_steps) if strategy == "steps" else end
    texts: dict[str, Any] = {"share": share} if validation is None else {"data": {"source": [validation]}}
    return {"heldout": {**texts, "every": every, "limit": config.max_eval_samples}}


def _simcse_stage(config: _Simcse, where: str, data: tuple[str, ...] | None) -> dict[str, Any]:
    if config.dataset_name not in (None, "Wiki1M") and data is None:
        raise InputError(
            f"{where}: dataset_name: simcse reads one text per line ('Wiki1M'), not {config.dataset_name!r}; supervised reads 'E5', "
            "and has no simcse_dropout"
        )
    if data is None and config.dataset_file_path is None:
        raise InputError(f"{where}: no training text; give dataset_file_path or --data")
    objective = {
        "kind": "contrastive",
        "scale": config.loss_scale,
        "attention_dropout": config.simcse_dropout,
        # run_simcse.py, unlike run_supervised.py, trains on bare texts
        "plain": True,
        # LLM2Vec's own limit where no length is given
        "max_length": config.max_seq_length or 512,
    }
    return _stage(config, objective, data or (str(config.dataset_file_path),))


def _supervised_stage(config: _Supervised, where: str, data: tuple[str, ...] | None) -> dict[str, Any]:
    if data is None and config.dataset_file_path is None:
        raise InputError(f"{where}: no labelled rows; give dataset_file_path, the folder of the E5 portion, or --data")
    given = data[0] if data is not None and len(data) == 1 and holds_e5(data[0]) else None
    folder = config.dataset_file_path if data is None else given
    objective = {
        "kind": "supervised",
        "scale": config.loss_scale,
        "max_length": config.max_seq_length or 512,
        "negatives": 1,
        # HardNegativeNLLLoss masks nothing; here known answers are never negatives
    }
    stage = _stage(config, objective, data or ())
    if folder is not None:
        stage["data"] = e5_data(folder, limit=config.max_train_samples, where=where)
    else:
        stage["data"]["batches"] = "homogeneous"
    return stage


_STAGES: dict[str, Callable[[Any, str, tuple[str, ...] | None], dict[str, Any]]] = {
    "mntp": _mntp_stage,
    "simcse": _simcse_stage,
    "supervised": _supervised_stage,
}


def _stage(config: Any, objective: dict[str, Any], sources: tuple[str, ...]) -> dict[str, Any]:
    horizon = {"steps": config.max_steps} if config.max_steps > 0 else {"epochs": config.num_train_epochs}
    # the Trainer lets warmup_steps win over warmup_ratio, and never warms up under "constant"
    warm = config.lr_scheduler_type != "constant"
    return {
        "objective": objective,
        "data": {"source": list(sources), "limit": config.max_train_samples},
        "batch": {"size": config.per_device_train_batch_size, "accumulation": config.gradient_accumulation_steps},
        "optim": {
            "lr": config.learning_rate,
            "weight_decay": config.weight_decay,
            "betas": [config.adam_beta1, config.adam_beta2],
            "eps": config.adam_epsilon,
            "schedule": config.lr_scheduler_type.removesuffix("_with_warmup"),
            "warmup_steps": config.warmup_steps if warm else 0,
            "warmup_ratio": config.warmup_ratio if warm and not config.warmup_steps else 0.0,
            # the Trainer takes 0 as "no clipping"
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
