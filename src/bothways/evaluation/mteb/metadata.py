"""The description of an encoder for mteb, its `ModelMeta`.

Facts are measured if possible, and None if they are unknown. mteb stores results by name, revision
and experiment. The name is not enough here, because every model trained from one base has the same.
So the revision is a fingerprint of the weights, and results of one encoder are never taken for
another's.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from bothways.errors import MissingExtra  # noqa: F401 - raised by load_mteb, named in the docstring below
from bothways.evaluation.mteb.instructions import PromptStyle
from bothways.evaluation.mteb.library import load_mteb
from bothways.evaluation.provenance import describe_encoder

if TYPE_CHECKING:
    from mteb.models import ModelMeta

# Numbers sampled from each weight. A training step changes whole matrices, so a sample shows it.
_SAMPLE = 1024
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


def model_meta(encoder: object, prompts: PromptStyle | None = None) -> ModelMeta:
    """Make the `mteb.ModelMeta` of an encoder.

    Args:
        encoder: ours, a SentenceTransformer, or any object with `encode`.
        prompts: whose task instructions the encoder is run with. They are part of the experiment,
            so that results with and without them are not mixed.

    Raises:
        MissingExtra: if mteb is not installed.
    """
    mteb = load_mteb()
    facts = describe_encoder(encoder)
    base = facts.get("name")
    ours = hasattr(encoder, "backbone")
    function = getattr(encoder, "similarity_fn_name", None)
    function = getattr(function, "value", function)
    told = {
        "name": _name(base or facts["class"]),
        "revision": weights_fingerprint(encoder),
        "framework": ["PyTorch"]
        if ours
        else ["Sentence Transformers", "PyTorch"]
        if hasattr(encoder, "tokenize")
        else [],
        "embed_dim": _call(
            encoder, "dimension", "get_embedding_dimension", "get_sentence_embedding_dimension"
        ),
        "max_tokens": _call(encoder, "max_length", "max_seq_length"),
        # mteb's ModelMeta accepts these two. For others it gets None and calls the encoder's own
        # `similarity`.
        "similarity_fn_name": function
        if function in ("cosine", "dot")
        else None
        if function
        else "cosine",
        "use_instructions": prompts is not None
        or any((getattr(encoder, "prompts", None) or {}).values()),
        "adapted_from": base,
        **_sizes(encoder),
    }
    experiment = {
        "direction": facts.get("direction"),
        "dtype": facts.get("dtype"),
        "prompts": prompts,
    }
    told["experiment_kwargs"] = {
        key: value for key, value in experiment.items() if value is not None
    } or None
    unknown = dict.fromkeys(
        ("loader", "release_date", "languages", "n_parameters", "memory_usage_mb", "license", "open_weights",
         "public_training_code", "public_training_data", "training_datasets")
    )  # fmt: skip
    meta: ModelMeta = mteb.models.ModelMeta(**{**unknown, **told})
    return meta


def weights_fingerprint(encoder: Any) -> str | None:
    """Return 16 hexadecimal digits that identify the weights and the settings of an encoder.

    Equal encoders have equal fingerprints on every machine. Only a sample of each weight is read.
    The result is None for an encoder without weights.
    """
    if not callable(getattr(encoder, "state_dict", None)):
        return None
    digest = hashlib.sha256()
    for name, weight in sorted(encoder.state_dict().items()):
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // _SAMPLE)].float().cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)} ".encode() + sample.tobytes())
    # pooling is one module of a SentenceTransformer, so its repr shows it
    settings = (
        getattr(encoder, "direction", None),
        getattr(encoder, "options", None),
        getattr(encoder, "pooling", encoder),
    )
    digest.update(repr(settings).encode())
    return digest.hexdigest()[:16]


def _name(told: str) -> str:
    """Return `organization/model`, the form that mteb requires. A path keeps its last two parts."""
    parts = [
        _NOT_IN_NAMES.sub("-", part).strip("-.") for part in told.replace("\\", "/").split("/")
    ]
    parts = [part for part in parts if part] or ["encoder"]
    return "/".join(parts[-2:] if len(parts) > 1 else ["bothways", parts[0]])


def _sizes(encoder: Any) -> dict[str, Any]:
    if not callable(getattr(encoder, "parameters", None)):
        return {}
    parameters = list(encoder.parameters())
    sizes: dict[str, Any] = {
        "n_parameters": sum(parameter.numel() for parameter in parameters),
        "memory_usage_mb": round(
            sum(parameter.numel() * parameter.element_size() for parameter in parameters) / 2**20, 3
        ),
    }
    backbone: Any = getattr(encoder, "backbone", None)
    embeddings = (
        backbone.get_input_embeddings() if hasattr(backbone, "get_input_embeddings") else None
    )
    if embeddings is not None:
        sizes["n_embedding_parameters"] = embeddings.weight.numel()
    return sizes


def _call(encoder: object, *names: str) -> object:
    """Return the first of these attributes that the encoder has, called if it is a method.

    If the encoder has none of them, the result is None.
    """
    for name in names:
        if hasattr(encoder, name):
            value = getattr(encoder, name)
            return value() if callable(value) else value
    return None
