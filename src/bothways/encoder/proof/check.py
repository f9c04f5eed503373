"""The result of one check, and the diagnosis that consists of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One invariant.

    Args:
        name: name of the invariant.
        passed: whether it held.
        figure: the measured quantity with its unit or limit, for people.
        sentence: the finding in plain words.
    """

    name: str
    passed: bool
    figure: str
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """All checks of one encoder. Prints as a table."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not hold."""
        return tuple(check for check in self.checks if not check.passed)

    def __iter__(self) -> Iterator[Check]:
        """Iterate over the checks in the order in which they ran."""
        return iter(self.checks)

    def __str__(self) -> str:
        """Return one line per check, and a last line with the verdict."""
        name = max(len(check.name) for check in self.checks)
        figure = max(len(check.figure) for check in self.checks)
        lines = [
            f"{'ok  ' if c.passed else 'FAIL'}  {c.name:{name}}  {c.figure:{figure}}  {c.sentence}"
            for c in self.checks
        ]
        failed = len(self.failures)
        lines.append(
            f"{failed} of {len(self.checks)} checks failed"
            if failed
            else f"all {len(self.checks)} checks passed"
        )
        return "\n".join(lines)
