"""LLM2Vec's preset joins instruction and text by one blank, which is no reason to refuse it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import bothways as bw
from bothways.exports.joined import joined
from bothways.exports.reference import SAMPLE
from export_models import small_model


def test_a_joint_is_written_into_the_prompts(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "llama")
    joint = bw.convert(base, prompts={"query": "Find:"}, wrapper=("", "", " "), dtype="float32", device="cpu")
    out = bw.export(joint, tmp_path / "gguf", to="gguf")
    assert json.loads((out / "bothways-export.json").read_text())["prompts"] == {"query": "Find: "}
    assert joint.prompts == {"query": "Find:"} and joint.options.wrapper.joint == " "
    folder = bw.export(joint, tmp_path / "st", to="sentence-transformers")
    again = bw.load(folder, dtype="float32", device="cpu")
    assert again.prompts == {"query": "Find: "} and not again.options.wrapper.joint
    assert np.abs(again.encode_query(SAMPLE) - joint.encode_query(SAMPLE)).max() < 1e-6
    for target in ("vllm", "tei", "llm2vec"):
        assert bw.export(joint, tmp_path / target, to=target).is_dir()


def test_a_chat_wrapper_stays(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "llama")
    chat = bw.convert(base, wrapper=("[INST] ", " [/INST]", " "), dtype="float32", device="cpu")
    assert joined(chat) is chat
