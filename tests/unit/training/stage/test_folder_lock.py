"""Two runs never share a folder: the second is told so, and a run that ended or died frees the
place.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.training.stage.folder_lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from bothways.training.stage.folder_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=r"run: another process is training into this folder"), locked(out):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with locked(out):  # killed, so the system has freed it
        pass
    assert list(tmp_path.iterdir()) == []
