"""A process that encodes nothing: it imports no model, so that tests of the exchange are fast."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from bothways.bulk.shard_file import ShardRecord
from bothways.bulk.workers import end_with_parent
from bothways.errors import OutputError

FACTS = {"model": {"name": "none", "fingerprint": "f", "dtype": "float32"}, "settings": {"both": False}, "dimension": 2}


def main(pipe: Any, request: Any, settings: Any, folder: Path, index: int, threads: int) -> None:
    """Take shards as `workers._work` does. Texts say what happens."""
    end_with_parent()
    if request.name == "broken":
        os._exit(3)
    pipe.send(("ready", {**FACTS, "dimension": 2 + index if request.name == "changing" else 2}))
    while True:
        try:
            shard, _ = pipe.recv()
        except EOFError:
            return
        mark = folder / f"seen-{shard.number}"
        seen = mark.exists()
        mark.touch()
        if "die" in shard.texts or ("die once" in shard.texts and not seen):
            os.kill(os.getpid(), signal.SIGKILL)
        if "full" in shard.texts:
            pipe.send(("error", (OutputError.__name__, "no room")))
            return
        pipe.send(("done", ShardRecord(shard.number, shard.name, shard.first, len(shard.texts), index, 0, "", shard.digest())))
