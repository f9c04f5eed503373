"""LLM2Vec's configurations of its word-level probe: {train,test}_configs/word-task/*.json.

A probe does not train an encoder, so these are not recipes. Training and test of the probe are one
task here, `evaluation.words`, and both kinds of file describe the same run. A test configuration
loads the classifier of a training configuration (`cls_addr`), which is trained again here.

Source of names and defaults: experiments/run_word_task.py and test_word_task.py of
McGill-NLP/llm2vec @312adcf.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bothways.config import parse
from bothways.errors import InputError
from bothways.evaluation.probing.linear_probe import ProbeSettings
from bothways.training.recipe.llm2vec_keys import WORD_KEYS, Common, sort_keys
from bothways.training.recipe.recipe_files import read_values

log = logging.getLogger("bothways")

COLUMNS = {"pos_tags": "pos", "chunk_tags": "chunk", "ner_tags": "ner"}
"""The column of each task."""


class WordTask(Common):
    """A configuration of the probe, for training or for testing."""

    model_name_or_path: str
    peft_addr: str | None = None
    cls_addr: str | None = None
    model_class: Literal["custom"] = "custom"
    bidirectional: bool = True
    classifier_dropout: float = Field(default=0.1, ge=0, lt=1)
    merge_subwords: Literal[True] = True
    retroactive_labels: Literal["next_token", "same_token"] = "next_token"
    dataset_name: Literal["conll2003"] = "conll2003"
    task: Literal["pos_tags", "chunk_tags", "ner_tags"] = "pos_tags"

    @property
    def probe(self) -> ProbeSettings:
        """Settings of the probe's training.

        A test configuration does not have them, and gets the published ones.
        """
        if self.cls_addr is not None:
            return ProbeSettings(dropout=self.classifier_dropout)
        return ProbeSettings(
            dropout=self.classifier_dropout,
            lr=self.learning_rate,
            batch_size=self.per_device_train_batch_size,
            steps=self.stop_after_n_steps or ProbeSettings.steps,
            epochs=self.num_train_epochs,
            dev_every=self.eval_steps or ProbeSettings.dev_every,
        )


def is_word_task(path: str | os.PathLike[str]) -> bool:
    """Tell if a file is a configuration of the probe."""
    if Path(path).suffix.lower() != ".json" or not Path(path).is_file():
        return False
    values = read_values(path)
    return "stages" not in values and bool(values.keys() & WORD_KEYS)


def read_word_task(path: str | os.PathLike[str], *, base: str | None = None) -> WordTask:
    """Read a configuration of the probe.

    Args:
        path: the file.
        base: replaces its model, and the adapter that belongs to that.

    Raises:
        InputError: if a key is unknown, or a value does not fit.
    """
    where = str(path)
    values: Mapping[str, Any] = read_values(path)
    if values.get("model_class") == "auto":
        name = values.get("model_name_or_path")
        raise InputError(
            f"{where}: model_class auto is for pretrained encoders such as BERT; type: bothways evaluate {name} "
            "--task 'words:FOLDER?alignment=same_token'"
        )
    ours, ignored = sort_keys(values, WordTask, where)
    if ignored:
        log.info(
            "%s: ignored, because they have no meaning here: %s", where, ", ".join(sorted(ignored))
        )
    if base is not None:
        if ours.get("peft_addr") is not None:
            log.info("%s: peft_addr belongs to the replaced base, so it is ignored", where)
        ours |= {"model_name_or_path": base, "peft_addr": None}
    config = parse(WordTask, ours, where=where)
    if config.cls_addr is not None:
        log.info(
            "%s: the classifier %s is trained again, with the published settings",
            where,
            config.cls_addr,
        )
    return config
