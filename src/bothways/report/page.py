"""Builds the page: one HTML file that does not request anything from the network.

Style and script are part of the file. A content security policy allows only this script, by its
hash. So even a text that got past the escaping could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from importlib.resources import files

from bothways.atomic import atomic_file
from bothways.report.bootstrap import RESAMPLES
from bothways.report.comparison import Comparison, compare
from bothways.report.markup import esc, plural
from bothways.report.material import gather
from bothways.report.sections.curves import curves
from bothways.report.sections.differences import differences
from bothways.report.sections.examples import examples
from bothways.report.sections.geometry import densities, geometry
from bothways.report.sections.headline import headline
from bothways.report.sections.models import layer_maps, passkey, prefix
from bothways.report.sections.reproduction import now, reproduction
from bothways.report.sections.section import Missing, Section, styles
from bothways.report.verdict import caveat, verdict


def write_report(
    sources: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    baseline: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> None:
    """Read results and runs, and write the report, either whole or not at all.

    Args:
        sources: results files, run folders, folders of results files. `NAME=PATH` names a model,
            for example "mine=results.json".
        out: the HTML file.
        baseline: label of the model that is subtracted in differences. If None, the first one.
        resamples: number of draws of the bootstrap.
        seed: seed of the draws.

    Raises:
        InputError: if a source cannot be read, or if the baseline is not one of the models.
        OutputError: if `out` cannot be written.
    """
    text = build(sources, baseline=baseline, resamples=resamples, seed=seed)
    with atomic_file(out) as part:
        part.write_text(text, encoding="utf-8")


def build(
    sources: Iterable[str | os.PathLike[str]],
    *,
    baseline: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> str:
    """Build the report as a string, see `write_report`."""
    material = gather(sources)
    looks = styles([model.label for model in material.models], [run.label for run in material.runs])
    comparison = (
        compare(material.models, baseline=baseline, resamples=resamples, seed=seed)
        if material.models
        else None
    )
    parts: list[Section | Missing] = []
    if comparison is not None:
        parts += [headline(comparison, looks), differences(comparison, looks)]
    else:
        parts.append(
            Missing("Scores", "bothways evaluate MODEL --task sts:PAIRS --out results.json")
        )
    parts.append(curves(material.runs, looks))
    if comparison is not None:
        made = (geometry, densities, layer_maps, prefix, passkey, examples)
        parts += [section(comparison, looks) for section in made]
    parts.append(reproduction(material, comparison))
    counted = [plural(len(material.models), "model")] if material.models else []
    counted += [plural(len(comparison.tasks), "task")] if comparison is not None else []
    counted += [plural(len(material.runs), "training run")] if material.runs else []
    return _page(" · ".join(counted), _first(comparison) if comparison is not None else "", parts)


def summary(
    sources: Iterable[str | os.PathLike[str]],
    *,
    baseline: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> str:
    """Return the first sentence of a report as plain text, see `write_report` for the arguments.

    It says what improved on the baseline, by how much, and whether chance could explain it.
    """
    models = gather(sources).models
    if not models:
        return ""
    return verdict(compare(models, baseline=baseline, resamples=resamples, seed=seed))


def _first(comparison: Comparison) -> str:
    """Build the first paragraphs of the page: the sentence, and what it does not cover."""
    said = verdict(comparison, name=lambda label: f"<bdi>{esc(label)}</bdi>", text=esc)
    if not said:
        return ""
    told = caveat(comparison)
    small = f'<p class="caveat">{esc(told)}</p>' if told else ""
    # a line must not end between a number and its percent sign
    return f'<p class="verdict">{said}</p>{small}'.replace("95 %", "95&nbsp;%")


def _page(counted: str, first: str, parts: list[Section | Missing]) -> str:
    style, script = _resource("style.css"), _resource("script.js")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    shown = [part for part in parts if isinstance(part, Section)]
    made = f'<p class="made">{esc(now().replace("T", " ")[:16])} UTC</p>'
    links = "".join(f'<a href="#{part.key}">{part.title}</a>' for part in shown)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>bothways report: {esc(counted)}</title><style>{style}</style></head><body>"
        f'<header><p class="brand">bothways report</p><h1>{esc(counted)}</h1>{first}{made}</header>'
        f'<nav aria-label="sections">{links}</nav><main>{"".join(_section(part) for part in shown)}{_missing(parts)}</main>'
        f"<script>{script}</script></body></html>\n"
    )


def _section(part: Section) -> str:
    lead = f'<p class="lead">{part.lead}</p>' if part.lead else ""
    return f'<section id="{part.key}"><h2>{part.title}</h2>{lead}{part.body}</section>'


def _missing(parts: list[Section | Missing]) -> str:
    absent = [part for part in parts if isinstance(part, Missing)]
    if not absent:
        return ""
    rows = "".join(
        f"<li>{esc(part.title)} <code>{esc(part.command)}</code></li>" for part in absent
    )
    return f'<section class="missing"><h2>Not measured yet</h2><ul>{rows}</ul></section>'


def _resource(name: str) -> str:
    return files("bothways.report").joinpath(name).read_text(encoding="utf-8")
