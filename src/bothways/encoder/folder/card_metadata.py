"""Front matter of a model card, made and checked by huggingface_hub's own classes.

Fields: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bothways.backbone.base_facts import base_facts
from bothways.backbone.origin import hub_id
from bothways.encoder.module import EncoderModule
from bothways.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


LIBRARY, TASK = "sentence-transformers", "sentence-similarity"
_TAGS = ("sentence-transformers", "feature-extraction", "sentence-similarity", "bothways")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual")


@dataclass(frozen=True)
class CardOptions:
    """The facts of a card that the encoder does not know.

    Args:
        license: identifier of the hub, for example "apache-2.0". If None, the base's card decides.
        language: codes such as "en", or "multilingual". If empty, the base's card decides.
        base_model: hub id of the base. If None, the id of the base that the encoder was made from,
            if it has one.
        name: the model's own name on the hub, which the code in the card then loads.
        figures: results of evaluations.

    Raises:
        InputError: a base or name is not a hub id, a license contains white space, or a language is
            not a language code.
    """

    license: str | None = None
    language: tuple[str, ...] = ()
    base_model: str | None = None
    name: str | None = None
    figures: tuple[EvalResult, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse values that the hub would refuse."""
        if self.license is not None and not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", self.license):
            raise InputError(
                f"license: {self.license!r} is not an identifier of the hub; write for example apache-2.0, mit or other"
            )
        for what, name in (("base_model", self.base_model), ("name", self.name)):
            if name is not None and hub_id(name) is None:
                raise InputError(f"{what}: {name!r} is not a name on the hub; write it as ORG/NAME")
        for code in self.language:
            if not _LANGUAGE.fullmatch(code):
                raise InputError(
                    f"language: {code!r} is not a language's code; write for example en, ko or multilingual"
                )


def facts(encoder: EncoderModule, options: CardOptions) -> dict[str, Any]:
    """Collect the facts about the base, see `base_facts`. The options override them."""
    found = dict(base_facts(encoder.provenance))
    if options.base_model is not None and options.base_model != found.get("id"):
        found = {key: value for key, value in found.items() if key == "files"} | {
            "id": options.base_model
        }
    if options.license is not None:
        found = {key: value for key, value in found.items() if not key.startswith("license")} | {
            "license": options.license.lower()
        }
    if options.language:
        found["language"] = list(options.language)
    return found


def metadata(
    encoder: EncoderModule,
    options: CardOptions,
    *,
    library: str | None = LIBRARY,
    tags: tuple[str, ...] = _TAGS,
) -> dict[str, Any]:
    """Collect the fields of the front matter. Unknown ones are left out.

    Args:
        encoder: the encoder of the card.
        options: see `CardOptions`.
        library: the hub's name of the library that loads the folder. If None, the card names none.
        tags: search tags on the hub.
    """
    from huggingface_hub import ModelCardData

    base = facts(encoder, options)
    stages = [stage for stage in encoder.provenance.get("stages", []) if isinstance(stage, Mapping)]
    methods = [
        str((stage.get("objective") or {}).get("kind", "")).replace("_", "-") for stage in stages
    ]
    extra: dict[str, Any] = {"base_model_relation": "finetune"} if "id" in base else {}
    data = ModelCardData(
        language=base.get("language"),
        license=base.get("license"),
        license_name=base.get("license_name"),
        license_link=base.get("license_link"),
        library_name=library,
        pipeline_tag=TASK,
        tags=[*tags, *(method for method in methods if method)],
        base_model=base.get("id"),
        datasets=_datasets(stages) or None,
        model_name=(options.name or "").rpartition("/")[2] or "encoder"
        if options.figures
        else None,
        eval_results=list(options.figures) or None,
        **extra,
    )
    found: dict[str, Any] = data.to_dict()
    return found


def front_matter(fields: Mapping[str, Any]) -> str:
    """Write the fields as a YAML block between dashes."""
    from huggingface_hub import ModelCardData

    return f"---\n{ModelCardData(**fields).to_yaml()}\n---\n"


def _datasets(stages: list[Mapping[str, Any]]) -> list[str]:
    """List the ids of the hub's data sets that the stages were trained on."""
    sources = [
        each for stage in stages for each in stage.get("data") or () if isinstance(each, Mapping)
    ]
    names = [
        str(each.get("source", "")).split("?")[0] for each in sources if each.get("kind") == "hub"
    ]
    return [name for name in dict.fromkeys(names) if hub_id(name)]
