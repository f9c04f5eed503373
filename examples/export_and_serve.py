"""Export an encoder, serve it over HTTP, and ask the server as any OpenAI client does.

    python examples/export_and_serve.py
    python examples/export_and_serve.py --model runs/mine --texts notes.txt --to onnx --out runs/exported

Writes the export and prints its files. Then it starts `bothways serve`, asks /v1/embeddings for the
texts, prints the lowest cosine of these vectors to the encoder's own, which is 1, and stops the
server. Needs the extra: pip install 'bothways[serve]'.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np

import bothways as bw
from bothways.encoder.load import is_encoder

DATA = Path(__file__).parent / "data" / "answers.txt"


def asked(port: int, texts: list[str], seconds: float = 120) -> np.ndarray:
    """The vectors of the texts from the server, which takes a while to start."""
    body = json.dumps({"input": texts}).encode()
    request = Request(
        f"http://127.0.0.1:{port}/v1/embeddings", body, {"Content-Type": "application/json"}
    )
    for _ in range(int(seconds)):
        try:
            return np.array([row["embedding"] for row in json.load(urlopen(request))["data"]])
        except OSError:  # not listening yet
            time.sleep(1)
    raise SystemExit(f"the server did not answer within {seconds:g} seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", help="an encoder folder or a base LLM")
    parser.add_argument("--texts", default=DATA, type=Path)
    parser.add_argument("--to", default="sentence-transformers", help="or onnx, gguf, …")
    parser.add_argument("--out", default="runs/exported", type=Path)
    parser.add_argument("--port", type=int, default=8123)
    given = parser.parse_args()
    texts = given.texts.read_text(encoding="utf-8").splitlines()

    encoder = (bw.load if is_encoder(given.model) else bw.convert)(given.model, dtype="float32")
    own = encoder.encode(texts, normalize_embeddings=True)
    bw.export(encoder, given.out / "export", to=given.to)
    files = sorted(file.name for file in (given.out / "export").iterdir())
    print(f"wrote {given.out / 'export'}: {', '.join(files)}")
    encoder.save(given.out / "encoder")

    served_folder, port = f"mine={given.out / 'encoder'}", str(given.port)
    command = ["serve", served_folder, "--port", port, "--dtype", "float32"]
    server = subprocess.Popen([sys.executable, "-m", "bothways", *command])
    try:
        served = asked(given.port, texts)
    finally:
        server.terminate()
        server.wait()
    served /= np.linalg.norm(served, axis=1, keepdims=True)
    lowest = (own * served).sum(axis=1).min()
    print(f"{len(texts)} texts from the server, lowest cosine to the encoder {lowest:.6f}")
    print(f"next: bothways verify-export {given.out / 'export'}")


if __name__ == "__main__":
    main()
