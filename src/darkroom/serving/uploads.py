"""Parsing of uploaded images, with limits that are enforced while the body is being received."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from darkroom.serving.settings import ServeSettings

MEGABYTE = 1_000_000
FORM = "multipart/form-data"


class RequestError(Exception):
    """A client error: HTTP status, code for programs and message for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Upload:
    """One uploaded file."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Question:
    """The images and options of one request."""

    uploads: list[Upload]
    options: dict[str, Any]


class _Parser(MultiPartParser):
    spool_max_size = 0  # keep files in memory, never in temporary files: the request's size is limited anyway

    def on_headers_finished(self) -> None:
        """Start a part."""
        super().on_headers_finished()
        disposition = self._current_part.content_disposition or b""
        if self._current_part.file is None and re.search(rb";\s*filename\*", disposition, re.IGNORECASE):
            raise MultiPartException("a file has its name in filename*=, which is not allowed in forms: send filename=")


async def read(
    request: Request, limits: ServeSettings, field: str, options: Mapping[str, Callable[[str], object]]
) -> Question:
    """Parse `request`: a form with files named `field`, or one image as the whole body.

    Each of `options` may be in the form or in the query. Its function converts the text or raises RequestError. If
    both are given, both must be valid, and the form's value is used. A field `images` accepts as many files as `limits`
    allow, any other field accepts one.
    Raises RequestError: 400 for a broken form, 408 for a body that takes too long, 413 for one that is too large,
    415 for another content type, 422 for wrong fields or no or too many images.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (FORM, "application/octet-stream") and not media_type.startswith("image/"):
        message = f"content type {media_type[:50]!r} is not supported: send {FORM} with {field}, or one image"
        raise RequestError(415, "unsupported_media_type", message)
    given = request.query_params
    if unknown := [name for name in given if name not in options]:
        allowed = " and ".join(options)
        raise RequestError(
            422, "unknown_field", f"unknown query parameter {unknown[0][:50]!r}: the allowed ones are {allowed}"
        )
    values: dict[str, Any] = {name: check(given[name]) for name, check in options.items() if name in given}
    try:
        async with asyncio.timeout(limits.max_seconds):
            if media_type != FORM:
                body = b"".join([chunk async for chunk in _limited(request, limits)])
                return Question([Upload("image", body)], values)
            form = await _form(request, limits, limits.max_images if field == "images" else 1)
    except ClientDisconnect:
        raise RequestError(400, "incomplete", "the connection was closed before the request was complete") from None
    except TimeoutError:
        message = f"the request took more than {limits.max_seconds:g} s to arrive: send fewer or smaller images"
        raise RequestError(408, "too_slow", message) from None
    try:
        uploads = await _take(form, field, options, values)
    finally:
        await form.close()
    return Question(uploads, values)


async def _form(request: Request, limits: ServeSettings, max_files: int) -> FormData:
    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in ("utf-8", "us-ascii"):
        # RFC 7578 allows no other charset, and some of Python's codecs fail or produce text that JSON cannot represent.
        raise RequestError(400, "bad_form", f"the form's charset is {charset[:50]!r}: encode the form as UTF-8")
    try:
        parser = _Parser(request.headers, _limited(request, limits), max_files=max_files, max_fields=8)
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            most = "one image" if max_files == 1 else f"{max_files} images"
            message = f"more than {most}: send them in several requests"
            raise RequestError(422, "too_many_images", message) from None
        raise RequestError(400, "bad_form", error.message) from None


async def _take(
    form: FormData, field: str, options: Mapping[str, Callable[[str], object]], values: dict[str, Any]
) -> list[Upload]:
    """Return the files of `form`, and add its options to `values`."""
    uploads: list[Upload] = []
    for name, value in form.multi_items():
        if name == field and isinstance(value, UploadFile):
            uploads.append(Upload(value.filename or "image", await value.read()))
        elif name == field:
            raise RequestError(422, "not_a_file", f"{field} must be sent as files: URLs and text are not accepted")
        elif name in options and isinstance(value, str):
            values[name] = options[name](value)
        else:
            allowed = " and ".join([f"{field} (files)", *options])
            raise RequestError(422, "unknown_field", f"unknown field {name[:50]!r}: allowed are {allowed}")
    if not uploads:
        raise RequestError(422, "no_images", f"no images: send at least one file in the field {field}")
    return uploads


async def _limited(request: Request, limits: ServeSettings) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of the body; raise RequestError 413 as soon as it is known to be too large."""
    limit = int(limits.max_request_megabytes * MEGABYTE)
    too_large = RequestError(
        413,
        "request_too_large",
        f"the request is larger than {limits.max_request_megabytes:g} MB: send fewer or smaller images",
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise too_large
        yield chunk


def whole_number(text: str) -> int:
    """Return the number in the option top_k. Raises RequestError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise RequestError(422, "invalid_top_k", f"top_k is {text[:20]!r}: give a positive integer")
    return int(text)
