#!/usr/bin/env bash
# openvino 2026.4.0 on a CPU: a graph with int64 or float64 inputs and outputs. One would guess that it computes
# in them, or that a graph which cannot be run as it is stated is refused. It computes in int32 and float32, and
# its answer has the stated type: 2^31 + 0 is -2^31, 2^40 + 7 is 7, 2^32 equals 0, and 2^24 + 1 is
# 2^24. There is no warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" openvino==2026.4.0 numpy==2.4.6
export OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import numpy as np
import openvino as ov
from openvino import opset13 as operators

print("openvino", ov.__version__)


def computed(operation, *values):
    """The answer of a graph with one operation, which has an input of each array's own type."""
    inputs = [operators.parameter([-1], each.dtype) for each in values]
    return ov.Core().compile_model(ov.Model([operation(*inputs)], inputs, "one"), "CPU")(values)[0]


wide = np.array([2**31, 2**40 + 7, 2**31 - 1])
total = computed(operators.add, wide, np.zeros(3, np.int64))
same = computed(operators.equal, np.array([2**32, 2**32 + 5]), np.array([0, 5]))
fine = computed(operators.add, np.array([1 + 1e-12, 2.0**24 + 1]), np.zeros(2))
print(f"{wide.tolist()} + 0 is {total.tolist()}, {total.dtype}")
print(f"[2^32, 2^32 + 5] equal to [0, 5]: {same.tolist()}")
print(f"[1 + 1e-12, 2^24 + 1] + 0 is {fine.tolist()}, {fine.dtype}")
right = total.tolist() == [-(2**31), 7, 2**31 - 1] and same.all() and fine.tolist() == [1.0, 2.0**24]
raise SystemExit(0 if right and total.dtype == np.int64 and fine.dtype == np.float64 else 1)
PY
