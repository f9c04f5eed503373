#!/usr/bin/env bash
# safetensors 0.8.0: safetensors.numpy.save_file of a transposed array, or of vectors that were cut to
# their first numbers (vectors[:, :2]). One would guess that the numbers are saved as they are, or that
# an error is raised, as safetensors.torch does for such a tensor. Neither is so: the new shape is written
# over the memory of the whole array in its old order, so the file holds other numbers without a warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" safetensors==0.8.0 numpy==2.4.6
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load_file, save_file

for name in ("safetensors", "numpy"):
    print(name, version(name))
vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
found = {}
for name, array in (("whole", vectors), ("cut", vectors[:, :2]), ("cut, copied", vectors[:, :2].copy()), ("transposed", vectors.T)):
    save_file({"vectors": array}, "vectors.safetensors")
    read = load_file("vectors.safetensors")["vectors"]
    found[name] = np.array_equal(array, read)
    print(f"{name}: saved {array.tolist()}, read {read.tolist()}")
raise SystemExit(0 if found == {"whole": True, "cut": False, "cut, copied": True, "transposed": False} else 1)
PY
