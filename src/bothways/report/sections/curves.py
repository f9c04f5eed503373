"""Training curves from metrics.jsonl: per stage the loss, the dev metric and the collapse watch.

All runs share one axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bothways.report.charts.lines import Series, lines
from bothways.report.markup import esc, plural
from bothways.report.material import TrainingRun
from bothways.report.sections.section import Missing, Section, Styles, grid

# Maps a key of metrics.jsonl to the name of its chart, and to True if its points are few and
# measured one by one.
_CURVES = {
    "loss": ("training loss", False),
    "heldout_loss": ("loss on held-out texts", True),
    "dev": ("dev metric", True),
    "mean_cosine": ("mean cosine of unrelated texts", True),
}


def curves(runs: Sequence[TrainingRun], styles: Styles) -> Section | Missing:
    """Build the section of training curves."""
    stages = dict.fromkeys(str(line["stage"]) for run in runs for line in run.lines)
    charts = [
        chart for stage in stages for key in _CURVES if (chart := _chart(stage, key, runs, styles))
    ]
    if not charts:
        return Missing("Training curves", "bothways report RESULTS… RUN_FOLDER --out report.html")
    lead = (
        f"{plural(len(runs), 'run')}, {plural(len(stages), 'stage')}. A stage starts from the encoder that the stage before it "
        "saved, and its steps begin at zero. The mean cosine warns of a collapse: near 1, all texts have become one vector."
    )
    return Section("training", "Training curves", lead, grid(charts) + _best(runs))


def _points(run: TrainingRun, stage: str, key: str) -> list[tuple[float, float]]:
    found = {}
    for line in run.lines:
        value = line.get(key)
        if (
            line["stage"] == stage
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
        ):
            found[float(line["step"])] = float(value)
    return sorted(found.items())


def _chart(stage: str, key: str, runs: Sequence[TrainingRun], styles: Styles) -> str:
    name, dots = _CURVES[key]
    scale = 100.0 if key == "dev" else 1.0
    series = []
    for run in runs:
        points = [(step, value * scale) for step, value in _points(run, stage, key)]
        if points:
            series.append(Series(run.label, styles[run.label], points, dots))
    if not series:
        return ""
    told = "; ".join(
        f"{each.label} from {each.points[0][1]:.3g} to {each.points[-1][1]:.3g}" for each in series
    )
    what = {"dev": "× 100", "mean_cosine": "cosine"}.get(key, "loss")
    return lines(
        f"{stage}: {name}", f"By optimizer step. {told}", series, x_label="step", y_label=what
    )


def _best(runs: Sequence[TrainingRun]) -> str:
    """Describe the best dev score of each stage."""
    told = []
    for run in runs:
        for stage in dict.fromkeys(str(line["stage"]) for line in run.lines):
            points = _points(run, stage, "dev")
            if points:
                step, value = max(points, key=lambda point: point[1])
                metric = next(
                    (
                        str(line["dev_metric"])
                        for line in run.lines
                        if line["stage"] == stage and "dev_metric" in line
                    ),
                    "dev",
                )
                told.append(
                    f"<li><bdi>{esc(run.label)}</bdi>, {esc(stage)}: best {100 * value:.1f} at step {step:g} ({esc(metric)})</li>"
                )
    return f'<ul class="facts">{"".join(told)}</ul>' if told else ""


def loss_words(run: TrainingRun) -> dict[str, Any]:
    """Collect the steps and tokens of each stage, for the origin section."""
    found: dict[str, Any] = {}
    for line in run.lines:
        seen = found.setdefault(str(line["stage"]), {"steps": 0, "tokens": 0})
        seen["steps"] = max(seen["steps"], line["step"])
        tokens = line.get("tokens")
        seen["tokens"] = max(seen["tokens"], tokens) if isinstance(tokens, int) else seen["tokens"]
    return found
