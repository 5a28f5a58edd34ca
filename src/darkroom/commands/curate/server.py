"""The local server of the page: loopback only, behind an address that nobody can guess."""

import json
import secrets
import socket
from collections.abc import Callable
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.commands.curate.ledger import Ledger, TakenError
from darkroom.commands.curate.pictures import Gallery, Originals, shown
from darkroom.foundations.errors import DarkroomError, explain

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
HOSTS = ("127.0.0.1", "localhost", "::1")
"""Host names of this machine. Any other one in a request means that a foreign page reached this server by DNS
rebinding. The port is not checked, because an SSH tunnel may use another one."""
PAGE = {"": "index.html", "curate.css": "curate.css", "curate.js": "curate.js", "scene.js": "scene.js"}
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
AHEAD = 6
"""Number of cases that the page gets in advance, so that it can load their images."""
PATIENCE = 3.0
"""Seconds to wait for an original image before the packed one is shown."""
SMALL = 96
"""Longer side in pixels of images that are enlarged without smoothing."""
MOST_BYTES = 10_000
"""Largest request body."""


def listen(port: int | None, default: int) -> socket.socket:
    """Return a socket on loopback: on `port`, or on `default` or any free port if `port` is None.

    Raises DarkroomError when `port` is in use.
    """
    for choice in (default, 0) if port is None else (port,):
        try:
            return socket.create_server(("127.0.0.1", choice))
        except OSError as error:
            reason = error.strerror
    raise DarkroomError(f"port {port} cannot be used ({reason}): give another one, or leave out --port")


class Server(uvicorn.Server):
    """Serves an application on open sockets until the process is interrupted or `should_exit` is set."""

    def __init__(self, application: ASGIApp) -> None:
        config = uvicorn.Config(
            application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        super().__init__(config)


class Guard:
    """ASGI application around another one: refuses requests without the token or for another host."""

    def __init__(self, application: ASGIApp, token: str) -> None:
        self._application = application
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request without the token in its path, or refuse it."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        _, _, path = scope["path"].removeprefix("/").partition("/")
        inner = {**scope, "path": f"/{path}", "raw_path": f"/{path}".encode()}
        await (refusal or self._application)(inner, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not _is_local(f"//{headers.get('host', '')}"):
            return PlainTextResponse("This page is only for this machine: open the address in the terminal.\n", 403)
        if "origin" in headers and not _is_local(headers["origin"]):
            return PlainTextResponse("Another page may not use this one.\n", 403)
        given, slash, _ = scope["path"].removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(given.encode(errors="replace"), self._token):
            text = "The address is not complete: open the one that darkroom curate has printed, with its token.\n"
            return PlainTextResponse(text, 403)
        return None


def _is_local(address: str) -> bool:
    try:
        return urlsplit(address).hostname in HOSTS
    except ValueError:
        return False


class Pages:
    """The requests of the page."""

    def __init__(self, ledger: Ledger, gallery: Gallery, originals: Originals) -> None:
        self._ledger = ledger
        self._gallery = gallery
        self._originals = originals

    def application(self, token: str) -> ASGIApp:
        """Return the whole ASGI application."""
        routes = [
            Route("/state", self.state),
            Route("/decide", self._posted(self._decide), methods=["POST"]),
            Route("/undo", self._posted(self._undo), methods=["POST"]),
            Route("/unskip", self._posted(lambda _: self._ledger.unskip()), methods=["POST"]),
            Route("/case/{number:int}", self.case),
            Route("/row/{row:int}", self.row),
            Route("/{name}", file),
            Route("/", file),
        ]
        return Guard(Starlette(routes=routes), token)

    def state(self, request: Request) -> JSONResponse:
        """Return the counts and the next cases."""
        return JSONResponse(self._state())

    def case(self, request: Request) -> Response:
        """Return the image of a case, the original if there is one."""
        number = request.path_params["number"]
        if number >= len(self._ledger.cases):
            raise HTTPException(404)
        case = self._ledger.cases[number]
        if case.upload:
            original = shown(case.upload.path.read_bytes()) if case.upload.path.is_file() else None
            if original is None:
                raise HTTPException(404)
        else:
            original = self._originals.read(case.row, PATIENCE)
        return _image(original, "image/jpeg") if original else _image(self._gallery.read(case.row), "image/png")

    def row(self, request: Request) -> Response:
        """Return a packed image."""
        row = request.path_params["row"]
        if row >= len(self._ledger.project.records):
            raise HTTPException(404)
        return _image(self._gallery.read(row), "image/png")

    def _posted(self, act: Callable[[dict[str, Any]], None]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> JSONResponse:
            """Do what the page asks for, and return the new state, with `problem` if it was not possible."""
            from starlette.concurrency import run_in_threadpool

            asked = await _body(request)
            problem, status = "", 200
            try:
                await run_in_threadpool(act, asked)
            except TakenError as error:
                problem, status = str(error), 409
            except (DarkroomError, OSError) as error:
                problem, status = explain(error) or str(error), 500
            state = await run_in_threadpool(self._state)
            return JSONResponse({**state, "problem": problem}, status)

        return answer

    def _decide(self, asked: dict[str, Any]) -> None:
        action, label = asked.get("action"), asked.get("label", "")
        if action not in ("label", "keep", "exclude", "apart", "skip"):
            raise HTTPException(422, "unknown action")
        if action == "label" and label not in self._ledger.project.split.classes:
            raise HTTPException(422, "unknown class")
        number = self._number(asked)
        case = self._ledger.cases[number]
        if action == "keep" and not case.rows:
            raise HTTPException(422, "an image that is not in the data has no class to keep")
        if action == ("label" if case.scene else "apart"):
            raise HTTPException(422, "this action is not for this case")
        marked = asked.get("marked", [])
        if not isinstance(marked, list) or any(type(each) is not int for each in marked):
            raise HTTPException(422, "marked must be a list of places")
        if not set(marked) <= set(range(len(case.scene))):
            raise HTTPException(422, "unknown image of the scene")
        self._ledger.decide(number, action, label, marked)

    def _undo(self, asked: dict[str, Any]) -> None:
        self._ledger.undo(self._number(asked))

    def _number(self, asked: dict[str, Any]) -> int:
        number = asked.get("id")
        if type(number) is not int or not 0 <= number < len(self._ledger.cases):
            raise HTTPException(422, "unknown image")
        return number

    def _state(self) -> dict[str, Any]:
        counts = self._ledger.counts()
        return {
            "classes": self._ledger.project.split.classes,
            "total": len(self._ledger.cases) - counts.elsewhere,
            "changed": counts.changed,
            "kept": counts.kept,
            "excluded": counts.excluded,
            "skipped": counts.skipped,
            "open": counts.open,
            "side": self._gallery.side,
            "cases": [self._described(number) for number in self._ledger.upcoming(AHEAD)],
        }

    def _described(self, number: int) -> dict[str, Any]:
        case, project = self._ledger.cases[number], self._ledger.project
        suspicion, label = case.suspicion, ""
        facts: dict[str, Any] = {}
        if case.upload:
            facts = {"image": case.upload.name, "split": case.upload.origin}
        else:
            record = project.records[case.row]
            label, small = record.label, max(record.width, record.height) <= SMALL
            facts = {"image": record.name, "split": str(project.split.splits[case.row]), "small": small}
        names = [name for name in dict.fromkeys((label, suspicion.proposed)) if name and not case.scene]
        copies = [(row, project.records[row]) for row in case.rows[1:] if not case.scene]
        scene = [(row, project.records[row].name, str(project.split.splits[row])) for row, *_ in case.scene]
        return {
            "id": number,
            "label": label,
            "proposed": suspicion.proposed,
            "probability": suspicion.probability,
            "reason": suspicion.reason,
            "why": suspicion.why,
            "copies": [{"row": row, "image": record.name, "label": record.label} for row, record in copies],
            "scene": [{"row": row, "image": name, "split": split} for row, name, split in scene],
            "examples": {name: self._gallery.examples(name, case) for name in names},
            **facts,
        }


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request. A page of another origin cannot send this type without permission."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "send application/json")
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise HTTPException(413, "the request is too large")
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HTTPException(422, "send a JSON object")
    return found


def _image(data: bytes, kind: str) -> Response:
    # The page shows each image twice: once in advance, invisibly, and then to the person.
    return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})


def file(request: Request) -> Response:
    """Return a file of the page."""
    name = PAGE.get(request.path_params.get("name", ""))
    if name is None:
        raise HTTPException(404)
    data = resources.files("darkroom.commands.curate").joinpath("page", name).read_bytes()
    return Response(data, media_type=TYPES[name.rpartition(".")[2]])
