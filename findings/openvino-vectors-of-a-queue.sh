#!/usr/bin/env bash
# openvino 2026.4.0: an AsyncInferQueue with two jobs encodes four batches, and its callback stores
# request.get_output_tensor(0).data of each. One would guess four arrays. Each is a view of its job's memory,
# which the next batch of the job overwrites: earlier results become those of later batches, without a
# warning. A copy, or request.results, gives each its own.
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
numbers = operators.parameter([-1, 2], np.float32)
doubled = operators.multiply(numbers, operators.constant(np.float32(2)))
compiled = ov.Core().compile_model(ov.Model([doubled], [numbers], "double"), "CPU")


def encoded(read):
    queue, found = ov.AsyncInferQueue(compiled, 2), {}
    queue.set_callback(lambda request, place: found.__setitem__(place, read(request)))
    for place in range(4):
        queue.start_async(np.full((1, 2), place + 1, np.float32), place)
    queue.wait_all()
    return [float(found[place][0, 0]) for place in range(4)]  # while the queue is alive


results = {
    "get_output_tensor(0).data": encoded(lambda request: request.get_output_tensor(0).data),
    "its copy": encoded(lambda request: request.get_output_tensor(0).data.copy()),
    "results": encoded(lambda request: request.results[compiled.output(0)]),
}
for name, values in results.items():
    print(f"{name}: twice 1, 2, 3, 4 is {values}")
right = [2.0, 4.0, 6.0, 8.0]
view = results["get_output_tensor(0).data"]
raise SystemExit(0 if results["its copy"] == results["results"] == right and view != right else 1)
PY
