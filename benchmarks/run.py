"""All speed figures of this machine, one after the other: `make speed`.

On a machine with a CUDA device `benchmarks/gpu.py` runs as well.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent


def main() -> None:
    for script in ("attention.py", "dropout.py", "encode.py") + (("gpu.py",) if torch.cuda.is_available() else ()):
        print(f"\n== {script}", flush=True)
        subprocess.run([sys.executable, str(HERE / script)], check=True)


if __name__ == "__main__":
    main()
