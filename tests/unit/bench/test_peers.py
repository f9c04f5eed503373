"""Peers are chosen by the beginning of a name, and run in the environment that has them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bothways.bench.artifacts import FORMS
from bothways.bench.peers import OWN, PEERS, Peer, chosen, environment, interpreter
from bothways.bench.worker import LOADERS
from bothways.errors import InputError


def test_every_peer_has_a_loader_and_a_form() -> None:
    for peer in PEERS:
        assert peer.loader in LOADERS and peer.artifact in {"encoder", *FORMS}
    assert len({peer.name for peer in PEERS}) == len(PEERS) and PEERS[0].name == OWN


def test_the_beginning_of_a_name_is_enough() -> None:
    assert [peer.name for peer in chosen(["LLAMA.cpp"])] == [OWN, "llama.cpp F32", "llama.cpp Q8_0"]
    assert chosen(None) == list(PEERS) and [peer.name for peer in chosen([OWN])] == [
        *(OWN, "bothways int8", "bothways with graph"),
    ]
    for wrong in ("llamacpp F32", " "):
        with pytest.raises(InputError, match="is not a peer"):
            chosen([wrong])


def test_an_environment_must_have_the_packages(tmp_path: Path) -> None:
    peer = Peer("x", "slow", "encoder", packages=("bothways_has_no_such",), environment="x")
    assert interpreter(peer, tmp_path) is None and environment("x", tmp_path) is None
    python = tmp_path / ".venv-bench-x" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nexit "$(cat "$(dirname "$0")/code")"\n')
    python.chmod(0o755)
    for code, found in (("1", None), ("0", python)):
        (python.parent / "code").write_text(code)
        assert interpreter(peer, tmp_path) == found
    assert interpreter(Peer("y", "slow", "encoder", packages=("numpy",)), tmp_path) == Path(sys.executable)
