"""The origin of the numbers: commands, versions, seeds and data fingerprints.

They cover every results file and run, and the report itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import yaml

from bothways.evaluation.provenance import command_line
from bothways.provenance import versions
from bothways.report.comparison import Comparison
from bothways.report.markup import esc, table
from bothways.report.material import Material, ReportedModel, TrainingRun
from bothways.report.sections.curves import loss_words
from bothways.report.sections.section import Section


def reproduction(material: Material, comparison: Comparison | None) -> Section:
    """Build the section of provenance."""
    parts = [
        _fold(f"Results of <bdi>{esc(model.label)}</bdi>", _model(model))
        for model in material.models
    ]
    parts += [_fold(f"Run <bdi>{esc(run.label)}</bdi>", _run(run)) for run in material.runs]
    facts = {"command": command_line(), "date": now(), "versions": _versions(versions())}
    if comparison is not None:
        facts["bootstrap"] = (
            f"{comparison.resamples:,} resamples, seed {comparison.seed}, percentile interval of 95 %"
        )
    parts.append(_fold("This report", _facts(facts)))
    lead = "Everything needed to reproduce each number: commands, versions, seeds, fingerprints (sha256) of the data's content."
    return Section(
        "origin", "Where the numbers come from", lead, _mismatches(comparison) + "".join(parts)
    )


def now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _fold(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>{body}</details>"


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>"
        for name, value in facts.items()
        if value not in (None, "", [], {})
    )
    return f'<dl class="origin">{rows}</dl>'


def _versions(found: object) -> str:
    return (
        ", ".join(f"{name} {number}" for name, number in found.items())
        if isinstance(found, Mapping)
        else str(found or "")
    )


def _model(model: ReportedModel) -> str:
    parts = []
    for path, provenance in model.sources:
        facts: dict[str, Any] = {"file": path}
        for key, value in provenance.items() if isinstance(provenance, Mapping) else ():
            if key == "model" and isinstance(value, Mapping):
                facts["model"] = ", ".join(f"{name} {_plain(what)}" for name, what in value.items())
            elif key == "versions":
                facts["versions"] = _versions(value)
            elif value is not None:
                facts[str(key)] = _plain(value)
        parts.append(_facts(facts))
    head = [
        '<th scope="col">task</th>',
        '<th scope="col">data (sha256)</th>',
        '<th scope="col">seconds</th>',
    ]
    rows = [
        f'<tr><th scope="row">{esc(task)}</th><td class="code">{esc(record.data)}</td><td>{record.seconds:,.1f}</td></tr>'
        for task, record in model.records.items()
    ]
    return "".join(parts) + table("Tasks and their data", head, rows, classes="plain")


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return " + ".join(_plain(inner) for inner in value)
    return str(value)


def _run(run: TrainingRun) -> str:
    recipe = yaml.safe_load(run.recipe) if run.recipe else {}
    recipe = recipe if isinstance(recipe, dict) else {}
    facts: dict[str, Any] = {"folder": run.folder}
    facts |= {
        key: recipe.get(key) for key in ("name", "base", "direction", "pooling", "seed", "dtype")
    }
    done = loss_words(run)
    facts["stages"] = "; ".join(
        f"{stage}: {seen['steps']:,} steps"
        + (f", {seen['tokens']:,} tokens" if seen["tokens"] else "")
        for stage, seen in done.items()
    )
    facts["versions"] = _versions(run.facts.get("versions"))
    data = [
        f"{source.get('source')}: {source.get('sha256')}"
        for stage in _list(run.facts.get("stages"))
        for source in _list(stage.get("data"))
    ]
    facts["training data"] = "; ".join(dict.fromkeys(data))
    text = f'<pre tabindex="0">{esc(run.recipe)}</pre>' if run.recipe else ""
    return _facts(facts) + (_fold("The whole recipe", text) if text else "")


def _list(value: object) -> Sequence[Mapping[str, Any]]:
    return (
        [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
    )


def _mismatches(comparison: Comparison | None) -> str:
    """Warn of tasks with one name but different data between models. They have separate columns."""
    if comparison is None:
        return ""
    data: dict[str, set[str]] = {}
    for model in comparison.models:
        for task, record in model.records.items():
            data.setdefault(task, set()).add(record.data)
    split = [task for task, prints in data.items() if len(prints) > 1]
    if not split:
        return ""
    names = ", ".join(f"<code>{esc(task)}</code>" for task in split)
    return f'<p class="warning">Different data under one name, so not compared: {names}.</p>'
