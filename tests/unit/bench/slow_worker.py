"""A worker with a library that sleeps: `given["delay"]` seconds a text."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))
from bothways.bench import worker


def _slow(given: dict[str, Any]) -> worker.Encode:
    def encode(texts: Sequence[str]) -> list[list[float]]:
        print("a library's own line")  # noqa: T201 - must not reach the answers
        if given.get("dies") and "die" in texts:
            sys.exit("killed by a bad text")
        time.sleep(given["delay"] * len(texts))
        return [[1.0, float(len(text))] for text in texts]

    return encode


worker.LOADERS["llama.cpp"] = (_slow, ("numpy", "no-such-package"))
if __name__ == "__main__":
    worker.main()
