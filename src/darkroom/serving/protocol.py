"""uvicorn's HTTP protocol with limits on headers and on slow clients.

uvicorn with httptools accepts request lines, headers and trailers of any size, and waits for them without a timeout.
They must be limited while they are parsed, because an application receives them only when they are complete.
"""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, NoReturn

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from darkroom.serving import guard
from darkroom.serving.uploads import RequestError

MAX_HEAD = 65_536
"""Largest total size in bytes of a request's URL, headers and trailers."""
LINE = 128
"""Bytes that are added per header, about Python's overhead; so a request can have about 500 short headers."""
HEAD_SECONDS = 10.0
"""Timeout for receiving all headers, from the first byte or from the start of the connection."""
STALL_SECONDS = 20.0
"""Timeout for a client to read more of a pending response."""
LINGER_SECONDS = 1.0
"""Time for a rejected client to read the error. Its further data is discarded, since a reset could lose the error."""
PIPELINED = 16
"""Largest number of pipelined requests on a connection."""
BODY = (b"content-length", b"transfer-encoding")
"""Headers of requests that have a body."""
CONNECTIONS = 2048
"""Largest number of connections per worker. Beyond it, the one idle for longest without a full request is closed."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    waiting: ClassVar[dict["Protocol", None]] = {}
    """Connections without a running request, longest waiting first."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._size = 0  # of the head and the trailers so far
        self._unreported = 0  # bytes since the parser's last callback; it reports a header when it is complete
        self._in_head = False
        self._refusal: RequestError | None = None
        self._running: RequestResponseCycle | None = None  # uvicorn's `cycle` is the last one that arrived
        self._deadline: asyncio.TimerHandle | None = None  # for the client to send, or to leave
        self._stall: asyncio.TimerHandle | None = None  # for the client to read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a request."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > CONNECTIONS:
            next(iter(self.waiting)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection is closed."""
        super().connection_lost(exc)
        self._give_up()
        self.waiting.pop(self, None)
        self._set_deadline(None)
        self._end_stall()

    def data_received(self, data: bytes) -> None:
        """Parse received data."""
        if self._refusal is not None:
            return
        self._unreported += len(data)
        super().data_received(data)
        if self._unreported > MAX_HEAD and self._refusal is None:
            self._refuse(_too_large())
        if self._refusal is not None:
            return
        if self._answering():
            self.waiting.pop(self, None)
            self._set_deadline(None)
        else:
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Reject a request that cannot be parsed or that a callback of the parser rejected."""
        self._refuse(self._refusal or RequestError(400, "bad_request", "this is not valid HTTP/1.1"))

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read the last response."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._set_deadline(STALL_SECONDS, self.transport.abort)
        elif not self._answering():
            self.waiting[self] = None  # without a deadline, because uvicorn closes idle connections

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()
        self._set_deadline(STALL_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        """Close the connection on shutdown; a new one, or one that is sending headers, is closed a moment later."""
        if self.cycle is None or (self.cycle.response_complete and self._in_head):
            self._set_deadline(LINGER_SECONDS, self.transport.close)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._stall = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Resume writing."""
        super().resume_writing()
        self._end_stall()

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._size, self._in_head = 0, True

    def on_url(self, url: bytes) -> None:
        """Receive a part of the URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header; ignore a trailer, because proxies that check headers do not check trailers."""
        self._count(len(name) + len(value) + LINE)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the response."""
        self._in_head, self._unreported = False, 0
        if self.parser.should_upgrade() and any(name in BODY for name, _ in self.headers):
            # The parser would treat the body as another protocol, and the request as one without a body.
            self._forbid(RequestError(400, "bad_request", "a request with a body cannot ask for an upgrade: omit it"))
        if len(self.pipeline) >= PIPELINED:
            self._forbid(RequestError(429, "too_many_requests", "too many pipelined requests: wait for the responses"))
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Reset the counter: chunks of a body do not count as headers."""
        self._unreported = 0

    def on_body(self, body: bytes) -> None:
        """Receive a part of the body."""
        self._unreported = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._unreported = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        return False  # WebSockets are not supported: such a request is handled like any other

    def _unsupported_upgrade_warning(self) -> None:
        pass

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        """Start the timeout for receiving all headers; data that arrives does not extend it."""
        self.waiting.setdefault(self)
        if self._deadline is None:
            self._set_deadline(HEAD_SECONDS, self._end_waiting)

    def _end_waiting(self) -> None:
        if self._in_head:
            self._refuse(RequestError(408, "too_slow", f"the headers took more than {HEAD_SECONDS:g} s to arrive"))
        else:
            self.transport.abort()

    def _count(self, size: int) -> None:
        self._unreported = 0
        self._size += size
        if self._size > MAX_HEAD:
            self._forbid(_too_large())

    def _forbid(self, refusal: RequestError) -> NoReturn:
        """Stop the parser; uvicorn then calls `send_400_response`."""
        self._refusal = refusal
        raise refusal

    def _refuse(self, refusal: RequestError) -> None:
        """Send an error in place of the application, and close the connection."""
        self._refusal = refusal
        self.waiting.pop(self, None)
        self.pipeline.clear()
        if not self._give_up():
            body = json.dumps(guard.error(refusal.code, refusal.message)).encode()
            lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}", "content-type: application/json"]
            lines += [f"content-length: {len(body)}", "connection: close", "x-content-type-options: nosniff"]
            self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.flow.resume_reading()  # to discard further data
        self._set_deadline(LINGER_SECONDS, self.transport.abort)

    def _give_up(self) -> bool:
        """Notify the application that the client is gone; return whether the response has started."""
        cycle = self._running
        if cycle is None or cycle.response_complete:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle.response_started

    def _set_deadline(self, seconds: float | None, then: Callable[[], None] = lambda: None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, then)

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


def _too_large() -> RequestError:
    message = f"the URL, headers and trailers exceed {MAX_HEAD // 1024} KB in total: send fewer or shorter ones"
    return RequestError(431, "request_header_fields_too_large", message)
