"""A live server, asked by the clients of docs/serve.md and by schemathesis: `make clients`.

    .venv/bin/python tests/clients/run.py .venv-clients/bin

The clients have an environment of their own, without torch. Their examples are the code blocks of
the page, run as they are. Every vector is compared with `encode`. schemathesis then sends requests
made from the OpenAPI page, and none may be answered with status 500. Exit code 1 if anything fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402

import bothways as bw  # noqa: E402
from bothways.serving.served_documents import Documents  # noqa: E402
from embedding_server import running  # noqa: E402
from pages import blocks  # noqa: E402
from tiny import SENTENCES, tiny_llama  # noqa: E402

TEXTS = ["a cat", "a dog"]  # those of the page
ADDRESS = "http://127.0.0.1:8000"
CLIENTS = {"openai": "import OpenAI\n", "LangChain": "langchain_openai", "LlamaIndex": "openai_like"}
TELL = "\nimport json\nprint(json.dumps([list(vector) for vector in vectors]))\n"


def main(binaries: Path) -> int:
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    failed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = bw.convert(str(tiny_llama(folder / "base", tokenizer={"add_bos": True})), dtype="float32", max_length=64)
        (folder / "t.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
        bw.index(folder / "t.txt", model=encoder, to=folder / "x").close()
        documents = Documents.of(bw.open_index(folder / "x"), {"mine": encoder})
        with running({"mine": encoder}, documents=documents) as server:
            for client, sign in CLIENTS.items():
                code = next(block for block in blocks(page, "python") if sign in block)
                failed += ask(binaries, client, code.replace(ADDRESS, server.url), encoder)
            failed += send_anything(binaries, server.url, folder)
    print("failed: " + ", ".join(failed) if failed else "all clients agree with encode, and no request was answered with 500")
    return bool(failed)


def ask(binaries: Path, client: str, code: str, encoder: bw.Encoder) -> list[str]:
    """Run a client's example; return its name if it fails or gives other vectors than `encode`."""
    done = subprocess.run([binaries / "python", "-c", code + TELL], capture_output=True, text=True, timeout=300)
    if done.returncode:
        print(f"{client}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return [client]
    off = np.abs(np.array(json.loads(done.stdout.splitlines()[-1])) - encoder.encode(TEXTS)).max()
    print(f"{client}: largest difference from encode {off:.1e}")
    return [client] if off > 1e-5 else []


def send_anything(binaries: Path, url: str, folder: Path) -> list[str]:
    """Let schemathesis send 50 requests for each operation of the OpenAPI page."""
    words = [
        "run",
        f"{url}/openapi.json",
        "--checks",
        "not_a_server_error",
        "--max-examples",
        "50",
        "--seed",
        "0",
        "--no-color",
    ]
    done = subprocess.run([binaries / "schemathesis", *words], capture_output=True, text=True, timeout=900, cwd=folder)
    print("\n".join(done.stdout.strip().splitlines()[-12:]))
    return ["schemathesis"] if done.returncode else []


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
