"""Merges encoders into one: `bothways merge A B … --out DIR`.

    soup     weighted mean of all weights; equal weights unless given (arXiv 2203.05482)
    greedy   the models in the order of a dev metric; each joins the soup if the metric does not
             fall (recipe 1 of that paper)
    slerp    two models, tensor by tensor on the arc between them

Adapters of one base are merged as what they make of the base, W + s B A, because the mean of
factors is not the factors of the mean. The result is saved, read back and proved by the doctor.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bothways.atomic import refuse_existing
from bothways.encoder.encoder import Encoder
from bothways.encoder.load import load
from bothways.encoder.proof.doctor import doctor
from bothways.errors import BothwaysError, InputError
from bothways.evaluation.devmetric import dev_metric
from bothways.merging.parents import Parent, open_parents
from bothways.merging.weights import mean, merged, normalized, slerp

log = logging.getLogger("bothways")

Method = Literal["soup", "greedy", "slerp"]


@dataclass(frozen=True)
class Chosen:
    """The share of each model, and the dev values that chose it.

    Attributes:
        weights: one for each model, with sum 1. 0 for a model that was left out.
        dev: {"metric", "models", "merged"} with the metric's name, the value of each model, and of
            the result. None without a metric.
    """

    weights: list[float]
    dev: dict[str, Any] | None = None


def merge(
    models: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    method: Method | None = None,
    weights: Sequence[float] | None = None,
    t: float = 0.5,
    dev: str | None = None,
    base: str | None = None,
) -> Encoder:
    """Merge encoders, and save the result.

    For example, `merge(["runs/seed0", "runs/seed1", "runs/seed2"], "runs/soup")`, or
    `merge(["runs/a", "runs/b"], "runs/ab", method="slerp", t=0.3)`.

    Args:
        models: at least two encoder folders or hub ids of one architecture, pooling, tokenizer and
            prompts. Adapters of one base that hold an encoder's settings may be among them.
        out: folder to write. It must not exist.
        method: "soup", "greedy" or "slerp". If None, "greedy" with a dev metric, else "soup".
        weights: share of each model in a soup. They are divided by their sum. If None, all are
            equal.
        t: slerp: share of the way from the first model to the second, in [0, 1].
        dev: task by which "greedy" chooses, for example "sts:dev.jsonl". Another method reports it.
        base: base of the adapters, if what they name cannot be reached.

    Returns:
        The merged encoder, as read back from `out`.

    Raises:
        InputError: if the models cannot be merged, or the options do not fit together.
        OutputError: if `out` cannot be written.
        BothwaysError: if the doctor finds a fault in the result. It stays in `out` for inspection.
    """
    chosen_method = method or ("soup" if dev is None else "greedy")
    _check(chosen_method, models, weights, t, dev)
    refuse_existing(out)
    metric = None if dev is None else dev_metric(dev)
    parents = open_parents(models, base)
    child = parents[0].encoder
    states = [{name: tensor.clone() for name, tensor in parents[0].state.items()}]
    states += [parent.state for parent in parents[1:]]

    def take(weights: Sequence[float]) -> Encoder:
        used = [number for number, weight in enumerate(weights) if weight]
        rule: Callable[[Sequence[Tensor]], Tensor] = (
            (lambda tensors: slerp(tensors[0], tensors[1], t))
            if chosen_method == "slerp"
            else (lambda tensors: mean([tensors[n] for n in used], [weights[n] for n in used]))
        )
        with torch.no_grad():
            child.load_state_dict(merged(states, rule))
        return child

    if chosen_method == "greedy":
        assert metric is not None
        chosen = _greedy(parents, take, metric)
    elif chosen_method == "slerp":
        chosen = Chosen([1 - t, t])
    else:
        chosen = Chosen(normalized(weights, len(parents)))
    take(chosen.weights)
    if metric is not None and chosen.dev is None:
        chosen = Chosen(chosen.weights, {"metric": metric.name, "merged": metric(child)})
    _record(child, parents, chosen, chosen_method)
    child.save(out)
    return _proved(out)


def _check(
    method: str,
    models: Sequence[Any],
    weights: Sequence[float] | None,
    t: float,
    dev: str | None,
) -> None:
    if method not in get_args(Method):
        raise InputError(
            f"merge: method {method!r} does not exist; there are {', '.join(get_args(Method))}"
        )
    if method == "greedy" and dev is None:
        raise InputError("merge: greedy chooses by a dev metric; give one, e.g. sts:dev.jsonl")
    if weights is not None and method != "soup":
        raise InputError(f"merge: weights belong to a soup, and the method is {method}")
    if method == "slerp" and len(models) != 2:
        raise InputError(f"merge: slerp goes between two models (got {len(models)})")
    if not 0 <= t <= 1:
        raise InputError(f"merge: t must lie in [0, 1] (got {t})")
    if weights is not None:
        normalized(weights, len(models))


def _greedy(
    parents: Sequence[Parent],
    take: Callable[[Sequence[float]], Encoder],
    metric: Any,
) -> Chosen:
    """Add the models to a soup, the best first, as long as the metric does not fall."""
    count = len(parents)
    alone = [metric(take([float(n == number) for n in range(count)])) for number in range(count)]
    order = sorted(range(count), key=lambda number: -alone[number])
    inside, best = [order[0]], alone[order[0]]
    for number in order[1:]:
        tried = [*inside, number]
        value = metric(take([(n in tried) / len(tried) for n in range(count)]))
        joins = value >= best
        log.info(
            "merge: with %s %s is %.4f, before %.4f: %s",
            parents[number].name,
            metric.name,
            value,
            best,
            "joins" if joins else "stays out",
        )
        if joins:
            inside, best = tried, value
    weights = [(n in inside) / len(inside) for n in range(count)]
    return Chosen(weights, {"metric": metric.name, "models": alone, "merged": best})


def _record(encoder: Encoder, parents: Sequence[Parent], chosen: Chosen, method: str) -> None:
    """Name the parents in the provenance. Stages that all of them share stay."""
    histories = [list(parent.encoder.provenance.get("stages", [])) for parent in parents]
    shared = []
    for entries in zip(*histories):
        if any(entry != entries[0] for entry in entries[1:]):
            break
        shared.append(entries[0])
    names = [
        {
            "name": Path(parent.name).name if Path(parent.name).is_dir() else parent.name,
            "weight": weight,
            "stages": _stages(history[len(shared) :]),
            **{key: value for key, value in parent.encoder.provenance.items() if key == "merge"},
        }
        for parent, weight, history in zip(parents, chosen.weights, histories)
    ]
    encoder.provenance["stages"] = shared
    encoder.provenance["merge"] = {"method": method, "parents": names, "dev": chosen.dev}


def _stages(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    keys = ("name", "seed", "steps", "recipe")
    return [{key: entry[key] for key in keys if key in entry} for entry in entries]


def _proved(out: str | os.PathLike[str]) -> Encoder:
    """Read the result back and prove it.

    Raises:
        BothwaysError: if a check fails.
    """
    encoder = load(out, device="cpu", dtype=torch.float32)
    diagnosis = doctor(encoder, quick=True)
    if not diagnosis.ok:
        raise BothwaysError(f"merge: {out} was written, but is not sound:\n{diagnosis}")
    return encoder
