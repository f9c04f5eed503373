"""Our dropout against torch's on this CPU, on the input of one LoRA layer of SmolLM2-135M.

Run: .venv/bin/python benchmarks/dropout.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from attention import milliseconds

from bothways.dropout import dropout


def main() -> None:
    x = torch.randn(2048, 576, dtype=torch.bfloat16, requires_grad=True)
    gradient = torch.ones_like(x)
    for name, call in (("torch", lambda: F.dropout(x, 0.05)), ("bothways", lambda: dropout(x, 0.05))):
        print(f"{name:10} {milliseconds(lambda call=call: call().backward(gradient), 30):.2f} ms forward and backward")


if __name__ == "__main__":
    main()
