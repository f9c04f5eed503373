"""The first reading is kept, later ones are judged against it, and vectors that are not numbers
stop the stage.
"""

from __future__ import annotations

from typing import Any

import pytest

from bothways.encoder.finite import NotFinite
from bothways.training.hooks.collapse_alarm import CollapseAlarm
from bothways.training.loop.optimizer_step import Diverged
from bothways.training.stage.collapse import Collapse, CollapseWatch
from unit.training.hooks.material import ONE, Model, moment

SOUND, COLLAPSED = {"mean_cosine": 0.1, "effective_rank": 30.0}, {"mean_cosine": 0.999, "effective_rank": 2.0}


def alarm(monkeypatch: pytest.MonkeyPatch, readings: list[Any], action: Any = "warn") -> CollapseAlarm:
    given = iter(readings)

    def read(self, encoder):
        found = next(given)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(CollapseWatch, "read", read)
    watch = CollapseWatch(["a", "b"], seed=0, stage="mntp", action=action)
    return CollapseAlarm(watch=watch, encoder=Model(), readers=ONE)  # type: ignore[arg-type]


def test_later_readings_are_judged_against_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made = alarm(monkeypatch, [SOUND, COLLAPSED])
    first = moment(0)
    assert made.measure(first) == SOUND
    assert first.state.watch == SOUND
    later = made.measure(moment(10, watch=first.state.watch))
    assert later["mean_cosine"] == 0.999
    assert "0.100" in later["collapse"]


def test_stop_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    made = alarm(monkeypatch, [COLLAPSED], action="stop")
    with pytest.raises(Collapse, match="stage mntp at step 10"):
        made.measure(moment(10, watch=SOUND))


@pytest.mark.parametrize(("step", "remedy"), [(0, "bothways doctor"), (5, r"lower optim\.lr")])
def test_vectors_that_are_not_finite_stop_the_stage(monkeypatch: pytest.MonkeyPatch, step: int, remedy: str) -> None:
    made = alarm(monkeypatch, [NotFinite("NaN in a vector")])
    with pytest.raises(Diverged, match=rf"stage mntp, step {step}: .*NaN in a vector.*{remedy}"):
        made.measure(moment(step))


def test_too_few_texts_give_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    at = moment(3)
    assert alarm(monkeypatch, [{}]).measure(at) == {}
    assert at.state.watch is None
