"""Measurements inside a model rather than on its text vectors: layers, prefixes, hidden keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bothways.report import findings
from bothways.report.charts.heatmap import Axis, heatmap
from bothways.report.charts.strip import strip
from bothways.report.comparison import Comparison
from bothways.report.markup import clip, number
from bothways.report.sections.geometry import by_column
from bothways.report.sections.section import Missing, Section, Styles, grid

# Units of a cell in the layer map. A rotated token label fits its width.
_CELL = (13.0, 11.0)


def layer_maps(comparison: Comparison, styles: Styles) -> Section | Missing:
    """Build the layer × token maps of the direction's effect (LLM2Vec, section 5)."""
    charts = []
    for column, found in by_column(comparison, findings.layers):
        # All models share one scale, because otherwise their colors could not be compared.
        low = min(
            0.0, min(value for values, _ in found.values() for row in values for value in row)
        )
        for names, values, tokens in _distinct(found):
            mean = sum(sum(row) for row in values) / sum(len(row) for row in values)
            # The last layer is on top, as networks are usually drawn.
            chart = heatmap(
                f"{clip(names, 30)}: mean {number(mean, 2)}",
                f"{names}, {column.name}: {len(values)} layers, {len(tokens)} tokens; mean {mean:.2f}",
                values[::-1],
                rows=Axis("layer", [str(i + 1) for i in range(len(values))][::-1]),
                columns=Axis("token", [" ".join(token.split()) or "␣" for token in tokens]),
                low=low,
                cell=_CELL,
            )
            charts.append(chart)
    if not charts:
        what = "Layer × token map of the direction's effect"
        return Missing(what, "bothways evaluate MODEL --task layers:TEXTFILE --out results.json")
    lead = (
        "Cosine between the state of a token under causal attention and under bidirectional attention, layer by layer, the last "
        "one on top. Near 1 throughout: the switch hardly affects the model (LLM2Vec found this for Mistral). Wide maps scroll."
    )
    return Section("layers", "Effect of the direction", lead, _wide(charts))


def _distinct(
    found: Mapping[str, tuple[list[list[float]], list[str]]],
) -> list[tuple[str, list[list[float]], list[str]]]:
    """Join equal maps and their names.

    The task runs a model in both directions, so both encoders of one base have the same map.
    """
    maps: list[tuple[list[str], list[list[float]], list[str]]] = []
    for label, (values, tokens) in found.items():
        same = next(
            (
                names
                for names, other, other_tokens in maps
                if (other, other_tokens) == (values, tokens)
            ),
            None,
        )
        if same is None:
            maps.append(([label], values, tokens))
        else:
            same.append(label)
    return [(" and ".join(names), values, tokens) for names, values, tokens in maps]


def prefix(comparison: Comparison, styles: Styles) -> Section | Missing:
    """Build the prefix test (LLM2Vec, section 5): does a prefix know how its sentence continues?"""
    charts = []
    for column, found in by_column(comparison, findings.margins):
        rows = [(label, styles[label], values) for label, values in found.items()]
        told = "; ".join(
            f"{label}: {sum(v > 0 for v in values)} of {len(values)} above zero"
            for label, values in found.items()
        )
        charts.append(
            strip(
                f"{column.name}: margin of each triple",
                told,
                rows,
                x_label="cosine to the same ending − to another",
            )
        )
    if not charts:
        return Missing("Prefix test", "bothways evaluate MODEL --task prefix --out results.json")
    lead = (
        "Only a prefix that all three sentences of a triple share is embedded. To the right of zero it is nearer to the sentence "
        "that ends in the same sense: it has looked ahead. A causal model cannot, and lies on the line."
    )
    return Section("prefix", "Does a prefix know how it continues?", lead, grid(charts))


def passkey(comparison: Comparison, styles: Styles) -> Section | Missing:
    """Build maps of accuracy by length and, if a task has depths, by depth."""
    charts = []
    for column, found in by_column(comparison, findings.passkey):
        for label, (values, depths, lengths) in found.items():
            whole = sum(sum(row) for row in values) / sum(len(row) for row in values)
            chart = heatmap(
                f"{clip(label, 30)} · {clip(column.name, 16)}",
                f"{label}, {column.name}: {100 * whole:.0f} % right",
                values,
                rows=Axis("depth", depths),
                columns=Axis("tokens", lengths),
                numbers=len(lengths) <= 10,
            )
            charts.append(chart)
    if not charts:
        return Missing(
            "Passkey retrieval by length and depth",
            "bothways evaluate MODEL --task passkey --out results.json",
        )
    lead = "Share of right answers in percent, by the length of the text and by the depth of the hidden key in it."
    return Section("passkey", "Retrieval from long contexts", lead, grid(charts))


def _wide(charts: Sequence[str]) -> str:
    """Arrange charts that may be wider than the screen. Each keeps its size and scrolls."""
    figures = []
    for chart in charts:
        size = chart.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split(" ")[0]
        sized = chart.replace('class="chart"', f'class="chart" width="{size}"', 1)
        figures.append(
            f'<figure class="scroll" role="region" tabindex="0" aria-label="layer map">{sized}</figure>'
        )
    return f'<div class="flow">{"".join(figures)}</div>'
