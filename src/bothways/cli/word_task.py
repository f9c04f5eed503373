"""Runs `bothways train` on one of LLM2Vec's word-task configurations.

It trains the probe on a frozen encoder, then tests it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bothways.cli.options import say
from bothways.errors import InputError

if TYPE_CHECKING:
    import torch

RESULTS = "results.json"


def run_word_task(
    path: str,
    *,
    base: str | None,
    data: list[str] | None,
    out: Path | None,
    device: str,
    dry_run: bool = False,
) -> None:
    """Train and test the probe of a configuration.

    Args:
        path: file of the configuration.
        base: model to use. If None, the one in the configuration.
        data: the folder of CoNLL-2003, as a list of one.
        out: folder for results.json. If None, the configuration's output_dir.
        device: for example "cpu" or "cuda:0", or "auto".
        dry_run: if True, only print the settings.

    Raises:
        InputError: if there is no folder, or more than one, or if the configuration asks for
            something that is not supported.
    """
    from bothways.compat import LLM2Vec
    from bothways.evaluation.evaluate import evaluate
    from bothways.evaluation.tasks.words import Words
    from bothways.training.recipe.llm2vec_words import COLUMNS, read_word_task

    config = read_word_task(path, base=base)
    if data is None or len(data) != 1:
        raise InputError(
            f"{path}: needs the folder of CoNLL-2003 with train.txt, dev.txt and test.txt: bothways train {path} --data FOLDER"
        )
    task = Words(data[0], alignment=config.retroactive_labels, probe=config.probe)
    place = out or (None if config.output_dir is None else Path(config.output_dir))
    adapter = "" if config.peft_addr is None else f" with {config.peft_addr}"
    direction = "bidirectional" if config.bidirectional else "causal"
    probe = config.probe
    say(
        f"{config.task} of {data[0]} by {config.model_name_or_path}{adapter}, {direction}, {config.retroactive_labels}; "
        f"{probe.steps} steps of {probe.batch_size} sentences"
    )
    if dry_run:
        return
    encoder = LLM2Vec.from_pretrained(
        config.model_name_or_path,
        peft_model_name_or_path=config.peft_addr,
        enable_bidirectional=config.bidirectional,
        torch_dtype=_dtype(device),
        device_map=None if device == "auto" else device,
        max_length=config.max_seq_length or 1024,
    ).encoder
    results = evaluate(
        encoder, [task], seed=config.seed, out=None if place is None else place / RESULTS
    )
    _say_scores(results[task.name], first=f"accuracy[{COLUMNS[config.task]}]")
    if place is not None:
        say(f"saved {place / RESULTS}")


def _say_scores(metrics: Mapping[str, float], *, first: str) -> None:
    for name in (first, *(name for name in metrics if name != first)):
        say(f"  {name:24} {metrics[name]:.4f}")


def _dtype(device: str) -> torch.dtype:
    """Return bfloat16, which all of these configurations use. Without hardware for it, float32."""
    from bothways.backbone.hardware import resolve_device, resolve_dtype

    return resolve_dtype("auto", resolve_device(device))
