"""From an HTTP request to the pictures in it, within limits that hold while the body is still arriving."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from darkroom.serving.settings import ServeSettings

MEGABYTE = 1_000_000
FORM = "multipart/form-data"


class RequestError(Exception):
    """A mistake of the client's: an HTTP status, a code for programs and a message for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Upload:
    """One file as it was sent."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Question:
    """What one request asks: labels for each upload, the `top_k` most probable first."""

    uploads: list[Upload]
    top_k: int


class _Parser(MultiPartParser):
    spool_max_size = 0  # keep files in memory, never in temporary files: the request's size is limited anyway


async def read(request: Request, limits: ServeSettings) -> Question:
    """Return what `request` asks: a form with files named `images`, or one picture as the whole body.

    Raises RequestError: 400 for a broken form, 413 for a body that is too large, 415 for another content
    type, 422 for wrong fields or no or too many images.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (FORM, "application/octet-stream") and not media_type.startswith("image/"):
        message = f"content type {media_type!r} is not supported: send {FORM} with images, or one image"
        raise RequestError(415, "unsupported_media_type", message)
    top_k = request.query_params.get("top_k")
    try:
        if media_type == FORM:
            uploads, field = await _read_form(request, limits)
            top_k = field or top_k
        else:
            body = b"".join([chunk async for chunk in _limited(request, limits)])
            uploads = [Upload("image", body)]
    except ClientDisconnect:
        raise RequestError(400, "incomplete", "the connection ended before the request did") from None
    return Question(uploads, _top_k(top_k, limits))


async def _read_form(request: Request, limits: ServeSettings) -> tuple[list[Upload], str | None]:
    try:
        stream = _limited(request, limits)
        form = await _Parser(request.headers, stream, max_files=limits.max_images, max_fields=8).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            message = f"more than {limits.max_images} images: send them in several requests"
            raise RequestError(422, "too_many_images", message) from None
        raise RequestError(400, "bad_form", error.message) from None
    try:
        return await _fields(form)
    finally:
        await form.close()


async def _fields(form: FormData) -> tuple[list[Upload], str | None]:
    uploads: list[Upload] = []
    top_k: str | None = None
    for field, value in form.multi_items():
        if field == "images" and isinstance(value, UploadFile):
            uploads.append(Upload(value.filename or "image", await value.read()))
        elif field == "images":
            raise RequestError(422, "not_a_file", "images must be files: addresses and text are not fetched")
        elif field == "top_k" and isinstance(value, str):
            top_k = value
        else:
            message = f"unknown field {field[:50]!r}: allowed are images (files) and top_k"
            raise RequestError(422, "unknown_field", message)
    if not uploads:
        raise RequestError(422, "no_images", "no images: send at least one file in the field images")
    return uploads, top_k


async def _limited(request: Request, limits: ServeSettings) -> AsyncGenerator[bytes, None]:
    """Yield the body's chunks; end with 413 as soon as it is known to be too large."""
    limit = int(limits.max_request_megabytes * MEGABYTE)
    too_large = RequestError(
        413,
        "request_too_large",
        f"the request is larger than {limits.max_request_megabytes:g} MB: send fewer or smaller images",
    )
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise too_large
        yield chunk


def _top_k(text: str | None, limits: ServeSettings) -> int:
    if text is None:
        return limits.top_k
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        message = f"top_k is {text[:20]!r}: give a whole number from 1 up"
        raise RequestError(422, "invalid_top_k", message)
    return int(text)
