"""Runs an exported folder in its loaders, in this environment and in others."""

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


def verify_folder(
    folder: Path, manifest: dict[str, Any], pythons: Sequence[str] = ()
) -> list[Result]:
    """Compare a folder's vectors in each loader with those that were stored when it was written.

    Args:
        folder: the export.
        manifest: the export's manifest.
        pythons: Python interpreters of other environments, which run after this one.

    Raises:
        InputError: if a Python cannot be run, or the manifest is damaged.
        LoaderError: if a loader cannot run the folder.
    """
    try:
        rows, bar = manifest["reference"], float(manifest["bar"])
        loaders, trust = list(manifest["loaders"]), bool(manifest["trust_remote_code"])
        results = []
        for python in _pythons(folder, loaders, pythons):
            for loader in loaders:
                # plain transformers does not have prompts, and pools all tokens
                chosen = [row for row in rows if loader != "transformers" or not row["prompt"]]
                answer = run(python, folder, loader, chosen, trust=trust)
                label = " on ".join(
                    f"{name} {version}" for name, version in sorted(answer["versions"].items())
                )
                for way, vectors in zip(("single", "batch"), answer["vectors"], strict=True):
                    results += [
                        Result(
                            label,
                            f"{row['case']}, {way}",
                            cosine(vector, row["vector"]),
                            bar,
                            float(row["cost"]),
                        )
                        for row, vector in zip(chosen, vectors, strict=True)
                    ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder}: damaged ({type(error).__name__}); export the model again"
        ) from None
    return results


def _pythons(folder: Path, loaders: list[str], given: Sequence[str]) -> list[str]:
    """Return the Pythons to run: this one and the given ones.

    llm2vec runs only in the given ones, because it cannot be installed next to bothways.

    Raises:
        InputError: if there is no Python for llm2vec.
    """
    if loaders != [LLM2VEC]:
        return [sys.executable, *given]
    named = os.environ.get(VARIABLE)
    found = [*given, *([named] if named and not given else [])]
    if not found:
        raise InputError(
            f"{folder}: llm2vec needs transformers 4.44, so it runs in an environment of its own; "
            f"give that environment's Python: --with PYTHON, or {VARIABLE}=PYTHON"
        )
    return found


def run(
    python: str,
    folder: Path,
    loader: str,
    rows: list[dict[str, Any]],
    *,
    trust: bool = False,
    seconds: float = 900.0,
) -> dict[str, Any]:
    """Encode rows in one loader of one Python.

    Args:
        python: the interpreter.
        folder: folder that the loader opens.
        loader: a key of `folder_loaders.LOADERS`.
        rows: objects with "text" and "prompt".
        trust: if True, the loader may run the folder's own code.
        seconds: limit after which the process is ended.

    Returns:
        "versions" by package, and "vectors" with two lists: texts encoded alone, then in one batch.

    Raises:
        InputError: if there is no such Python.
        LoaderError: if the loader ends with an error. The message has its last line.
    """
    given = {"folder": str(folder.resolve()), "loader": loader, "rows": rows, "trust": trust}
    environment = {
        "HF_HUB_OFFLINE": "1",
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    }
    return ask(python, folder_loaders.__file__, given, f"{folder}: {loader}", environment, seconds)


def ask(
    python: str,
    script: str,
    given: dict[str, Any],
    name: str,
    environment: dict[str, str],
    seconds: float,
) -> dict[str, Any]:
    """Run a script in another process and read its answer, see `run`.

    Args:
        python: the interpreter.
        script: path of the script.
        given: request, which the script reads as JSON from its input.
        name: the beginning of an error line.
        environment: variables of the process.
        seconds: limit after which the process is ended.
    """
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
        raise InputError(
            f"with: {python} cannot be run ({error.strerror}); give the path of a Python"
        ) from None
    except subprocess.TimeoutExpired:
        raise LoaderError(f"{name} did not finish within {seconds:.0f} s") from None
    answer = next(
        (line for line in done.stdout.splitlines() if line.startswith(folder_loaders.MARK)), None
    )
    if answer is None:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LoaderError(f"{name} cannot run it in {python} ({said[:300]})")
    found: dict[str, Any] = json.loads(answer.removeprefix(folder_loaders.MARK))
    return found
