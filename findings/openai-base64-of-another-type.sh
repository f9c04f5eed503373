#!/usr/bin/env bash
# openai 3.57.0: embeddings.create asks the server for base64 by itself when encoding_format is not
# given, and decodes the answer as float32 whatever else the request said. A server that offers
# other types inside base64 (vLLM's embed_dtype: float16, int8 and others) then yields a vector of
# half or a quarter of the length with numbers that mean nothing, without an error. With
# encoding_format="float" the numbers are right. With "base64" by name the string comes back as it is.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check openai==3.57.0 numpy
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

import numpy
from openai import OpenAI

VECTOR = [0.5, -0.25, 1.0, -1.0]
asked = []


class Embeddings(BaseHTTPRequestHandler):
    """Answers as vLLM does: `embed_dtype` names the type of the numbers inside a base64 answer."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(body.get("encoding_format"))
        vector = VECTOR
        if asked[-1] == "base64":
            vector = base64.b64encode(numpy.array(VECTOR, dtype=body.get("embed_dtype", "float32")).tobytes()).decode()
        answer = json.dumps({
            "object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
            "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        }).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Embeddings)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", max_retries=0)


def embedding(**arguments):
    return client.embeddings.create(model="m", input="tides", **arguments).data[0].embedding


print("openai", version("openai"))
plain = embedding()
half = embedding(extra_body={"embed_dtype": "float16"})
told = embedding(encoding_format="base64", extra_body={"embed_dtype": "float16"})
floats = embedding(encoding_format="float", extra_body={"embed_dtype": "float16"})
print("asked for", asked)
print("served  ", VECTOR)
print("float32 ", plain)
print("float16 ", half)
print("float16, base64 asked for by the caller", told if isinstance(told, str) else list(told))
print("float   ", floats)
raise SystemExit(0 if plain == floats == VECTOR and len(half) == 2 and isinstance(told, str) else 1)
PY
