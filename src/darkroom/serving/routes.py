"""The HTTP routes of the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from darkroom.predictor import Answer, Neighbor
from darkroom.serving import examples, facts, guard, origins, proofs, served, thumbnails, uploads
from darkroom.serving.decoding import Failure
from darkroom.serving.guard import Record
from darkroom.serving.journal import Journal
from darkroom.serving.model import Model
from darkroom.serving.uploads import RequestError, Upload

PAGE = Path(__file__).parent / "page"
"""Folder of the page's static files."""


async def predict(request: Request) -> JSONResponse:
    """Predict each image of the request."""
    model, limits = model_of(request), model_of(request).served.limits
    options = {"top_k": uploads.whole_number, "neighbors": model.neighbors}
    question = await uploads.read(request, limits, "images", options)
    top_k = question.options.get("top_k", limits.top_k)
    answers = await model.answer(question.uploads, question.options.get("neighbors", 0))
    if request.app.state.journal is not None:
        # Not in the model's thread pool, where finished predictions would have to wait and could time out.
        await asyncio.to_thread(request.app.state.journal.write, question.uploads, answers)
    failures = [answer for answer in answers if isinstance(answer, Failure)]
    _record(request).facts |= {"images": len(answers), "failed": len(failures) or ""}
    predictions = [
        _plain(upload, answer, model, top_k, "neighbors" in question.options)
        for upload, answer in zip(question.uploads, answers, strict=True)
    ]
    body: dict[str, Any] = {"model": facts.identity(model), "predictions": predictions}
    if len(failures) < len(answers):
        return JSONResponse(body)
    first = failures[0]
    message = first.message if len(failures) == 1 else f"none of the {len(failures)} images could be predicted"
    return _refusal(request, RequestError(first.status, first.code, message), body)


def _plain(upload: Upload, answer: Answer | Failure, model: Model, top_k: int, neighbors: bool) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"name": upload.name, "error": {"code": answer.code, "message": answer.message}}
    labels = [
        {"label": label, "probability": probability} for label, probability in answer.top(model.card.classes, top_k)
    ]
    thresholds = {"confident": answer.confident, "in_distribution": answer.in_distribution}
    plain = {"name": upload.name, "labels": labels, **thresholds}
    return plain | {"neighbors": [_neighbor(each, model) for each in answer.neighbors]} if neighbors else plain


def _neighbor(neighbor: Neighbor, model: Model) -> dict[str, Any]:
    plain = {"name": neighbor.name, "label": neighbor.label, "similarity": neighbor.similarity}
    return plain | {"thumbnail": _thumbnail(neighbor.place)} if model.thumbnails else plain


def _thumbnail(place: int) -> str:
    return f"{thumbnails.FOLDER}/{place}.jpg"


async def explain(request: Request) -> Response:
    """Return a heat map of the regions that support a class."""
    model = model_of(request)
    question = await uploads.read(request, model.served.limits, "image", {"label": model.label})
    explanation = await model.explain(question.uploads[0], question.options.get("label"))
    headers = {"X-Label": quote(explanation.label), "X-Strongest": f"{explanation.strongest:.4f}"}
    return Response(explanation.png, media_type="image/png", headers=headers)


async def correct(request: Request) -> JSONResponse:
    """Store an image with the class given by a user."""
    model, journal = model_of(request), request.app.state.journal
    if journal is None:
        raise RequestError(403, "no_log", "corrections are turned off: set the parameter serve.log to store them")
    origins.check(request.headers, model.served.limits.hosts)
    question = await uploads.read(request, model.served.limits, "image", {"label": model.label})
    upload = question.uploads[0]
    if (label := question.options.get("label")) is None:
        raise RequestError(422, "no_label", "no label: give the class of the image in the field label")
    await model.open(upload)
    try:
        await asyncio.to_thread(journal.correct, upload, label)
    except OSError:
        raise RequestError(
            507, "not_kept", "the correction could not be stored: see the service's log for the cause"
        ) from None
    return JSONResponse({"kept": True})


async def info(request: Request) -> JSONResponse:
    """Describe the model and the service."""
    return JSONResponse(request.app.state.info)


async def to_page(request: Request) -> RedirectResponse:
    """Redirect /ui/ to the page, whose URLs are relative to /."""
    return RedirectResponse("../ui", 308)


async def file(request: Request) -> Response:
    """Serve the page's files, the example images and the thumbnails; the guard rejects all other names."""
    path = request.app.state.files.get(request.scope["path"])
    if path is None:
        raise HTTPException(404)
    if isinstance(path, bytes):
        return Response(path, media_type="image/jpeg", headers={"Cache-Control": "no-cache"})
    return FileResponse(path, headers={"Cache-Control": "no-cache"})


def model_of(request: Request) -> Model:
    """Return the served model."""
    return cast(Model, request.app.state.model)


def _record(request: Request) -> Record:
    return cast(Record, request.scope["record"])


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Return the response for a RequestError."""
    return _refusal(request, cast(RequestError, error), {})


def _refusal(request: Request, error: RequestError, body: dict[str, Any]) -> JSONResponse:
    _record(request).code = error.code
    # The rest of a body that arrives too slowly is not awaited.
    headers = {408: {"Connection": "close"}, 429: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse(guard.error(error.code, error.message) | body, error.status, headers)


def load(state: State, top: Path) -> None:
    """Load the served folder of the project or Bento in `top` into `state` for the routes.

    Raises DarkroomError when the folder differs from what was packaged, or the log is not writable.
    """
    model = Model(top / served.FOLDER)
    limits = model.served.limits
    state.model = model
    state.journal = None
    if limits.log is not None:
        state.journal = Journal(top / limits.log, model.served.version, model.card.classes, limits.log_pictures)
        state.journal.check()
    state.info = facts.collect(model, proofs.read(top / proofs.FOLDER, model.served.version))
    state.files = {"/ui": PAGE / "index.html", **{f"/ui/{path.name}": path for path in PAGE.iterdir()}}
    for example in examples.read(model.folder):
        state.files[f"/{examples.FOLDER}/{example.file}"] = model.folder / examples.FOLDER / example.file
    state.files |= {f"/{_thumbnail(place)}": image for place, image in enumerate(model.thumbnails)}


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[None]:
    """Load the model from the working directory at startup."""
    load(application.state, Path())
    yield
    application.state.model.close()


ROUTES = [
    Route("/predict", predict, methods=["POST"]),
    Route("/explain", explain, methods=["POST"]),
    Route("/correct", correct, methods=["POST"]),
    Route("/info", info, methods=["GET", "POST"]),  # BentoML's client posts
    Route("/ui", file),
    Route("/ui/", to_page),
    Route("/ui/{name}", file),
    Route("/examples/{name}", file),
    Route("/neighbors/{name}", file),
]
