"""Settings of the Hugging Face Trainer that do not change a result, and those that are refused.

Names come from the installed transformers if it has them. Names that newer versions dropped, and
LLM2Vec's own, are written out.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, NamedTuple

from bothways.training.recipe.whole_weights import QUANTIZED, WHOLE

_FORMER = """
    overwrite_output_dir evaluation_strategy per_gpu_train_batch_size per_gpu_eval_batch_size no_cuda use_cpu use_mps_device
    fp16_backend half_precision_backend fp16_opt_level bf16_full_eval fp16_full_eval tpu_num_cores tpu_metrics_debug xpu_backend
    push_to_hub_model_id push_to_hub_organization push_to_hub_token hub_token mp_parameters ray_scope past_index dispatch_batches
    split_batches include_tokens_per_second include_num_input_tokens_seen logging_dir log_on_each_node logging_nan_inf_filter
    save_safetensors save_only_model save_on_each_node dataloader_num_workers dataloader_prefetch_factor local_rank jit_mode_eval
    use_ipex use_legacy_prediction_loop sharded_ddp fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap torchdynamo
    do_train do_eval do_predict remove_unused_columns ddp_find_unused_parameters report_to run_name disable_tqdm group_by_length
    length_column_name include_inputs_for_metrics skip_memory_metrics full_determinism data_seed
    """
"""TrainingArguments of transformers 4.40 to 4.44 (LLM2Vec's versions) that later versions renamed
or removed."""
_LLM2VEC = """
    cache_dir use_fast_tokenizer model_revision token use_auth_token low_cpu_mem_usage overwrite_cache
    preprocessing_num_workers streaming pad_to_max_length validation_split_percentage experiment_id
    """
"""Arguments of LLM2Vec's scripts that steer downloads and preprocessing."""


class RefusedKey(NamedTuple):
    """The supported values of a setting, which need no action, and the advice about others."""

    allowed: tuple[Any, ...]
    advice: str


REFUSED = {
    "optim": RefusedKey(
        ("adamw_torch", "adamw_hf", "adamw_torch_fused", "adamw_apex_fused"),
        "the optimizer is AdamW: use adamw_torch or leave it out",
    ),
    "adafactor": RefusedKey((False, None), "the optimizer is AdamW"),
    "label_smoothing_factor": RefusedKey((0.0, None), "losses are not smoothed: use 0"),
    "neftune_noise_alpha": RefusedKey((None, 0), "embeddings get no noise: leave it out"),
    "deepspeed": RefusedKey(
        (None, ""),
        "leave it out; the launcher reads the file: accelerate launch --use_deepspeed --deepspeed_config_file FILE",
    ),
    "fsdp": RefusedKey(
        (None, "", [], False),
        "leave it out; the launcher shards parameters: accelerate launch --use_fsdp --fsdp_version 2",
    ),
    **{key: RefusedKey((None, False), WHOLE) for key in QUANTIZED},
    "trust_remote_code": RefusedKey((False, None), "code from model repositories is never run"),
    "tokenizer_name": RefusedKey((None,), "the tokenizer is the base model's"),
    "config_name": RefusedKey((None,), "the config is the base model's"),
    "config_overrides": RefusedKey((None,), "models are not trained from scratch"),
    "model_type": RefusedKey(
        (None,), "models are not trained from scratch; give model_name_or_path"
    ),
    "load_best_model_at_end": RefusedKey(
        (False, None), "use a dev metric: --set stages.*.eval={metric: sts:FILE, every: 100}"
    ),
}
"""Settings that would change the result."""


@lru_cache(maxsize=1)
def trainer_only() -> frozenset[str]:
    """Return the names that are known and have no meaning here."""
    from transformers import TrainingArguments

    return (
        frozenset(field.name for field in dataclasses.fields(TrainingArguments))
        | set(_FORMER.split())
        | set(_LLM2VEC.split())
    )
