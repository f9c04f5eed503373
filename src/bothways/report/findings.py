"""Reads the details of results files for the charts, and checks their shape.

Details are free-form JSON, because each kind of task stores its own findings, and a report must
work with any of them. Each function returns None if its details are absent or have another form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bothways.evaluation.results import Record
from bothways.report.charts.densities import Ridge

# equal bins of the gold scale, as SimCSE draws them for 0 to 5
_BINS = 5
_CELLS = 40
# With fewer pairs than this, no density is drawn.
_PAIRS = 50


def numbers(values: object, at_least: int = 1) -> list[float] | None:
    """Read a list of finite numbers, or return None."""
    if (
        not isinstance(values, Sequence)
        or isinstance(values, (str, bytes))
        or len(values) < at_least
    ):
        return None
    fit = all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )
    return [float(value) for value in values] if fit else None


def matrix(values: object) -> list[list[float]] | None:
    """Read rows of finite numbers of equal length, or return None."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)) or not values:
        return None
    rows = [numbers(row) for row in values]
    fit = [row for row in rows if row is not None]
    return fit if len(fit) == len(rows) and len({len(row) for row in fit}) == 1 else None


def spectrum(record: Record) -> list[float] | None:
    """Read the singular values, in descending order and divided by the largest."""
    values = numbers(record.details.get("spectrum"), at_least=2)
    return values if values and values[0] > 0 else None


def lens(record: Record) -> tuple[float, float] | None:
    """Read uniformity and alignment."""
    found = numbers([record.metrics.get("uniformity"), record.metrics.get("alignment")])
    return None if found is None else (found[0], found[1])


def densities(record: Record) -> list[Ridge] | None:
    """Read the cosine densities by bin of gold scores, low scores first.

    If they were not measured, count them from the pairs of an STS task.
    """
    measured = record.details.get("densities")
    if isinstance(measured, Mapping):
        return _measured(measured)
    items = record.details.get("items")
    if not isinstance(items, Mapping):
        return None
    cosine, gold = numbers(items.get("predicted"), _PAIRS), numbers(items.get("gold"), _PAIRS)
    if cosine is None or gold is None or len(cosine) != len(gold) or len(set(gold)) < _BINS:
        return None
    return _counted(np.array(cosine), np.array(gold))


def _measured(found: Mapping[str, Any]) -> list[Ridge] | None:
    rows = []
    for name, density in found.items():
        if not isinstance(density, Mapping):
            return None
        edges, counts = numbers(density.get("edges"), 2), numbers(density.get("counts"))
        if edges is None or counts is None or len(edges) != len(counts) + 1:
            return None
        rows.append(Ridge(str(name), edges, counts))
    return rows or None


def _counted(cosine: np.ndarray, gold: np.ndarray) -> list[Ridge]:
    ends = np.linspace(gold.min(), gold.max(), _BINS + 1)
    bin_of = np.clip(np.searchsorted(ends, gold, side="right") - 1, 0, _BINS - 1)
    edges = np.linspace(min(float(cosine.min()), 0.99), max(float(cosine.max()), 1.0), _CELLS + 1)
    rows = []
    for place in range(_BINS):
        counts = np.histogram(cosine[bin_of == place], edges)[0]
        rows.append(
            Ridge(f"{ends[place]:.3g}–{ends[place + 1]:.3g}", edges.tolist(), counts.tolist())
        )
    return rows


def layers(record: Record) -> tuple[list[list[float]], list[str]] | None:
    """Read the cosines between causal and bidirectional states, one row per layer, and the tokens.

    The first layer comes first.
    """
    values, tokens = matrix(record.details.get("heatmap")), record.details.get("tokens")
    if values is None or not isinstance(tokens, list) or len(tokens) != len(values[0]):
        return None
    return values, [str(token) for token in tokens]


def margins(record: Record) -> list[float] | None:
    """Read the margins of the prefix test.

    A margin is the cosine to the sentence with the same continuation minus that to another. It is 0
    within rounding for a causal model.
    """
    triples = record.details.get("triples")
    if not isinstance(triples, list) or not all(isinstance(triple, Mapping) for triple in triples):
        return None
    near, far = (
        numbers([t.get("cos_same") for t in triples]),
        numbers([t.get("cos_other") for t in triples]),
    )
    return None if near is None or far is None else [a - b for a, b in zip(near, far)]


def passkey(record: Record) -> tuple[list[list[float]], list[str], list[str]] | None:
    """Read the accuracy by depth (rows) and length (columns), with the labels of both.

    If depths were drawn at random or are absent, there is one row.
    """
    found = record.details.get("accuracy")
    # For topics: one number per length, because the question is always about the first topic.
    whole = numbers(found)
    values, lengths = [whole] if whole else matrix(found), numbers(record.details.get("lengths"))
    if values is None or lengths is None or len(values[0]) != len(lengths):
        return None
    depths = numbers(record.details.get("depths"))
    if depths is not None and len(depths) != len(values):
        return None
    rows = (
        [f"{100 * depth:.0f} %" for depth in depths]
        if depths is not None
        else ["all"] * len(values)
    )
    return values, rows, [f"{length:,.0f}" for length in lengths]
