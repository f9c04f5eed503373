"""Runs an exported folder in sentence-transformers and in plain transformers, of this environment and of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bothways.errors import InputError
from bothways.exports.folders import folder_loaders
from bothways.exports.gguf.llama_cpp import LoaderError
from bothways.exports.reference import cosine
from bothways.exports.result import Result

LLM2VEC = "llm2vec"
VARIABLE = "LLM2VEC_PYTHON"


def verify_folder(folder: Path, manifest: dict[str, Any], pythons: Sequence[str] = ()) -> list[Result]:
    """Compare a folder's vectors in each loader with those that were stored when it was written.

    Args:
        folder: the export.
        manifest: of the export.
        pythons: interpreters of other environments, which are asked after this one.

    Raises:
        InputError: a Python that is not there, or a damaged manifest.
        LoaderError: a loader cannot run the folder.
    """
    try:
        rows, bar = manifest["reference"], float(manifest["bar"])
        loaders, trust = list(manifest["loaders"]), bool(manifest["trust_remote_code"])
        results = []
        for python in _pythons(folder, loaders, pythons):
            for loader in loaders:
                # the plain way has no prompts and pools all tokens
                chosen = [row for row in rows if loader != "transformers" or not row["prompt"]]
                answer = run(python, folder, loader, chosen, trust=trust)
                label = " on ".join(f"{name} {version}" for name, version in sorted(answer["versions"].items()))
                for way, vectors in zip(("single", "batch"), answer["vectors"], strict=True):
                    results += [
                        Result(label, f"{row['case']}, {way}", cosine(vector, row["vector"]), bar, float(row["cost"]))
                        for row, vector in zip(chosen, vectors, strict=True)
                    ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: damaged ({type(error).__name__}); export the model again") from None
    return results


def _pythons(folder: Path, loaders: list[str], given: Sequence[str]) -> list[str]:
    """Give the Pythons to ask: this one and the given ones. llm2vec cannot live next to bothways.

    Raises:
        InputError: no Python for llm2vec.
    """
    if loaders != [LLM2VEC]:
        return [sys.executable, *given]
    named = os.environ.get(VARIABLE)
    found = [*given, *([named] if named and not given else [])]
    if not found:
        raise InputError(
            f"{folder}: llm2vec needs transformers 4.44, so it is asked in an environment of its own; "
            f"give its Python: --with PYTHON, or {VARIABLE}=PYTHON"
        )
    return found


def run(
    python: str, folder: Path, loader: str, rows: list[dict[str, Any]], *, trust: bool = False, seconds: float = 900.0
) -> dict[str, Any]:
    """Encode rows in one loader of one Python.

    Args:
        python: the interpreter.
        folder: what the loader opens.
        loader: a key of `folder_loaders.LOADERS`.
        rows: objects with "text" and "prompt".
        trust: allow the folder's own code.
        seconds: after which the process is ended.

    Returns:
        "versions" by package, and "vectors": one list for texts one by one, one for a batch.

    Raises:
        InputError: there is no such Python.
        LoaderError: the loader ends with an error; the message holds its last line.
    """
    given = {"folder": str(folder.resolve()), "loader": loader, "rows": rows, "trust": trust}
    environment = {"HF_HUB_OFFLINE": "1", **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}}
    return ask(python, folder_loaders.__file__, given, f"{folder}: {loader}", environment, seconds)


def ask(
    python: str, script: str, given: dict[str, Any], what: str, environment: dict[str, str], seconds: float
) -> dict[str, Any]:
    """Run a script in another process and read its answer; see `run`."""
    try:
        done = subprocess.run(
            [python, "-I", script],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=environment,
        )
    except OSError as error:
        raise InputError(f"with: {python} cannot be run ({error.strerror}); give the path of a Python") from None
    except subprocess.TimeoutExpired:
        raise LoaderError(f"{what} did not finish within {seconds:.0f} s") from None
    answer = next((line for line in done.stdout.splitlines() if line.startswith(folder_loaders.MARK)), None)
    if answer is None:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LoaderError(f"{what} cannot run it in {python} ({said[:300]})")
    found: dict[str, Any] = json.loads(answer.removeprefix(folder_loaders.MARK))
    return found
