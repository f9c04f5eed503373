"""Keeps the place of a stream in each checkpoint, so that a resumed stage goes on from there."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from bothways.errors import InputError
from bothways.foreign import read_object
from bothways.training.hooks.hook import Hook
from bothways.training.loop.checkpoints import REMOVE
from bothways.training.stream.example_stream import ExampleStream, Mark

FILE = "stream.json"


@dataclass(kw_only=True)
class StreamMark(Hook):
    """Writes and restores the place in a stream.

    Every process reads the same stream, so the main process's place is that of all.

    Attributes:
        examples: the stream.
    """

    examples: ExampleStream

    def write(self, folder: Path, step: int) -> None:
        """Write the place of the step after `step`."""
        mark = self.examples.mark(step * self.examples.step)
        (folder / FILE).write_text(json.dumps(mark.as_dict()), encoding="utf-8")

    def read(self, folder: Path, step: int) -> None:
        """Enter the stream at the place of the step after `step`.

        Raises:
            InputError: if the file does not hold a place before it.
        """
        values = read_object(folder / FILE, remedy=REMOVE)
        names = [each.name for each in fields(Mark)]
        numbers = [values.get(name) for name in names]
        if any(type(number) is not int or number < 0 for number in numbers) or (
            values["number"] > step * self.examples.step
        ):
            raise InputError(f"{folder / FILE}: is not what training writes there; {REMOVE}")
        self.examples.enter(Mark(**{name: values[name] for name in names}))
