"""Reading a request: the limits hold while the body is arriving."""

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request

from darkroom.serving import uploads
from darkroom.serving.settings import ServeSettings
from darkroom.serving.uploads import RequestError
from tests.factories_serving import LIMITS

CHUNK = b"x" * 100_000


class Body:
    """An endless request body that counts how often it was asked for more; it ends after `chunks`."""

    def __init__(self, chunks: int = 10**9, start: bytes = b"") -> None:
        self.chunks = chunks
        self.start = start
        self.asked = 0

    async def __call__(self) -> dict[str, object]:
        self.asked += 1
        if self.asked > self.chunks:
            return {"type": "http.disconnect"}
        body = self.start if self.asked == 1 and self.start else CHUNK
        return {"type": "http.request", "body": body, "more_body": True}


def ask(body: Body, content_type: str, length: int | None = None) -> RequestError:
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    with pytest.raises(RequestError) as raised:
        asyncio.run(uploads.read(Request(scope, body), LIMITS, "images", {}))
    return raised.value


FORM_START = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
KINDS = [("image/png", b""), ("multipart/form-data; boundary=b", FORM_START)]


@pytest.mark.parametrize(("content_type", "start"), KINDS)
def test_an_endless_body_is_left_once_it_is_too_large(content_type: str, start: bytes) -> None:
    body = Body(start=start)
    error = ask(body, content_type)
    assert (error.status, error.code) == (413, "request_too_large")
    assert "0.5 MB" in error.message
    assert body.asked <= 7  # 0.5 MB are five chunks


@pytest.mark.parametrize(("content_type", "start"), KINDS)
def test_a_declared_length_is_refused_unread(content_type: str, start: bytes) -> None:
    body = Body(start=start)
    assert ask(body, content_type, 500_001).code == "request_too_large"
    assert body.asked == 0


@pytest.mark.parametrize(("content_type", "start"), KINDS)
def test_a_client_that_leaves_is_no_error_of_ours(content_type: str, start: bytes) -> None:
    assert ask(Body(chunks=2, start=start), content_type).code == "incomplete"


def test_files_never_touch_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    content = bytes(2_000_000)
    body = FORM_START + content + b"\r\n--b--\r\n"

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    question = asyncio.run(uploads.read(Request(scope, receive), ServeSettings(), "images", {}))
    assert question == uploads.Question([uploads.Upload("a.png", content)], {})


@pytest.mark.parametrize(
    "name", [b"filename*=UTF-8''a.png", b"FileName*=UTF-8''%C3%A4.png", b"filename*0=a; filename*1=.png"]
)
def test_a_file_name_that_forms_must_not_have_is_named(name: bytes) -> None:
    """RFC 7578, 4.2; also where the file is larger than text may be."""
    body = Body(start=b'--b\r\nContent-Disposition: form-data; name="images"; ' + name + b"\r\n\r\n")
    error = ask(body, "multipart/form-data; boundary=b")
    assert (error.status, error.code) == (400, "bad_form")
    assert "filename*=" in error.message
    assert "send filename=" in error.message
