"""Examples that got better or worse from the baseline to its challenger, with their texts.

For pairs, the loss of an item is the distance between its rank by cosine and its rank by gold, as a
share of all pairs. Spearman's correlation penalizes this distance, and it is comparable between
models with different ranges of cosines. For queries, the loss is 1 minus the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from bothways.evaluation.results import Record
from bothways.moved import old_names
from bothways.report.bootstrap import Items, read_items
from bothways.report.charts.track import track
from bothways.report.comparison import Comparison
from bothways.report.markup import esc, number
from bothways.report.result_columns import Column
from bothways.report.sections.section import Missing, Section, Styles, marked_name

_SHOWN = 4
# As a share of the range of ranks or scores. Smaller movements are not shown.
_MOVED = 0.05


@dataclass(frozen=True)
class JudgedItems:
    """One model's items of one task, with their losses and places, both in [0, 1]."""

    label: str
    items: Items
    texts: Mapping[int, Mapping[str, str]]
    places: np.ndarray
    lost: np.ndarray


def examples(comparison: Comparison, styles: Styles) -> Section | Missing:
    """Build the section of examples.

    It shows the changes between two models, or the worst errors of a single one.
    """
    challenger = comparison.challenger()
    parts: list[str] = []
    for column in comparison.columns:
        before = _judge(column, comparison.baseline)
        after = _judge(column, challenger) if challenger is not None else None
        if challenger is None and before is not None:
            parts.append(_fold(column, _worst(before, styles), first=not parts))
        elif before is not None and after is not None and _same(before, after):
            shown = _changed(before, after, styles)
            parts += [_fold(column, shown, first=not parts)] if shown else []
    if not any(parts):
        return Missing(
            "Examples (results of older versions have no items)",
            "bothways evaluate MODEL --task sts:PAIRS --out results.json",
        )
    if challenger is None:
        lead = f"The worst errors of <bdi>{esc(comparison.baseline)}</bdi>."
        return Section("examples", "Examples", lead, "".join(parts))
    lead = (
        f"From {marked_name(comparison.baseline, styles[comparison.baseline])} (hollow) to "
        f"{marked_name(challenger, styles[challenger])} (filled): the items that moved most towards the truth, and away from it. "
        "A rank is the share of pairs that are less similar, and the post is the rank that people gave; queries go from 0 to 1."
    )
    return Section("examples", "What got better, what got worse", lead, "".join(parts))


def _judge(column: Column, label: str) -> JudgedItems | None:
    record = column.records.get(label)
    items = None if record is None else read_items(record.details, record.metrics[column.metric])
    if record is None or items is None:
        return None
    if items.gold is None:
        places = np.clip(items.values, 0.0, 1.0)
        return JudgedItems(label, items, _texts(record), places, 1.0 - places)
    places = _share(items.values)
    return JudgedItems(label, items, _texts(record), places, np.abs(places - _share(items.gold)))


def _share(values: np.ndarray) -> np.ndarray:
    """Convert to ranks (n,) as a share from 0, the lowest, to 1."""
    ranks: np.ndarray = rankdata(values)
    return (ranks - 1) / max(1, len(values) - 1)


def _texts(record: Record) -> dict[int, dict[str, str]]:
    stored: Any = record.details["items"].get("texts")
    found = {}
    for entry in stored if isinstance(stored, list) else []:
        if isinstance(entry, Mapping) and isinstance(entry.get("item"), int):
            found[entry["item"]] = {
                str(name): str(text) for name, text in entry.items() if name != "item"
            }
    return found


def _same(a: JudgedItems, b: JudgedItems) -> bool:
    return len(a.items) == len(b.items) and (a.items.gold is None) == (b.items.gold is None)


def _changed(before: JudgedItems, after: JudgedItems, styles: Styles) -> str:
    gain = before.lost - after.lost
    known = [i for i in sorted(before.texts.keys() | after.texts.keys()) if 0 <= i < len(gain)]
    better = sorted((i for i in known if gain[i] > _MOVED), key=lambda i: -gain[i])[:_SHOWN]
    worse = sorted((i for i in known if gain[i] < -_MOVED), key=lambda i: gain[i])[:_SHOWN]
    count_better, count_worse = int((gain > _MOVED).sum()), int((gain < -_MOVED).sum())
    parts = []
    for title, count, chosen in (("Better", count_better, better), ("Worse", count_worse, worse)):
        if chosen:
            cards = "".join(_card(i, (before, after), styles) for i in chosen)
            parts.append(
                f"<div><h4>{title} <small>{count:,} of {len(gain):,} items moved</small></h4>{cards}</div>"
            )
    return f'<div class="sides">{"".join(parts)}</div>' if parts else ""


def _worst(model: JudgedItems, styles: Styles) -> str:
    known = [i for i in sorted(model.texts) if 0 <= i < len(model.lost)]
    chosen = sorted((i for i in known if model.lost[i] > _MOVED), key=lambda i: -model.lost[i])[
        : 2 * _SHOWN
    ]
    return (
        f'<div class="sides">{"".join(_card(i, (model,), styles) for i in chosen)}</div>'
        if chosen
        else ""
    )


def _fold(column: Column, body: str, *, first: bool) -> str:
    if not body:
        return ""
    state = " open" if first else ""
    return f"<details{state}><summary>{esc(column.name)} <small>{esc(column.kind)}</small></summary>{body}</details>"


def _card(i: int, models: tuple[JudgedItems, ...], styles: Styles) -> str:
    pair = models[0].items.gold is not None
    gold = models[0].items.gold
    marks = [(styles[m.label], float(m.places[i]), f"{m.label}: {_said(m, i)}") for m in models]
    place = None if gold is None else float(_share(gold)[i])
    told = "; ".join(f"{m.label}: {_said(m, i)}" for m in models)
    truth = "" if gold is None else f"gold {gold[i]:g}; "
    ends = ("least similar", "most similar") if pair else ("0", "1")
    chart = track("Where the models put it", truth + told, marks, gold=place, ends=ends)
    words = "".join(
        f"<li>{marked_name(m.label, styles[m.label])} {_said(m, i)}</li>" for m in models
    )
    if gold is not None and place is not None:
        words = (
            f'<li><span class="post">gold</span> {gold[i]:g}, rank {100 * place:.0f} %</li>' + words
        )
    return f'<article class="example">{_sentences(i, models)}{chart}<ul class="facts">{words}</ul></article>'


def _said(model: JudgedItems, i: int) -> str:
    if model.items.gold is None:
        return number(float(model.items.values[i]), 2)
    return f"rank {100 * model.places[i]:.0f} %, cosine {number(float(model.items.values[i]), 2)}"


def _sentences(i: int, models: tuple[JudgedItems, ...]) -> str:
    """Build the item's texts.

    Texts that a model found differ between models, so they name their model.
    """
    common: dict[str, str] = {}
    found = []
    for model in models:
        for name, text in model.texts.get(i, {}).items():
            if name in ("found", "answer"):
                found.append(
                    (f"{'ranked first' if name == 'found' else 'answered'} by {model.label}", text)
                )
            else:
                common.setdefault(name, text)
    lines = [
        (name if name not in ("first", "second") else "", text) for name, text in common.items()
    ] + found
    return "".join(
        f'<p class="text" dir="auto">{f"<b>{esc(name)}</b> " if name else ""}{esc(text)}</p>'
        for name, text in lines
    )


__getattr__ = old_names(__name__)
