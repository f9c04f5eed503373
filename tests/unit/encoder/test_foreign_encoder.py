"""Folders that only sentence-transformers can run: recognized, and never if they bring code."""

from __future__ import annotations

import json

import bothways as bw
from bothways.encoder.foreign_encoder import has_code, is_foreign
from tiny import tiny_llama


def test_a_folder_with_code_is_not_handed_over(tmp_path):
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert not has_code(tmp_path)
    (tmp_path / "router_config.json").write_text(json.dumps({"types": {"query": "evil.Module"}}))
    assert has_code(tmp_path)
    (tmp_path / "router_config.json").unlink()
    (tmp_path / "modules.json").write_text(json.dumps([*modules, {"type": "custom_st.Pooling", "path": "1"}]))
    assert has_code(tmp_path)


def test_a_folder_of_ours_is_not_foreign(tmp_path):
    tiny_llama(tmp_path / "base")
    bw.convert(tmp_path / "base", dtype="float32").save(tmp_path / "ours")
    assert not is_foreign(str(tmp_path / "ours"))
    assert not is_foreign(str(tmp_path / "base"))
    (tmp_path / "ours" / "bothways.json").unlink()
    assert is_foreign(str(tmp_path / "ours"))
