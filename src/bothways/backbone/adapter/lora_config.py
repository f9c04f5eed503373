"""The settings of a LoRA adapter, as a recipe holds them. `lora` attaches one."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from bothways.config import Strict


class LoraConfig(Strict):
    """A LoRA adapter.

    The defaults are LLM2Vec's: lora_r 16 in train_configs/*, alpha = 2 r and dropout 0.05 in its
    scripts.
    """

    r: int = Field(default=16, ge=1, description="rank")
    alpha: float | None = Field(
        default=None,
        gt=0,
        description="numerator of the scale alpha / r; if absent, twice the rank",
    )
    dropout: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="dropout on the adapter's input, in addition to the model's own",
    )
    targets: Literal["all-linear", "attention"] | tuple[str, ...] = Field(
        default="all-linear",
        description="layers to adapt, by the ends of their names, for example q_proj; all-linear selects every linear layer "
        "of the decoder blocks, attention the linear layers of their attention",
    )
    train_whole: tuple[str, ...] | None = Field(
        default=None,
        description="parameters to train in full next to the factors, by parts of their names; LoRA+ uses embed and norm",
    )

    use_rslora: bool = Field(
        default=False,
        description="scale by alpha / √r, so that large ranks learn as fast as small ones (rsLoRA, arXiv 2312.03732)",
    )
    use_dora: bool = Field(
        default=False,
        description="train the length of each row of a weight next to its direction (DoRA, arXiv 2402.09353); slower",
    )

    init_lora_weights: Literal["pissa"] | None = Field(
        default=None,
        description="pissa starts from the largest singular vectors of each weight, and trains them (PiSSA, arXiv 2404.02948). "
        "If null, the adapter starts at zero",
    )

    load_in_4bit: bool = Field(
        default=False,
        description="round the frozen weights to 4 bits while the adapter trains, with bitsandbytes (QLoRA, arXiv 2305.14314); "
        "saves memory, and the adapter is merged into the whole weights",
    )

    @model_validator(mode="after")
    def _one_start(self) -> LoraConfig:
        if self.use_dora and self.init_lora_weights is not None:
            raise ValueError(
                "init_lora_weights: pissa changes the base's weights, and use_dora trains their lengths; leave one of the two out"
            )
        if self.load_in_4bit and (self.init_lora_weights is not None or self.train_whole):
            other = "train_whole" if self.init_lora_weights is None else "init_lora_weights"
            raise ValueError(f"load_in_4bit: {other} needs whole weights; leave one of the two out")
        return self

    @property
    def numerator(self) -> float:
        """Return alpha."""
        return 2 * self.r if self.alpha is None else self.alpha

    @property
    def scaling(self) -> float:
        """Return the factor on B A x: alpha / r, or alpha / √r of rsLoRA."""
        return self.numerator / (math.sqrt(self.r) if self.use_rslora else self.r)
