"""Material for the tests of `bothways.compat`: a tiny Llama that says it is the chat model, and
adapters for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from tiny import SENTENCES, tiny_llama

CHAT = "meta-llama/Meta-Llama-3-8B-Instruct"
BEFORE, AFTER = "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"
TASK = "Given a web search query, retrieve relevant passages that answer the query:"
QUERIES = [[TASK, "how much protein should a female eat"], [TASK, "summit define"]]
DOCUMENTS = [*SENTENCES[:3], "the highest point of a mountain "]


def chat_model(folder: Path) -> Path:
    """A tiny Llama whose config says that it is the chat model."""
    folder = tiny_llama(folder, tokenizer={"add_bos": True, "pad": None})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": CHAT}))
    return folder


def adapter(model: Any, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    wrapped = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )
    wrapped.save_pretrained(str(folder))
    return folder
