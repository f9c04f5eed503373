"""The first sentence of a report: what improved, by how much, and whether chance could explain it.

It compares the best other model with the baseline on the measure that represents a model (an
average, or the only task). "More than chance" means that the 95 % interval of the paired bootstrap
excludes zero (see `bootstrap.py`). Without an average it counts tasks.
"""

from __future__ import annotations

from collections.abc import Callable

from bothways.report.comparison import Comparison, Measure
from bothways.report.markup import number

Write = Callable[[str], str]

ONE_SEED = (
    "The interval covers the choice of texts, not the seed of training: give results of several "
    "seeds to see that too."
)


def verdict(comparison: Comparison, *, name: Write = str, text: Write = str) -> str:
    """Write the sentence. It is empty if nothing was measured that ranks models.

    For example: "mine improves on the baseline plain by 4.2 points (average of 3 tasks: 56.3
    instead of 52.1), which is more than chance: the 95 % interval of the difference is +2.0 to
    +6.4."

    Args:
        comparison: the measured models.
        name: writes the name of a model, for example as HTML.
        text: writes any other text of the results files.
    """
    lead, rival = comparison.lead, comparison.challenger()
    if lead is None:
        return _counted(comparison, rival, name) if rival is not None else ""
    found = lead.difference(rival, comparison.baseline) if rival is not None else None
    if rival is None or found is None or lead.better == "neither":
        return _alone(comparison, lead, name, text)
    value, ends = found
    gain = value if lead.better == "higher" else -value
    by = f"by {number(abs(value) * lead.scale, lead.decimals)}{_unit(lead)}"
    base = f"the baseline {name(comparison.baseline)}"
    if gain == 0:
        said = f"{name(rival)} and {base} are level"
    elif ends is not None and ends[0] <= 0 <= ends[1]:
        side = "better" if gain > 0 else "worse"
        said = f"{name(rival)} is {side} than {base} {by}"
    elif gain > 0:
        said = f"{name(rival)} improves on {base} {by}"
    else:
        said = f"{name(rival)} falls behind {base} {by}"
    before, after = (_shown(lead, lead.scores[label]) for label in (comparison.baseline, rival))
    return f"{said} ({_of(lead, text)}: {after} instead of {before}){_noise(lead, gain, ends)}."


def caveat(comparison: Comparison) -> str:
    """Return what the interval of the sentence does not cover, or an empty text without one."""
    lead, rival = comparison.lead, comparison.challenger()
    if lead is None or rival is None:
        return ""
    found = lead.difference(rival, comparison.baseline)
    return ONE_SEED if found is not None and found[1] is not None else ""


def _noise(lead: Measure, gain: float, ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ". Whether that is more than chance is not known, because the results hold no scores by item"
    low, high = (number(end * lead.scale, lead.decimals, sign=True) for end in ends)
    interval = f"the 95 % interval of the difference is {low} to {high}"
    if ends[0] <= 0 <= ends[1]:
        return f", which may be chance: {interval}" if gain else f": {interval}"
    return f", which is more than chance: {interval}"


def _alone(comparison: Comparison, lead: Measure, name: Write, text: Write) -> str:
    """Write the score of one model: the only one, or the first that was measured."""
    rival = comparison.challenger()
    label = rival if rival is not None and rival in lead.scores else next(iter(lead.scores))
    score = lead.scores[label]
    ends = lead.interval(label)
    shown = (
        ""
        if ends is None
        else f" (95 % interval {_shown(lead, ends[0])} to {_shown(lead, ends[1])})"
    )
    said = f"{name(label)}: {_of(lead, text)} {_shown(lead, score)}{shown}."
    if len(comparison.labels) == 1:
        return f"{said} There is no baseline to compare it with."
    if comparison.baseline in lead.scores:
        return f"{said} No other model was measured on the same data."
    return f"{said} The baseline {name(comparison.baseline)} was not measured on the same data."


def _counted(comparison: Comparison, rival: str, name: Write) -> str:
    """Count the tasks on which a model is better, if there is no average over them."""
    better = clear = tasks = 0
    for measure in comparison.tasks:
        found = measure.difference(rival, comparison.baseline)
        if measure.better == "neither" or found is None:
            continue
        value, ends = found
        tasks += 1
        if value != 0 and (value > 0) == (measure.better == "higher"):
            better += 1
            clear += ends is not None and not ends[0] <= 0 <= ends[1]
    if not tasks:
        return ""
    return (
        f"{name(rival)} is better than the baseline {name(comparison.baseline)} in {better} of {tasks} tasks, "
        f"in {clear} of them by more than chance (95 % intervals of the difference)."
    )


def _of(measure: Measure, text: Write) -> str:
    if measure.columns:
        return f"average of {len(measure.columns)} tasks"
    return f"{text(measure.name)}, {text(measure.below)}"


def _unit(measure: Measure) -> str:
    return " points" if measure.scale == 100 else ""


def _shown(measure: Measure, score: float) -> str:
    return number(score * measure.scale, measure.decimals)
