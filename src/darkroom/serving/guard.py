"""Middleware for every response: request id, headers, errors as JSON, limits, and one log line.

It wraps all of BentoML, because errors and rejections by BentoML itself never reach the service's own code.
"""

import ipaddress
import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.serving.uploads import RequestError

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The browser loads from and sends to the service only; BentoML's Swagger page would contact other hosts."""
AT_ONCE = 64
"""Requests that a worker processes concurrently, from the last byte of the body to the first of the response; further
ones are rejected with 429."""
OPEN = 1024
"""Open requests per worker, including those whose bodies are still arriving: slow clients do not block others."""
ROOM = 256_000_000
"""Bytes of request bodies in a worker's memory, unless a single body is larger; more are rejected with 429."""
KEPT = 100
"""Responses of a worker after which it closes one connection, so that the client reconnects to any worker.

A connection stays with the worker that accepted it, and sometimes one worker had all connections of a client."""
PROBES = ("/livez", "/readyz", "/healthz", "/metrics")
"""Paths that are always answered and never logged."""

_MESSAGES = {
    404: "not found: /docs.json lists the routes",
    405: "method not allowed: see /docs.json for the methods of each route",
    429: "too many requests at once: try again in a second",
    500: "internal error: see the service's log for the cause, under the request's id",
    503: "the service is overloaded: try again in a second",
    504: "timeout: send fewer images, or try again later",
}
_SANE_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_log = logging.getLogger("bentoml.access")


@dataclass
class Record:
    """Facts about a request, besides its method and path, for its log line; stored in `scope["record"]`."""

    id: str
    code: str = ""
    """Error code set by our own code; an error without one is converted to JSON here."""
    facts: dict[str, object] = field(default_factory=dict)
    """Numbers about the response, never the content of an image."""


def error(code: str, message: str) -> dict[str, dict[str, str]]:
    """Return the body of an error response."""
    return {"error": {"code": code, "message": message}}


class Guard:
    """ASGI application around another one; `known` returns whether a path exists."""

    def __init__(self, app: ASGIApp, known: Callable[[str], bool]) -> None:
        self._app = app
        self._known = known
        self.draining = False
        """Whether the service is shutting down: it still responds, but is not ready and closes connections."""
        self._open = 0
        self._running = 0
        self._held = 0
        self._answers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, and add headers to the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        record = scope["record"] = Record(asked if _SANE_ID.fullmatch(asked) else secrets.token_hex(8))
        held, running = 0, not _has_body(scope)
        answer = _Answer(send, record, scope["method"] == "HEAD", running, self._ends)

        async def receive_within_room() -> Message:
            nonlocal held, running
            message = await receive()
            held += (size := len(message.get("body", b"")))
            self._held += size
            if self._held > max(ROOM, held):
                raise RequestError(429, "too_many_requests", "too much data from all clients: try again in a second")
            if not running and message["type"] == "http.request" and not message.get("more_body", False):
                running = answer.whole = True
                self._running += 1
                if self._running > AT_ONCE:
                    raise RequestError(429, "too_many_requests", _MESSAGES[429])
            return message

        async def send_on(message: Message) -> None:
            nonlocal running
            if message["type"] == "http.response.start":  # only sending remains: slow readers do not block others
                self._running -= running
                running = False
            await answer.send(message)

        start = time.perf_counter()
        self._open += 1
        self._running += running
        try:
            if not self._known(scope["path"]):
                # Before BentoML, whose metrics keep a counter for every requested path.
                await answer.refuse(404)
            elif self.draining and scope["path"] == "/readyz":
                await answer.refuse(503, message="the service is shutting down: use another instance")
            elif (self._open > OPEN or (running and self._running > AT_ONCE)) and scope["path"] not in PROBES:
                await answer.refuse(429)
            else:
                await self._app(scope, receive_within_room, send_on)
        except Exception:  # whatever it is, it is a bug: logged with its traceback, reported as JSON
            _log.exception("request %s failed", record.id)
            if not answer.status:
                await answer.refuse(500)
        finally:
            self._open -= 1
            self._running -= running
            self._held -= held
            if scope["path"] not in PROBES:
                _write_line(scope, record, answer.status, time.perf_counter() - start)

    def _ends(self) -> bool:
        """Count a response, and return whether to close its connection."""
        self._answers = (self._answers + 1) % KEPT
        return self._answers == 0 or self.draining


class _Answer:
    """Sends a response with `HEADERS` and the request's id; converts errors of others to our JSON."""

    def __init__(self, send: Send, record: Record, head: bool, whole: bool, ends: Callable[[], bool]) -> None:
        self._send = send
        self._record = record
        self._head = head
        self._ends = ends
        self._replaced = False
        self.whole = whole
        """Whether the whole request has arrived; otherwise closing the connection could lose the response."""
        self.status = 0
        """0 until it started."""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= 400 and not self._record.code:
                self._replaced = True
                await self.refuse(message["status"], Headers(raw=message["headers"]).get("allow"))
                return
            self.status = message["status"]
            self._add_headers(message)
        if not self._replaced:
            await self._send(message)

    async def refuse(self, status: int, allow: str | None = None, message: str = "") -> None:
        self.status = status
        phrase = HTTPStatus(status).phrase
        self._record.code = phrase.lower().replace(" ", "_")
        body = json.dumps(error(self._record.code, message or _MESSAGES.get(status, phrase))).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(b"allow", allow.encode("latin-1"))] if allow else []
        headers += [(b"retry-after", b"1")] if status in (429, 503) else []
        start = {"type": "http.response.start", "status": status, "headers": headers}
        self._add_headers(start)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": b"" if self._head else body})

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(raw=message["headers"])
        headers.update(HEADERS)
        headers["X-Request-ID"] = self._record.id
        if self.whole and self._ends():
            headers["Connection"] = "close"


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def _write_line(scope: Scope, record: Record, status: int, seconds: float) -> None:
    """Write one line about a finished request: client, route and result, without any image content."""
    facts = {"code": record.code, **record.facts}
    rest = "".join(f" {name}={value}" for name, value in facts.items() if value != "")
    client = _address(scope["client"][0]) if scope.get("client") else "-"
    path = scope["path"][:100].encode("ascii", "backslashreplace").decode()
    path = re.sub(r"[\x00-\x20\x7f]", "?", path)  # otherwise a path could forge log lines
    _log.info("%s %s %s %s %d %.1fms%s", record.id, client, scope["method"], path, status, 1000 * seconds, rest)


def _address(text: str) -> str:
    """Return an IP address without its zone, "-" for anything else: clients can send any text through a proxy."""
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return "-"
