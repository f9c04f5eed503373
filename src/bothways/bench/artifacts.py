"""Writes the same encoder in the form of each peer.

All forms come from one float32 folder, so all peers have the same weights. Graphs are written by
the environment that has onnx, with `bothways export`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bothways.atomic import atomic_file
from bothways.attention.positions import usable_positions
from bothways.bench.worker_handle import ROOT, WorkerError
from bothways.encoder.convert import convert
from bothways.encoder.encoder import Encoder
from bothways.encoder.load import is_encoder, load, locate
from bothways.encoder.options import EncoderOptions
from bothways.errors import InputError
from bothways.folder_files import TRANSFORMER_SETTINGS
from bothways.printable import printable_line

FORMS: dict[str, tuple[str, ...]] = {
    "llm2vec": ("--to", "llm2vec"),
    "gguf f32": ("--to", "gguf"),
    "gguf q8_0": ("--to", "gguf", "--quantize", "q8_0"),
    "onnx f32": ("--to", "onnx"),
    "onnx int8": ("--to", "onnx", "--quantize", "int8"),
    "openvino f32": ("--to", "openvino"),
    "openvino int8": ("--to", "openvino", "--quantize", "int8"),
}
"""Options of `bothways export` for each form. "encoder" is the folder itself."""
LONGEST = 2048
"""Tokens of a text in all forms, if the model has so many positions."""
_NOTE = "bench.json"


class Artifacts:
    """The forms of one encoder in a folder, each written when it is first asked for.

    Args:
        model: an encoder folder, or a base model, which is converted in both directions.
        folder: folder for the forms. Those of an earlier run of the same model are used again.

    Raises:
        InputError: if the folder has the forms of another model.
    """

    def __init__(self, model: str, folder: Path) -> None:
        self.folder = folder
        self.encoder_folder = folder / "encoder"
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / _NOTE
        if note.exists():
            made_of = json.loads(note.read_text(encoding="utf-8")).get("model")
            if made_of != model:
                raise InputError(
                    f"{folder}: has the forms of {made_of}; give another --work folder for {model}"
                )
        elif any(folder.iterdir()):
            raise InputError(f"{folder}: is not a folder of bothways bench; give an empty one")
        if not self.encoder_folder.exists():
            _plain(model).save(self.encoder_folder)
            with atomic_file(note) as part:
                part.write_text(json.dumps({"model": model}) + "\n", encoding="utf-8")

    @property
    def tokens(self) -> int:
        """Tokens of the longest text that every form takes."""
        stored = (self.encoder_folder / TRANSFORMER_SETTINGS).read_text(encoding="utf-8")
        return int(json.loads(stored)["max_seq_length"])

    def encoder(self) -> Encoder:
        """Return the encoder in float32, for token counts and shapes."""
        return load(self.encoder_folder, device="cpu", dtype="float32")

    def place(self, form: str, python: Path, say: Callable[[str], None]) -> Path:
        """Return the folder or file of a form, and write it if it does not exist.

        Args:
            form: "encoder" or a key of `FORMS`.
            python: the peer's interpreter, which writes graphs.
            say: takes a line about what takes long.

        Raises:
            WorkerError: if the form cannot be written. The message has the reason.
        """
        if form == "encoder":
            return self.encoder_folder
        out = self.folder / form.replace(" ", "-")
        if not out.exists():
            say(f"writing the model for {form}")
            self._export(out, FORMS[form], python)
        if not form.startswith("gguf"):
            return out
        return next(iter(out.glob("*.gguf")))

    def _export(self, out: Path, options: tuple[str, ...], python: Path) -> None:
        inside = options[1] in ("onnx", "openvino")
        command = [str(python if inside else sys.executable), "-m", "bothways", "export"]
        command += [str(self.encoder_folder), "--out", str(out), "--device", "cpu", *options]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise WorkerError(printable_line(lines[-1].removeprefix("error: "), 200))


def _plain(model: str) -> Encoder:
    """Open a model in float32, without prompts, which some peers cannot store."""
    source = locate(model)
    if is_encoder(source):
        encoder = load(source, device="cpu", dtype="float32")
        old = encoder.options
        encoder.options = EncoderOptions(
            max_length=old.max_length,
            pool_bos=old.pool_bos,
            normalize=old.normalize,
            wrapper=old.wrapper,
        )
    else:
        encoder = convert(source, device="cpu", dtype="float32", max_length=None)
    positions = usable_positions(encoder.backbone)
    reach = [size for size in (LONGEST, positions, encoder.options.max_length) if size]
    encoder.options.max_length = min(reach)
    return encoder
