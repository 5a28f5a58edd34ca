"""HTTP as it arrives: a real uvicorn on loopback with our protocol, and clients that send what no honest one sends."""

import asyncio
import json
import logging
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from darkroom.serving import protocol
from darkroom.serving.protocol import Protocol

LARGE = b"x" * 4_000_000


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what the request holds; /early without reading it, /slow after a while, /large with 4 MB."""
    request = Request(scope, receive)
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    if scope["path"] == "/large":
        await PlainTextResponse(LARGE)(scope, receive, send)
        return
    body = b"" if scope["path"] in ("/early", "/slow") else await request.body()
    names = sorted(name for name, _ in scope["headers"])
    await PlainTextResponse(f"{len(body)} {names}")(scope, receive, send)


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    config = uvicorn.Config(app, port=0, http=Protocol, log_config=None, lifespan="off", timeout_keep_alive=30)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True  # ends when all connections have
    thread.join()


class Connection:
    """Sends bytes as they are, and reads answers."""

    def __init__(self, server: uvicorn.Server, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(server.servers[0].sockets[0].getsockname())

    def send(self, data: bytes) -> "Connection":
        self.socket.sendall(data)
        return self

    def answer(self, file: BinaryIO | None = None) -> tuple[int, str]:
        """Return status and body of one answer; 0 where the connection ended without one."""
        file = file or self.socket.makefile("rb")
        line = file.readline()
        if not line:
            return 0, ""
        length = 0
        while (header := file.readline()).strip():
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return int(line.split()[1]), file.read(length).decode()

    def ended(self) -> bool:
        """Say whether the server ended the connection, after all that it sent is read."""
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects what uvicorn reports as errors."""
    lines: list[str] = []
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "error", lambda text, *_, **__: lines.append(text))
    return lines


def wait_for_nobody(server: uvicorn.Server) -> None:
    deadline = time.monotonic() + 60
    while server.server_state.tasks or server.server_state.connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def connections(server: uvicorn.Server) -> Iterator[list[Connection]]:
    """Return a list whose connections are closed at the end."""
    opened: list[Connection] = []
    yield opened
    for connection in opened:
        connection.socket.close()
    wait_for_nobody(server)


@pytest.fixture
def connection(server: uvicorn.Server, connections: list[Connection]) -> Connection:
    connections.append(Connection(server))
    return connections[0]


HEAD = b"POST /read HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
TOO_LARGE = {
    "one header": HEAD + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
    "one header without an end": HEAD + b"A: " + b"x" * 400_000,
    "a name without an end": HEAD + b"x" * 400_000,
    "several headers": HEAD + b"".join(b"A%d: %s\r\n" % (number, b"x" * 9_000) for number in range(8)) + b"\r\n",
    "many small headers": HEAD + b"a:\r\n" * 1_000 + b"\r\n",
    "the address": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "an address without an end": b"GET /?" + b"x" * 400_000,
    "one trailer": CHUNKED + b"1\r\nx\r\n0\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
    "a trailer without an end": CHUNKED + b"1\r\nx\r\n0\r\nA: " + b"x" * 400_000,
    "many small trailers": CHUNKED + b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 1_000 + b"\r\n",
    "an extension of a chunk": CHUNKED + b"1;" + b"x" * 400_000,
}


@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_and_trailers_have_a_limit(connection: Connection, sent: bytes) -> None:
    for start in range(0, len(sent), 50_000):  # smaller than what uvloop reads at once
        try:
            connection.send(sent[start : start + 50_000])
        except ConnectionError:
            break
        time.sleep(0.005)
    status, body = connection.answer()
    assert (status, json.loads(body)["error"]["code"]) == (431, "request_header_fields_too_large")
    assert "64 KB" in body


def test_ordinary_heads_bodies_and_trailers_pass(connection: Connection) -> None:
    cookies = b"Cookie: " + b"x" * 30_000 + b"\r\n"
    connection.send(HEAD + cookies + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000)
    assert connection.answer()[1].startswith("300000 ")
    connection.send(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\nX-Checksum: 1\r\nHost: b\r\n\r\n")
    assert connection.answer() == (200, "50000 [b'host', b'transfer-encoding']")


def test_trailers_are_no_headers(connection: Connection) -> None:
    """A proxy that strips X-Forwarded-For or checks Host does not look at trailers."""
    connection.send(CHUNKED + b"0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
    assert connection.answer() == (200, "0 [b'host', b'transfer-encoding']")


@pytest.mark.parametrize(
    ("begin", "rest", "status"),
    [(b"", b"", 0), (b"GET /", b"x", 408), (HEAD, b"A: b\r\n", 408), (b"\r\n", b"\r\n", 0)],
    ids=["nothing", "an address", "headers", "blank lines"],
)
def test_a_head_must_arrive_in_time(
    server: uvicorn.Server,
    connections: list[Connection],
    monkeypatch: pytest.MonkeyPatch,
    begin: bytes,
    rest: bytes,
    status: int,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    connections.append(connection := Connection(server).send(begin))
    for _ in range(100):  # what arrives meanwhile does not renew the time
        if select.select([connection.socket], [], [], 0.05)[0]:
            break
        connection.send(rest)
    try:
        found, body = connection.answer()
    except ConnectionError:
        found = 0
    assert found == status
    assert status == 0 or json.loads(body)["error"]["code"] == "too_slow"
    assert connection.ended()


def test_the_rest_of_an_answered_request_must_arrive_in_time(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    connection.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
    assert connection.answer()[0] == 200
    deadline = time.monotonic() + 60
    while not select.select([connection.socket], [], [], 0.05)[0]:
        assert time.monotonic() < deadline
        connection.send(b"x")
    assert connection.ended()


def test_a_body_may_take_longer_than_a_head(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    connection.send(HEAD + b"Content-Length: 5\r\n\r\n")
    for _ in range(5):
        time.sleep(0.1)
        connection.send(b"x")
    assert connection.answer()[1].startswith("5 ")


def test_an_answer_must_be_read_in_time(
    server: uvicorn.Server, connections: list[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "STALL_SECONDS", 0.3)
    connections.append(connection := Connection(server, receive_buffer=4096))
    connection.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connection.socket.recv(1, socket.MSG_PEEK)  # before, the server may not have met the connection yet
    wait_for_nobody(server)
    assert connection.ended()


def test_requests_ahead_of_their_answers_are_few(connection: Connection) -> None:
    asks = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.send(asks * 3)
    assert [connection.answer(file)[0] for file in [connection.socket.makefile("rb")] * 3] == [200] * 3
    for _ in range(20):  # the rest is read and discarded, or the answer would be lost
        connection.send(asks * 20_000)
    status, body = connection.answer()
    assert (status, json.loads(body)["error"]["code"]) == (429, "too_many_requests")


def test_a_client_that_leaves_answers_behind_fails_nothing(
    server: uvicorn.Server, connections: list[Connection], errors: list[str]
) -> None:
    """uvicorn tells only the last request that arrived, not the one that is being answered."""
    for _ in range(20):
        connection = Connection(server).send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        time.sleep(0.01)
        connection.socket.close()
    wait_for_nobody(server)
    assert errors == []


def test_of_too_many_connections_the_longest_waiting_ends(
    server: uvicorn.Server, connections: list[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 3)
    for _ in range(3):
        connections.append(Connection(server).send(b"GET / HTTP/1.1\r\n"))
        time.sleep(0.05)
    connections.append(Connection(server).send(b"GET /early HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert connections[3].answer()[0] == 200
    assert connections[0].ended()
    assert connections[1].send(b"Host: a\r\n\r\n").answer()[0] == 200


@pytest.mark.parametrize("wanted", [b"websocket", b"h2c"])
def test_an_upgrade_is_not_needed_and_never_hides_a_body(connection: Connection, wanted: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: " + wanted + b"\r\n"
    assert connection.send(b"GET /read HTTP/1.1\r\nHost: a\r\n" + upgrade + b"\r\n").answer()[0] == 200
    status, body = connection.send(HEAD + upgrade + b"Content-Length: 3\r\n\r\nabc").answer()
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")
    assert "upgrade" in body


def test_no_http_is_refused_as_json(connection: Connection) -> None:
    status, body = connection.send(b"\x16\x03\x01\x02\x00 no http\r\n\r\n").answer()
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")
