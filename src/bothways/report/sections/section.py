"""The sections of a report, and the look of models in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bothways.report.charts.canvas import SERIES, Style
from bothways.report.markup import esc


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its anchor.
        title: its heading.
        lead: its content and how to read it, HTML.
        body: HTML.
    """

    key: str
    title: str
    lead: str
    body: str


@dataclass(frozen=True)
class Missing:
    """A section without data: its title, and the command that measures it."""

    title: str
    command: str


Styles = Mapping[str, Style]


def styles(models: Sequence[str], runs: Sequence[str]) -> dict[str, Style]:
    """Assign a look to each label. A run with the same name as a model shares its look.

    If models and runs together would use more than all colors, runs start again at the first color.
    """
    found = {label: Style(index) for index, label in enumerate(models)}
    own = [label for label in runs if label not in found]
    start = len(found) if len(found) + len(own) <= SERIES else 0
    return found | {label: Style(start + index) for index, label in enumerate(own)}


def swatch(style: Style) -> str:
    """Draw a model's mark next to its name in a table."""
    shape = (
        '<circle cx="7" cy="7" r="5"/>',
        '<path d="M2 2H12V12H2Z"/>',
        '<path d="M7 1L13 7L7 13L1 7Z"/>',
        '<path d="M7 2L13 12L1 12Z"/>',
    )[style.index // SERIES % 4]
    return f'<svg class="swatch s{style.index % SERIES}" viewBox="0 0 14 14" aria-hidden="true">{shape}</svg>'


def marked_name(label: str, style: Style) -> str:
    """Write a model's name with its mark, safe for HTML. It keeps its own writing direction."""
    return f'{swatch(style)}<bdi class="model">{esc(label)}</bdi>'


def grid(charts: Sequence[str]) -> str:
    """Arrange charts side by side, as many as the screen has room for."""
    return f'<div class="grid">{"".join(f"<figure>{chart}</figure>" for chart in charts)}</div>'
