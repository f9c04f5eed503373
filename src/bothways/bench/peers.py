"""The libraries that `bothways bench` compares, and the environments that they run in.

A peer runs in this Python if its packages are here, or in `.venv-bench-NAME` of the current folder,
which `make bench` fills. A peer without either is named as not installed.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bothways.errors import InputError
from bothways.nearest import meant

PREFIX = ".venv-bench-"
OWN = "bothways"
"""The peer that the others are divided by."""


@dataclass(frozen=True)
class Peer:
    """One row of the table.

    Attributes:
        name: as in the table and in `--peers`.
        loader: a key of `worker.LOADERS`.
        artifact: the form of the weights, a key of `artifacts.FORMS`.
        dtype: "float32", "int8", …. If None, the type of the run.
        batch: texts of a batch, or 0 if the library decides.
        packages: modules that the environment must have.
        environment: name of its environment behind `PREFIX`. If "", only this Python will do.
        quantize: value of `bothways.load`'s `quantize`.
        graph: value of `bothways.load`'s `graph`.
    """

    name: str
    loader: str
    artifact: str
    dtype: str | None = None
    batch: int = 0
    packages: tuple[str, ...] = ()
    environment: str = ""
    quantize: str = ""
    graph: str = "none"


PEERS = (
    Peer(OWN, "bothways", "encoder"),
    Peer(f"{OWN} int8", "bothways", "encoder", dtype="int8", quantize="int8"),
    Peer(
        f"{OWN} with graph",
        "bothways",
        "encoder",
        dtype="float32",
        packages=("openvino",),
        environment="graphs",
        graph="openvino",
    ),
    *(
        Peer(f"sentence-transformers, batch {size}", "sentence-transformers", "encoder", batch=size)
        for size in (8, 32)
    ),
    *(
        Peer(
            f"llm2vec, batch {size}",
            "llm2vec",
            "llm2vec",
            batch=size,
            packages=("llm2vec",),
            environment="llm2vec",
        )
        for size in (8, 32)
    ),
    *(
        Peer(
            f"llama.cpp {form}",
            "llama.cpp",
            f"gguf {form.lower()}",
            dtype=dtype,
            batch=8,
            packages=("xllamacpp",),
            environment="llama-cpp",
        )
        for form, dtype in (("F32", "float32"), ("Q8_0", "int8"))
    ),
    *(
        Peer(
            f"{title} {dtype}",
            "bothways",
            f"{target} {form}",
            dtype=dtype,
            packages=(package,),
            environment="graphs",
        )
        for title, target, package in (
            ("ONNX Runtime", "onnx", "onnxruntime"),
            ("OpenVINO", "openvino", "openvino"),
        )
        for dtype, form in (("float32", "f32"), ("int8", "int8"))
    ),
)
"""All peers, in the order of the table."""


def chosen(names: Sequence[str] | None) -> list[Peer]:
    """Return the peers that a user names, with bothways first.

    For example, ["llama.cpp"] gives bothways and both forms of llama.cpp, because the beginning of
    a name chooses all names that begin so.

    Args:
        names: names or their beginnings, in any case. If None, all peers.

    Raises:
        InputError: if a name is unknown.
    """
    if names is None:
        return list(PEERS)
    wanted = {OWN}
    for name in names:
        found = {peer.name for peer in PEERS if peer.name.lower().startswith(name.strip().lower())}
        if not found or not name.strip():
            known = [peer.name for peer in PEERS]
            hint = meant(name, known)
            raise InputError(f"--peers {name}: is not a peer; {hint}known: {', '.join(known)}")
        wanted |= found
    return [peer for peer in PEERS if peer.name in wanted]


def interpreter(peer: Peer, folder: Path) -> Path | None:
    """Return the Python that has a peer's packages, or None if there is none.

    Args:
        peer: the peer.
        folder: folder with the environments `.venv-bench-NAME`.
    """
    if all(importlib.util.find_spec(package) is not None for package in peer.packages):
        return Path(sys.executable)
    own = environment(peer.environment, folder)
    return own if own is not None and _has(own, peer.packages) else None


def environment(name: str, folder: Path) -> Path | None:
    """Return the Python of an environment of the benchmark, or None if it does not exist."""
    for place in ("bin/python", "Scripts/python.exe"):
        python = folder / f"{PREFIX}{name}" / place
        if name and python.exists():
            return python.absolute()
    return None


def _has(python: Path, packages: Sequence[str]) -> bool:
    code = (
        "import sys, importlib.util as u; sys.exit(not all(u.find_spec(p) for p in sys.argv[1:]))"
    )
    done = subprocess.run([python, "-I", "-c", code, *packages], check=False, capture_output=True)
    return done.returncode == 0
