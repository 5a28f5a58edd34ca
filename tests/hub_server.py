"""A hub of models on loopback: what huggingface_hub asks for, with the statuses and headers of the real one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.web import Handler, Web, serve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub(Web):
    """One repository. Its large files are redirected to another host name, as from a hub to its storage."""

    repository: str = ""
    names: list[str] = field(default_factory=lambda: ["README.md", "model.safetensors"])
    card: dict[str, object] | None = field(default_factory=lambda: {"license": "apache-2.0", "tags": ["timm"]})
    etag: str = ""
    refused: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    """Status and headers of the answers to `api` and `resolve`."""
    first: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    """The same, of the first answers only; status 0 drops the connection."""
    requests: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Method, path, Authorization and User-Agent of each request."""


class HubHandler(Handler):
    """Serves a `Hub`."""

    @property
    def hub(self) -> Hub:
        assert isinstance(self.web, Hub)
        return self.web

    def do_HEAD(self) -> None:  # noqa: N802
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802
        path = unquote(self.path.split("?")[0])
        given = self.headers.get("Authorization", ""), self.headers.get("User-Agent", "")
        self.hub.requests.append((self.command, path, *given))
        of_model = f"/api/models/{self.hub.repository}"
        if path.startswith("/storage/"):
            super().do_GET()
        elif not path.startswith((of_model, f"/{self.hub.repository}/resolve/")):
            self.answer(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif self.hub.first.get(kind := "api" if path.startswith(of_model) else "resolve"):
            status, headers = self.hub.first[kind].pop(0)
            self.close_connection = not status
            if status:
                self.answer(status, headers)
        elif kind in self.hub.refused:
            self.answer(*self.hub.refused[kind])
        elif kind == "api":
            _, _, revision = path.partition("/revision/")
            if revision not in ("", COMMIT):
                self.answer(404, {"X-Error-Code": "RevisionNotFound"})
                return
            files = [{"rfilename": name} for name in self.hub.names]
            info = {"id": self.hub.repository, "sha": COMMIT, "siblings": files, "tags": [], "cardData": self.hub.card}
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(info).encode())
        else:
            storage = self.hub.address.replace("127.0.0.1", "localhost") + "/storage/model.safetensors?signature=word"
            size = len(self.hub.files["/storage/model.safetensors"])
            linked = {"X-Linked-Etag": f'"{self.hub.etag}"', "X-Linked-Size": str(size)}
            self.answer(302, {"Location": storage, "X-Repo-Commit": COMMIT, "ETag": '"git"', **linked})

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` on a free port and set its address."""
    with serve(hub, HubHandler):
        yield hub
