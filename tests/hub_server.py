"""A stand-in of the hub's HTTP API for tests of uploads: repositories, branches, large files and
commits, kept in memory.

What it holds after an upload is what a download would give, so a test compares bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import yaml

TOKEN = "hf_right"


@dataclass
class Repository:
    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    messages: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        repositories: by name.
        objects: large files by SHA-256.
        fail: part of a path → status that the next request there gets.
        asked: method and path of each request.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    fail: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def files(self, name: str, branch: str = "main") -> dict[str, bytes]:
        return self.repositories[name].branches[branch]


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run the stand-in on a free port."""
    hub = Hub()

    class Handler(_Handler):
        held = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    held: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        self.held.asked.append(f"{method} {path}")
        failing = next((part for part in self.held.fail if part in path), None)
        if failing is not None:
            return self._answer({"error": "as the test wants it"}, self.held.fail[failing])
        if not path.startswith("/objects/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid credentials"}, 401)
        for pattern, name in _ROUTES.items():
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                return getattr(self, name)(*found.groups(), body)
        return self._answer({"error": f"the stand-in does not know {method} {path}"}, 501)

    def _answer(self, value: Any, status: int = 200) -> None:
        raw = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.held.repositories:
            return self._answer({"error": "You already created this model repo"}, 409)
        private = asked.get("private") or asked.get("visibility") == "private"
        self.held.repositories[name] = Repository(bool(private))
        return self._answer({"url": f"{self.held.url}/{name}"})

    def validate(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        try:
            fields = yaml.safe_load(content.split("---\n")[1])
            assert isinstance(fields["tags"], list)
        except Exception as error:
            return self._answer({"errors": [{"message": f"bad metadata: {type(error).__name__}"}], "warnings": []}, 400)
        return self._answer({"errors": [], "warnings": []})

    def info(self, name: str, body: bytes) -> None:
        if name not in self.held.repositories:
            return self._answer({"error": "Repository not found"}, 404)
        return self._answer({"id": name, "private": self.held.repositories[name].private, "sha": "0" * 40})

    def tree(self, name: str, branch: str, body: bytes) -> None:
        files = self.held.files(name, branch)
        return self._answer([{"type": "file", "path": path, "size": len(raw), "oid": "0" * 40} for path, raw in files.items()])

    def branch(self, name: str, branch: str, body: bytes) -> None:
        held = self.held.repositories[name].branches
        if branch in held:
            return self._answer({"error": "Reference already exists"}, 409)
        held[branch] = dict(held["main"])
        return self._answer({})

    def preupload(self, name: str, branch: str, body: bytes) -> None:
        asked = json.loads(body)["files"]
        modes = ["lfs" if file["path"].endswith(".safetensors") else "regular" for file in asked]
        found = [{"path": file["path"], "uploadMode": mode, "shouldIgnore": False} for file, mode in zip(asked, modes)]
        return self._answer({"files": found})

    def batch(self, name: str, body: bytes) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.held.url}/objects/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        return self._answer({"objects": objects, "transfer": "basic"})

    def put(self, oid: str, body: bytes) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.held.objects[oid] = body
        return self._answer({})

    def commit(self, name: str, branch: str, body: bytes) -> None:
        held = self.held.repositories[name]
        files = dict(held.branches[branch])
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                held.messages.append(value["summary"])
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.held.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        held.branches[branch] = files
        return self._answer({"commitUrl": f"{self.held.url}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40})


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = {
    "POST /api/repos/create": "create",
    "POST /api/validate-yaml": "validate",
    f"GET /api/models/{_NAME}": "info",
    f"GET /api/models/{_NAME}/tree/([^/]+)": "tree",
    f"POST /api/models/{_NAME}/branch/([^/]+)": "branch",
    f"POST /api/models/{_NAME}/preupload/([^/]+)": "preupload",
    f"POST /{_NAME}.git/info/lfs/objects/batch": "batch",
    r"PUT /objects/(\w+)": "put",
    f"POST /api/models/{_NAME}/commit/([^/]+)": "commit",
}
