"""A local server that answers as the Hugging Face Hub does, as far as downloads of models need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    commit: str = COMMIT
    gated: bool = False
    branch: str = "main"


@dataclass
class Hub:
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """Method and path of each request, and the range if one was asked for."""
    breaks_after: int | None = None
    """Bytes after which the connection of one file breaks off, once."""
    status: int | None = None
    """Of every answer, if the hub is down."""
    url: str = ""

    def fetched(self) -> list[str]:
        """Names of the files that were downloaded."""
        gets = [r.split(" ")[1] for r in self.requests if r.startswith("GET")]
        return [path.split("/", 5)[5] for path in gets if "/resolve/" in path]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub without any model."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, body: bool) -> None:
            path, given = unquote(urlsplit(self.path).path), self.headers.get("Range") or ""
            hub.requests.append(f"{self.command} {path} {given}".strip())
            words = [*map(unquote, urlsplit(self.path).path.strip("/").split("/"))]
            about = words[:2] == ["api", "models"]
            id = "/".join(words[2:4] if about else words[:2])
            revision = "/".join(words[5:]) if about else words[3]
            repo = hub.repos.get(id)
            if hub.status is not None:
                self.refuse(hub.status, "")
            elif repo is None:
                self.refuse(401, "")
            elif revision not in (repo.branch, repo.commit):
                self.refuse(404, "RevisionNotFound")
            elif about:
                siblings = [{"rfilename": n, "size": len(b)} for n, b in repo.files.items()]
                content = {"id": id, "sha": repo.commit, "siblings": siblings}
                self.send(200, json.dumps({**content, "cardData": repo.card}).encode(), body)
            elif repo.gated:
                self.refuse(403, "GatedRepo")
            elif (name := "/".join(words[4:])) not in repo.files:
                self.refuse(404, "EntryNotFound")
            else:
                self.file(repo, repo.files[name], body, given)

        def file(self, repo: Repo, content: bytes, body: bool, given: str) -> None:
            start = int(given.removeprefix("bytes=").split("-")[0]) if given else 0
            headers = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": repo.commit,
            }  # fmt: skip
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send(206 if start else 200, content[start:], body, headers)

        def refuse(self, status: int, code: str) -> None:
            self.send(status, b"", True, {"X-Error-Code": code} if code else {})

        def send(
            self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if not body:
                return
            if hub.breaks_after is not None and len(content) > hub.breaks_after:
                self.wfile.write(content[: hub.breaks_after])
                hub.breaks_after, self.close_connection = None, True
                return
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
