"""Requests that no honest client sends, and a client that sends them as they are and waits for what comes back."""

import asyncio
import pickle
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from tests.pictures import encode
from tests.test_images_limits import BOMBS, SEEDS, jpeg_passes

PATIENCE = 10.0
"""Seconds after which an answer that has not come counts as hanging."""
TYPES = ("image/png", "image/jpeg", "image/*", "application/octet-stream", "image/svg+xml", "IMAGE/PNG; q=\xe4")
COSTLY = (encode(Image.new("RGB", (4000, 4000)), "WEBP", lossless=True, method=0), jpeg_passes(85))
"""Pictures of a few bytes that are just allowed, and cost far more than others to open."""
STRANGE = (
    ("application/json", b'{"images": ["http://127.0.0.1/a.png"]}'),
    ("application/vnd.bentoml+pickle", pickle.dumps({"images": [1]})),
    ("text/plain", b"http://127.0.0.1/a.png"),
    ("application/x-www-form-urlencoded", b"images=http%3A%2F%2F127.0.0.1%2Fa.png&top_k=1"),
    ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>'),
    ("image/png", b"%PDF-1.7\n"),
    ("image/png", b"PK\x03\x04" + bytes(40)),
    ("image/heic", b"\0\0\0\x18ftypheic" + bytes(20)),
    ("image/png", b""),
    ("", b"x"),
    ("multipart/form-data", b"--b\r\n\r\n"),
    ("multipart/mixed; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
    ("\x01", b"\x02"),
)


@dataclass(frozen=True)
class Reply:
    """What came back for one request."""

    status: int
    """0 where the connection ended without an answer."""
    body: bytes
    seconds: float
    """From the last byte sent to the last received."""


async def send(
    port: int, parts: list[bytes], pause: float = 0.0, end: bool = True, drop: bool = False, limit: float = PATIENCE
) -> Reply:
    """Send `parts` with a `pause` before each but the first, and return the reply.

    With `end` our side of the connection ends when there is no answer after half a second, so that the server need
    not wait for what a request lacks of its length; with `drop` the connection is cut as soon as all is sent.
    Raises TimeoutError when nothing came within `limit` seconds.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for number, part in enumerate(parts):
            if number and pause:
                await asyncio.sleep(pause)
            writer.write(part)
            await writer.drain()
        if drop:
            writer.transport.abort()
            return Reply(0, b"", 0.0)
        begin = time.perf_counter()
        async with asyncio.timeout(limit):
            status, body = await _read(reader, writer if end else None, bodiless=parts[0].startswith(b"HEAD "))
        return Reply(status, body, time.perf_counter() - begin)
    except ConnectionError:
        return Reply(0, b"", 0.0)
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, bodiless: bool) -> tuple[int, bytes]:
    """Return status and body; what the head says of its length is read, the rest is left."""
    try:
        async with asyncio.timeout(0.5 if writer else None):
            line = await reader.readline()
    except TimeoutError:
        if writer and not writer.transport.is_closing():
            writer.write_eof()
        line = await reader.readline()
    if not line.startswith(b"HTTP/1.1 "):
        return 0, line
    status, length = int(line.split()[1]), 0
    while (line := await reader.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if status == 100:
        return await _read(reader, writer, bodiless)
    return status, b"" if bodiless else await reader.readexactly(length)


def request(
    body: bytes, content_type: str, path: str = "/predict", length: str | None = None, *more: str, method: str = "POST"
) -> bytes:
    """Return a whole HTTP request; `length` replaces the true one, "" leaves the header out."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service", *more]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"Content-Length: {len(body) if length is None else length}"] if length != "" else []
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def form(*files: bytes, field: str = "images", end: bytes = b"--b--\r\n", more: bytes = b"") -> bytes:
    """Return a multipart body with the boundary b."""
    head = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%d.png"\r\nContent-Type: image/png\r\n\r\n'
    parts = [head % (field.encode(), number) + data + b"\r\n" for number, data in enumerate(files)]
    return b"".join(parts) + more + end


FORM = "multipart/form-data; boundary=b"


def requests(count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` malformed requests, every bomb among the first."""
    generator = random.Random(seed)
    bombs = [request(data, "image/png") for data, _ in BOMBS.values()]
    bombs += [request(form(*[data] * 8), FORM) for data in COSTLY]
    yield from (bombs := bombs[:count])
    for _ in range(count - len(bombs)):
        yield one(generator)


def one(generator: random.Random) -> bytes:
    """Return a malformed request: a third are damaged images, no bombs."""
    kind = generator.choice((_picture, _picture, _type, _form, _form, _length))
    return kind(generator)


def _damaged(generator: random.Random) -> bytes:
    """Return a picture of some format with some of its bytes changed, taken out, doubled or from another one."""
    data = bytearray(generator.choice(SEEDS))
    for _ in range(generator.choice((1, 1, 3, 10, 100))):
        start = generator.randrange(min(len(data), 600) if generator.random() < 0.8 else len(data))
        stop = start + generator.choice((1, 2, 4, 50))
        match generator.randrange(6):
            case 0 | 1:
                data[start] = generator.choice((0, 1, 16, 127, 128, 255, generator.randrange(256)))
            case 2:
                data[start:stop] = b""
            case 3:
                data[start:start] = data[start:stop]
            case 4:
                data[start:stop] = generator.choice(SEEDS)[start:stop]
            case 5:
                data = data[: max(1, start)] if generator.random() < 0.3 else data + generator.randbytes(9)
        if not data:
            break
    return bytes(data)


def _picture(generator: random.Random) -> bytes:
    data = _damaged(generator)
    path = generator.choice(("/predict", "/predict", "/predict", "/explain"))
    if generator.random() < 0.5:
        return request(data, generator.choice(TYPES), path)
    field = "images" if path == "/predict" else "image"
    return request(form(*[data] * generator.choice((1, 1, 2, 4)), field=field), FORM, path)


def _type(generator: random.Random) -> bytes:
    content_type, body = generator.choice(STRANGE)
    path = generator.choice(("/predict", "/explain", "/correct", "/info", "/ui", "/docs.json", "/nothing", "/../etc"))
    query = generator.choice(("", "?top_k=-1", "?top_k=1e9", "?top_k=", "?top_k=%00", "?top_k=9" * 50, "?label=%ff"))
    method = generator.choice(("POST", "POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"))
    return request(body, content_type, path + query, method=method)


def _form(generator: random.Random) -> bytes:
    good = generator.choice(SEEDS)
    whole = form(good)
    boundaries = ("b", "c", "", '"b', "b" * 300, "b; charset=utf-7", "b; charset=nothing", "\xe4")
    foreign = (
        form(good, end=b""),
        form(good, end=b"--b"),
        whole[: generator.randrange(len(whole))],
        whole.replace(b"\r\n", b"\n"),
        whole * 2,
        form(good, field="image[]"),
        form(good, field="a" * 9000),
        form(*[b"x"] * 200),
        form(good, more=b'--b\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n\xff\xfe\r\n'),
        form(good, more=b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\nfile:///etc/passwd\r\n'),
        form(good, more=b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n"),
        form(good, more=b"--b\r\n\r\nx\r\n"),
        form(good, more=b"--b\r\n" + b"A: b\r\n" * 500 + b"\r\n\r\n"),
        form(good, more=b'--b\r\nContent-Disposition: form-data; name="images"; filename="\0\xff\r\n\r\nx\r\n'),
        form(form(good)),
        generator.randbytes(200),
    )
    boundary = "b" if generator.random() < 0.7 else generator.choice(boundaries)
    return request(generator.choice(foreign), f"multipart/form-data; boundary={boundary}")


def _length(generator: random.Random) -> bytes:
    """Return a request that lies about its length, or is no HTTP at all."""
    good = generator.choice(SEEDS)
    chunked = "Transfer-Encoding: chunked"
    foreign = (
        request(good, "image/png", "/predict", str(len(good) + generator.randrange(1, 99999))),
        request(good, "image/png", "/predict", str(generator.randrange(len(good)))),
        request(good, "image/png", "/predict", str(10 ** generator.randrange(8, 30))),
        request(good, "image/png", "/predict", generator.choice(("-1", "0x10", "1 1", "ten", "+5", "1,1", " "))),
        request(good, "image/png", "/predict", ""),
        request(good, "image/png", "/predict", None, chunked),
        request(good, "image/png", "/predict", "", chunked),
        request(b"5\r\nhello\r\n", "image/png", "/predict", "", chunked),
        request(b"zz\r\nhello\r\n0\r\n\r\n", "image/png", "/predict", "", chunked),
        request(b"ffffffffffffffff\r\nhello", "image/png", "/predict", "", chunked),
        request(b"5;x=y\r\nhello\r\n0\r\n\r\n", "image/png", "/predict", "", "Transfer-Encoding: gzip, chunked"),
        request(good, "image/png", "/predict", None, "Content-Encoding: gzip"),
        request(good, "image/png", "/predict", None, "Expect: 100-continue"),
        request(good, "image/png", "/predict", None, "Content-Length: 3"),
        request(good, "image/png", "/predict", None, "X: " + "y" * 100_000),
        request(good, "image/png", "/" + "a" * 100_000),
        request(good, "image/png", "/predict", None, "Connection: Upgrade", "Upgrade: websocket"),
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + generator.randbytes(100),
        generator.randbytes(generator.randrange(1, 300)) + b"\r\n\r\n",
    )
    return generator.choice(foreign)
