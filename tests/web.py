"""A web server on loopback that fails as it is told: for downloads that are cut, refused, slow or wrong."""

import http.server
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Web:
    """What the server gives out, and how it behaves: one entry of `script` is used up by each request."""

    files: dict[str, bytes] = field(default_factory=dict)
    script: list[object] = field(default_factory=list)
    """A status to fail with, ("cut", N) to end after N bytes, ("shift", N) to begin N bytes too late, or None."""
    ranges: bool = True
    length: bool = True
    pause: float = 0
    """Seconds before each piece of 4,096 bytes."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with failures."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range header or nothing) of each request."""
    address: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `web` of its server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    @property
    def web(self) -> Web:
        return self.server.web  # type: ignore[attr-defined, no-any-return]

    def do_GET(self) -> None:
        path, wanted = self.path.split("?")[0], self.headers.get("Range", "")
        self.web.seen.append((path, wanted))
        step = self.web.script.pop(0) if self.web.script else None
        data = self.web.files.get(path)
        if data is None:
            step = 404
        if isinstance(step, int):
            self.fail(step)
        else:
            assert data is not None
            self.give(data, wanted, step)

    def fail(self, status: int, text: str = "no", kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        for name, value in self.web.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def give(self, data: bytes, wanted: str, step: object) -> None:
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted and self.web.ranges else 0
        start += int(step[1]) if isinstance(step, tuple) and step[0] == "shift" else 0
        if start and start >= len(data):
            self.fail(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.web.ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", '"one"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if self.web.length:
            self.send_header("Content-Length", str(len(data) - start))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        end = start + int(step[1]) if isinstance(step, tuple) and step[0] == "cut" else len(data)
        try:
            for place in range(start, min(end, len(data)), 4096):
                time.sleep(self.web.pause)
                self.wfile.write(data[place : min(place + 4096, end)])
                self.wfile.flush()
        except OSError:
            pass  # the other side was killed
        self.close_connection = not self.web.length or end < len(data)


class Server(http.server.ThreadingHTTPServer):
    """Says nothing when the other side was killed."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serve(web: Web, handler: type[Handler] = Handler) -> Iterator[Web]:
    """Serve `web` on a free port and set its address."""
    with Server(("127.0.0.1", 0), handler) as server:
        server.web = web  # type: ignore[attr-defined]
        web.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()
