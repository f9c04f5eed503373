"""Merges encoders into one: `bothways merge A B … --out DIR`.

    soup     weighted mean of all weights; equal weights unless given (arXiv 2203.05482)
    greedy   the models in the order of a dev metric; each joins the soup if the metric does not
             fall (recipe 1 of that paper)
    slerp    two models, tensor by tensor on the arc between them

Adapters of one base are merged as what they make of the base, W + s B A, because the mean of
factors is not the factors of the mean. On request the result is an adapter again, see `adapters`.
Weights are computed in float64, and stored in the type of the models if they have the same one,
else in float32. The result is saved, read back and proved by the doctor.
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
from bothways.backbone.adapter.adapter_files import (
    MERGED,
    adapter_fingerprint,
    local_adapter,
    read_needs,
)
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.adapter_settings import write_adapter_settings
from bothways.encoder.load import load
from bothways.encoder.proof.doctor import doctor
from bothways.errors import BothwaysError, InputError
from bothways.evaluation.devmetric import DevMetric, dev_metric
from bothways.merging.adapters import Combination, read_adapter_values, write_merged
from bothways.merging.parents import Parent, open_parents, stored_dtype
from bothways.merging.weights import merged_tensors, normalized, slerp, weighted_mean

log = logging.getLogger("bothways")

Method = Literal["soup", "greedy", "slerp"]
SAME = 1e-4
"""Most that weights with a merged adapter may differ from merged ones, in shares of the largest."""


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
    adapter: Combination | None = None,
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
        adapter: write an adapter of the same base, of a soup of adapters: "cat" is as exact as
            merged weights and has the sum of their ranks, "linear" has their rank and is rough. If
            None, a whole encoder is written.

    Returns:
        The merged encoder, as read back from `out`.

    Raises:
        InputError: if the models cannot be merged, or the options do not fit together.
        OutputError: if `out` cannot be written.
        BothwaysError: if the doctor finds a fault in the result. It stays in `out` for inspection.
    """
    chosen_method = method or ("soup" if dev is None else "greedy")
    _check(chosen_method, models, weights, t, dev)
    _check_adapter(adapter, chosen_method, dev)
    refuse_existing(out)
    metric = None if dev is None else dev_metric(dev)
    parents = open_parents(models, base)
    child = parents[0].encoder
    states = [{name: tensor.clone() for name, tensor in parents[0].state.items()}]
    states += [parent.state for parent in parents[1:]]

    def take(weights: Sequence[float]) -> Encoder:
        with torch.no_grad():
            child.load_state_dict(merged_tensors(states, _rule(chosen_method, weights, t)))
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
    if adapter is None:
        child.save(out, dtype=stored_dtype(parents))
        return _proved(out, None)
    rounding = _write_adapter(child, parents, chosen.weights, Path(out), adapter)
    encoder = _proved(out, base)
    if adapter == "cat":
        _check_same(encoder, child, out, max(SAME, 4 * rounding))
    return encoder


def _rule(method: str, weights: Sequence[float], t: float) -> Callable[[Sequence[Tensor]], Tensor]:
    """Return the function that merges the tensors of one name."""
    if method == "slerp":
        return lambda tensors: slerp(tensors[0], tensors[1], t)
    used = [number for number, weight in enumerate(weights) if weight]
    return lambda tensors: weighted_mean([tensors[n] for n in used], [weights[n] for n in used])


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


def _check_adapter(adapter: str | None, method: str, dev: str | None) -> None:
    if adapter is None:
        return
    if adapter not in get_args(Combination):
        raise InputError(
            f"merge: adapter {adapter!r} does not exist; there are {', '.join(get_args(Combination))}"
        )
    if method == "slerp":
        raise InputError(
            "merge: slerp goes between weights, and has no adapter as result; leave adapter out, or merge a soup"
        )
    if adapter == "linear" and dev is not None:
        raise InputError(
            "merge: dev measures merged weights, which a linear adapter does not give; use adapter cat, or leave dev out"
        )


def _write_adapter(
    child: Encoder,
    parents: Sequence[Parent],
    weights: Sequence[float],
    out: Path,
    combination: Combination,
) -> float:
    """Write an adapter of the parents' base, with the settings that make an encoder of it.

    Returns the rounding of its factors, see `write_merged`.

    Raises:
        InputError: if the parents are not adapters of one base, or are more than LoRA's factors.
    """
    folders = [local_adapter(parent.name) for parent in parents]
    below = [_below(folder) for folder in folders]
    for parent, other in zip(parents[1:], below[1:]):
        if other != below[0]:
            raise InputError(
                f"merge: {parents[0].name} and {parent.name} are adapters of other bases ({below[0][0]} and {other[0]}), or over "
                "other adapters; leave out the adapter option to merge whole encoders"
            )
    before = read_needs(folders[0]).base_adapter
    if before is not None and Path(before).is_dir():
        before = str(Path(before).resolve())
    rounding = write_merged(folders, weights, out, combination, base_adapter=before)
    earlier: Any = child.provenance.get(MERGED, [])
    child.provenance[MERGED] = [*earlier[:-1], str(adapter_fingerprint(out))]
    write_adapter_settings(child, out)
    return rounding


def _below(folder: Path) -> tuple[str, str | None]:
    """Return the base that an adapter names, and the fingerprint of the adapter below it."""
    named = str(read_adapter_values(folder).get("base_model_name_or_path"))
    before = read_needs(folder).base_adapter
    return named, None if before is None else adapter_fingerprint(Path(before)) or before


def _greedy(
    parents: Sequence[Parent],
    take: Callable[[Sequence[float]], Encoder],
    metric: DevMetric,
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


def _proved(out: str | os.PathLike[str], base: str | None) -> Encoder:
    """Read the result back and prove it.

    Args:
        out: its folder.
        base: base of an adapter, if what it names cannot be reached.

    Raises:
        BothwaysError: if a check fails.
    """
    encoder = load(out, base=base, device="cpu", dtype=torch.float32)
    diagnosis = doctor(encoder, quick=True)
    if not diagnosis.ok:
        raise BothwaysError(f"merge: {out} was written, but is not sound:\n{diagnosis}")
    return encoder


def _check_same(
    encoder: Encoder, same: Encoder, out: str | os.PathLike[str], allowed: float
) -> None:
    """Raise BothwaysError if an adapter over its base does not give the merged weights."""
    expected = same.state_dict()
    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point() and not torch.allclose(
            tensor, expected[name], rtol=0, atol=allowed * float(expected[name].abs().max())
        ):
            off = float((tensor - expected[name]).abs().max())
            raise BothwaysError(
                f"merge: {out} was written, but {name} differs by {off:.1e} from the merged weights"
            )
