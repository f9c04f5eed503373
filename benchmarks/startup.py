"""How long a fresh process takes to its first vector, next to sentence-transformers, in turns.

    .venv/bin/python benchmarks/startup.py [--model FOLDER] [--rounds 5]

Each figure is the best of --rounds fresh processes, of which the first one measures how the backbone runs, and the later ones
know it ("nothing measured" does it each time). "floor" is what transformers itself needs: imports, `AutoModel` and
`AutoTokenizer` of the same folder. Processor time is less affected by other processes than elapsed time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bothways as bw

CODE = {
    "bothways --help": "import sys; sys.argv = ['bothways', '--help']; from bothways.cli import main; main()",
    "import torch, transformers": "import torch, transformers",
    "import transformers.modeling_utils": "import torch, transformers, transformers.modeling_utils",
    "floor": "from transformers import AutoModel, AutoTokenizer\n"
    "AutoModel.from_pretrained({folder!r}, dtype={dtype!r}); AutoTokenizer.from_pretrained({folder!r})",
    "bw.load": "import torch, transformers, bothways as bw\nbw.load({folder!r}, device='cpu', dtype={dtype!r})",
    "bothways, first vector": "import bothways as bw\nbw.load({folder!r}, device='cpu', dtype={dtype!r}).encode('a query')",
    "bothways, first vector, nothing measured": "import os; os.environ['BOTHWAYS_MEASURED'] = '0'\nimport bothways as bw\n"
    "bw.load({folder!r}, device='cpu', dtype={dtype!r}).encode('a query')",
    "sentence-transformers, first vector": "from sentence_transformers import SentenceTransformer\n"
    "SentenceTransformer({folder!r}, device='cpu', model_kwargs={{'dtype': {dtype!r}}}).encode('a query')",
}


def once(code: str) -> tuple[float, float]:
    """Elapsed and processor seconds of one fresh process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"error: ended with {status}: {code}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="an encoder folder, or a base model, which is converted")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/startup.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.model
        if not Path(folder, "modules.json").exists():
            folder = f"{made}/encoder"
            bw.convert(options.model, device="cpu", dtype="float32").save(folder)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in CODE}
        load = os.getloadavg()[0]
        for _ in range(options.rounds):
            for name, code in CODE.items():
                taken[name].append(once(code.format(folder=folder, dtype=options.dtype)))
    record = {name: {"seconds": min(t for t, _ in each), "cpu": min(c for _, c in each)} for name, each in taken.items()}
    print(f"load {load:.1f} to {os.getloadavg()[0]:.1f}, {options.dtype}, best of {options.rounds}")
    for name, figures in record.items():
        print(f"{name:40} {figures['seconds']:6.2f} s elapsed, {figures['cpu']:6.2f} s of the processor")
    for kind in ("seconds", "cpu"):
        floor = record["import torch, transformers"][kind]
        print(f"bw.load after import torch, transformers, {kind}: {record['bw.load'][kind] - floor:.2f} s")
        ours, peer = (record[f"{name}, first vector"][kind] for name in ("bothways", "sentence-transformers"))
        print(
            f"first vector, {kind}: {ours / peer:.2f} of sentence-transformers, {ours - record['floor'][kind]:.2f} s above the floor"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
