#!/usr/bin/env bash
# pandas 3.1.1 and numpy 2.4.6: a column of numpy arrays of texts goes into a CSV as ['a' 'b'], without a comma. ast.literal_eval, the usual way
# back, joins the two literals and gives one text, 'ab'. A training row with two positives becomes a row with one that nobody wrote.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 numpy==2.4.6
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import ast
import io

import numpy
import pandas

frame = pandas.DataFrame({"query": ["q"], "positives": [numpy.array(["first text", "second text"], dtype=object)]})
cell = pandas.read_csv(io.StringIO(frame.to_csv(index=False)))["positives"][0]
back = ast.literal_eval(cell)
print("pandas", pandas.__version__, "numpy", numpy.__version__)
print("cell:", cell, "read back:", back)
raise SystemExit(0 if back == ["first textsecond text"] else 1)
PY
