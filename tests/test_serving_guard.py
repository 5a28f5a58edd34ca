"""The guard around the service: ids, headers, errors as JSON, its limit and its lines in the log."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from darkroom.serving import guard
from darkroom.serving.guard import Guard
from darkroom.serving.uploads import RequestError


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines() -> Iterator[list[str]]:
    handler, logger = Lines(), logging.getLogger("bentoml.access")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(level)


async def fine(request: Request) -> Response:
    request.scope["record"].facts["images"] = 2
    return PlainTextResponse("fine", headers={"Referrer-Policy": "unsafe-url"})


async def refused(request: Request) -> Response:
    request.scope["record"].code = "too_small"
    return JSONResponse(guard.error("too_small", "3 is too small"), 422)


async def overloaded(request: Request) -> Response:
    return JSONResponse({"error": "process is overloaded"}, 503)


async def failing(request: Request) -> Response:
    raise RuntimeError("the secret of the house")


async def read(request: Request) -> Response:
    try:
        await request.body()
    except RequestError as error:
        request.scope["record"].code = error.code
        return JSONResponse(guard.error(error.code, str(error)), error.status)
    return PlainTextResponse("read")


ROUTES = {
    "/fine": fine,
    "/read": read,
    "/refused": refused,
    "/overloaded": overloaded,
    "/failing": failing,
    "/livez": fine,
}
INNER = Starlette(
    routes=[Route(path, endpoint, methods=["POST"] if path == "/read" else None) for path, endpoint in ROUTES.items()]
)


def ask(path: str, method: str = "GET", app: Any = INNER, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(app, lambda path: path in ROUTES))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


CASES = [
    ("GET", "/fine", 200, None),
    ("GET", "/refused", 422, "too_small"),
    ("GET", "/nowhere", 404, "not_found"),
    ("GET", "/static_content/%0d%0aSet-Cookie:%20a", 404, "not_found"),
    ("DELETE", "/fine", 405, "method_not_allowed"),
    ("GET", "/overloaded", 503, "service_unavailable"),
    ("GET", "/failing", 500, "internal_server_error"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), CASES)
def test_every_answer_has_headers_and_every_error_is_json(
    lines: list[str], method: str, path: str, status: int, code: str | None
) -> None:
    response = ask(path, method)
    assert response.status_code == status
    assert {name: response.headers[name] for name in guard.HEADERS} == guard.HEADERS
    identity = response.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", identity)
    if code is not None:
        error = response.json()["error"]
        assert error["code"] == code
        assert error["message"]
        assert "secret" not in response.text
    (line,) = (line for line in lines if not line.startswith("request "))
    assert line.startswith(f"{identity} 127.0.0.1 {method} /")
    assert f" {status} " in line
    assert line.endswith(f" code={code}" if code else " images=2")


def test_a_failure_of_ours_is_told_to_the_log_with_its_id(lines: list[str]) -> None:
    response = ask("/failing")
    assert f"request {response.headers['x-request-id']} failed" in lines


def test_a_refused_method_still_says_which_are_allowed() -> None:
    assert set(ask("/fine", "DELETE").headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_refused_head_request_has_no_body() -> None:
    assert ask("/nowhere", "HEAD").content == b""


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("order-17:a.b_c", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("", False), ('"<a>', False)],
)
def test_an_id_is_kept_when_it_is_sane(lines: list[str], sent: str, kept: bool) -> None:
    identity = ask("/fine", headers={"x-request-id": sent}).headers["x-request-id"]
    assert (identity == sent) is kept
    assert lines[0].startswith(f"{identity} ")


def test_a_path_cannot_write_lines_of_its_own(lines: list[str]) -> None:
    ask("/a%0aevil%20200%1b[31m%C3%A9")
    assert len(lines) == 1
    assert "/a?evil?200?[31m\\xe9 404" in lines[0]


@pytest.mark.parametrize(
    ("client", "logged"),
    [
        ("192.168.1.5", "192.168.1.5"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0\n[INFO] forged", "fe80::1"),
        ("1.2.3.4 GET / 200\n[INFO] forged", "-"),
        ("unknown", "-"),
        ("x" * 60_000, "-"),
        ("", "-"),
    ],
)
def test_only_addresses_are_logged(lines: list[str], client: str, logged: str) -> None:
    """Behind a proxy that is trusted, uvicorn takes whatever X-Forwarded-For says."""
    transport = httpx.ASGITransport(Guard(INNER, lambda path: True), client=(client, 1))

    async def send() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as session:
            await session.get("/fine")

    asyncio.run(send())
    (line,) = lines
    assert line.split(" ", 2)[1] == logged
    assert "forged" not in line
    assert len(line) < 200


def test_a_service_that_is_about_to_end_answers_but_is_not_ready(lines: list[str]) -> None:
    application = Guard(INNER, lambda path: True)
    application.draining = True

    async def send(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://service") as client:
            return await client.get(path)

    ready, fine = asyncio.run(send("/readyz")), asyncio.run(send("/fine"))
    assert (ready.status_code, ready.json()["error"]["code"]) == (503, "service_unavailable")
    assert "shutting down" in ready.json()["error"]["message"]
    assert (fine.status_code, fine.headers["connection"]) == (200, "close")


def test_who_reads_an_answer_slowly_keeps_nobody_out() -> None:
    async def run() -> None:
        release, arrived = asyncio.Event(), list[object]()

        async def large(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if scope["path"] == "/large":
                arrived.append(scope)
                await release.wait()  # as uvicorn's `send` does, until the client has read
            await send({"type": "http.response.body", "body": b""})

        transport = httpx.ASGITransport(Guard(large, lambda path: True))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            slow = [asyncio.create_task(client.get("/large")) for _ in range(2 * guard.AT_ONCE)]
            while len(arrived) < 2 * guard.AT_ONCE:
                await asyncio.sleep(0)
            assert (await client.get("/small")).status_code == 200
            release.set()
            assert {response.status_code for response in await asyncio.gather(*slow)} == {200}

    asyncio.run(run())


def test_probes_are_not_logged(lines: list[str]) -> None:
    assert ask("/livez").status_code == 200
    assert lines == []


def test_what_is_too_much_at_once_is_refused_and_probes_are_not() -> None:
    async def run() -> None:
        release, arrived = asyncio.Event(), list[object]()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/fine":
                arrived.append(scope)
                await release.wait()
            await PlainTextResponse("done")(scope, receive, send)

        transport = httpx.ASGITransport(Guard(slow, lambda path: True))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            waiting = [asyncio.create_task(client.get("/fine")) for _ in range(guard.AT_ONCE)]
            while len(arrived) < guard.AT_ONCE:
                await asyncio.sleep(0)
            refused = await client.get("/info")
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "too_many_requests"
            assert refused.headers["x-content-type-options"] == "nosniff"
            assert (await client.get("/readyz")).status_code == 200
            release.set()
            assert {response.status_code for response in await asyncio.gather(*waiting)} == {200}
            assert (await client.get("/fine")).status_code == 200

    asyncio.run(run())


def test_what_is_still_arriving_keeps_nobody_out_unless_it_is_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        release, arrived = asyncio.Event(), list[object]()

        async def half() -> AsyncIterator[bytes]:
            yield b"x"
            arrived.append(True)
            await release.wait()
            yield b"x"

        transport = httpx.ASGITransport(Guard(INNER, lambda path: True))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            slow = [asyncio.create_task(client.post("/read", content=half())) for _ in range(guard.AT_ONCE)]
            while len(arrived) < guard.AT_ONCE:
                await asyncio.sleep(0)
            assert (await client.post("/read", content=b"all of it")).status_code == 200
            assert (await client.get("/fine")).status_code == 200
            monkeypatch.setattr(guard, "OPEN", guard.AT_ONCE)
            assert (await client.get("/fine")).status_code == 429
            assert (await client.get("/livez")).status_code == 200
            release.set()
            assert {response.status_code for response in await asyncio.gather(*slow)} == {200}

    asyncio.run(run())


def test_a_body_that_is_whole_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "AT_ONCE", 0)
    refused = ask("/read", "POST", content=b"all of it")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")


def test_some_connections_end_so_that_an_idle_worker_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "KEPT", 3)
    application = Guard(INNER, lambda path: path in ROUTES)

    async def send(*asked: tuple[str, str, bytes]) -> list[bool]:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answers = [await client.request(method, path, content=body) for method, path, body in asked]
        return [answer.headers.get("connection") == "close" for answer in answers]

    look, unread = ("GET", "/fine", b""), ("POST", "/fine", b"still on its way")
    assert asyncio.run(send(look, look, ("GET", "/nowhere", b""), look, look, ("POST", "/read", b"x"))) == [
        *(False, False, True),
        *(False, False, True),
    ]
    # Not with an answer that is given before the whole request is there: its client would lose it.
    assert asyncio.run(send(look, look, unread, unread, look)) == [False, False, False, False, True]


def test_an_answer_that_fails_half_way_is_not_begun_again() -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    sent: list[Any] = []

    async def collect(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "path": "/fine", "headers": []}
    asyncio.run(Guard(half, lambda path: True)(scope, None, collect))  # type: ignore[arg-type]
    assert sent == ["http.response.start"]


def test_json_of_bentoml_is_not_mistaken_for_ours() -> None:
    assert (
        json.loads(ask("/overloaded").content)["error"]["message"] == "the service is overloaded: try again in a second"
    )
