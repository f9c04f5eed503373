"""A step's output has names, and reads as the mapping that it replaced."""

from __future__ import annotations

import torch

from bothways.objectives.step_output import StepOutput


def test_an_output_reads_as_a_mapping() -> None:
    output = StepOutput(torch.tensor(3.0), 2, {"masked": 1.5})
    assert float(output["loss_sum"]) == 3.0
    assert dict(output) == {"loss_sum": output.loss_sum, "count": 2, "masked": 1.5}
    assert len(output) == 3 and "masked" in output and "accuracy" not in output
