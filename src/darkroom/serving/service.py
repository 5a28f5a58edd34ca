"""The HTTP service: `bentoml serve` in the project's top folder, or in that of a Bento.

A small Starlette application carries the routes, mounted into a BentoML service that adds /livez, /readyz,
/metrics and Swagger: bodies are read within limits and never touch the disk, and a request costs about half
of what a typed BentoML endpoint does.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import bentoml
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from darkroom.errors import DarkroomError
from darkroom.serving import examples, facts, guard, openapi, served, uploads
from darkroom.serving.guard import Guard, Record
from darkroom.serving.journal import Journal
from darkroom.serving.model import Answer, Failure, Model
from darkroom.serving.uploads import RequestError, Upload

PAGE = Path(__file__).parent / "page"
"""The page's files, served as they are."""
SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"


async def predict(request: Request) -> JSONResponse:
    """Answer each image of the request."""
    model, limits = _model(request), _model(request).served.limits
    question = await uploads.read(request, limits, "images", ["top_k"])
    top_k = uploads.top_k(question.options.get("top_k"), limits.top_k)
    answers = await model.answer(question.uploads)
    if request.app.state.journal is not None:
        await model.run(request.app.state.journal.write, question.uploads, answers)
    failures = [answer for answer in answers if isinstance(answer, Failure)]
    _record(request).facts |= {"images": len(answers), "failed": len(failures) or ""}
    predictions = [
        _plain(upload, answer, model.card.classes, top_k)
        for upload, answer in zip(question.uploads, answers, strict=True)
    ]
    body: dict[str, Any] = {"model": facts.identity(model), "predictions": predictions}
    if len(failures) < len(answers):
        return JSONResponse(body)
    first = failures[0]
    message = first.message if len(failures) == 1 else f"none of the {len(failures)} images could be answered"
    return _refusal(request, RequestError(first.status, first.code, message), body)


def _plain(upload: Upload, answer: Answer | Failure, classes: list[str], top_k: int) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"name": upload.name, "error": {"code": answer.code, "message": answer.message}}
    order = (-answer.probabilities).argsort(kind="stable")[:top_k]
    labels = [{"label": classes[index], "probability": float(answer.probabilities[index])} for index in order]
    doubt = {"confident": answer.confident, "in_distribution": answer.in_distribution}
    return {"name": upload.name, "labels": labels, **doubt}


async def explain(request: Request) -> Response:
    """Answer with a picture of the places that speak for a class."""
    model = _model(request)
    question = await uploads.read(request, model.served.limits, "image", ["label"])
    explanation = await model.explain(question.uploads[0], question.options.get("label"))
    headers = {"X-Label": quote(explanation.label), "X-Strongest": f"{explanation.strongest:.4f}"}
    return Response(explanation.png, media_type="image/png", headers=headers)


async def correct(request: Request) -> JSONResponse:
    """Keep an image under the class that a user gave it."""
    model, journal = _model(request), request.app.state.journal
    if journal is None:
        raise RequestError(403, "no_log", "corrections are not kept here: the parameter serve.log turns that on")
    question = await uploads.read(request, model.served.limits, "image", ["label"])
    upload, label = question.uploads[0], model.checked(question.options.get("label", ""))
    if isinstance(failure := await model.run(model.decode, upload), Failure):
        raise RequestError(failure.status, failure.code, failure.message)
    await model.run(journal.correct, upload, label)
    return JSONResponse({"kept": True})


async def info(request: Request) -> JSONResponse:
    """Say what answers here."""
    return JSONResponse(request.app.state.info)


async def file(request: Request) -> Response:
    """Serve the page's files and the example pictures; the guard lets no other name through."""
    path = request.app.state.files.get(request.url.path)
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, headers={"Cache-Control": "no-cache"})


async def docs(request: Request) -> JSONResponse:
    """BentoML's description of the service, with the routes above added."""
    model = _model(request)
    specification = _service().openapi_spec.asdict()
    limits, classes = model.served.limits, model.card.classes
    return JSONResponse(openapi.describe(specification, model.served.version, limits, classes))


async def schema(request: Request) -> JSONResponse:
    """What BentoML's own clients read."""
    return JSONResponse(openapi.schema(Classifier.__doc__, _model(request).served.limits))


def _model(request: Request) -> Model:
    return cast(Model, request.app.state.model)


def _record(request: Request) -> Record:
    return cast(Record, request.scope["record"])


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    return _refusal(request, cast(RequestError, error), {})


def _refusal(request: Request, error: RequestError, body: dict[str, Any]) -> JSONResponse:
    _record(request).code = error.code
    # The rest of a body that came too slowly is not waited for.
    headers = {"Connection": "close"} if error.status == 408 else None
    return JSONResponse(guard.error(error.code, error.message) | body, error.status, headers)


@asynccontextmanager
async def _lifespan(application: Starlette) -> AsyncIterator[None]:
    model = Model(served.FOLDER)
    limits, state = model.served.limits, application.state
    state.model = model
    state.journal = None
    if limits.log is not None:
        state.journal = Journal(Path(limits.log), model.served.version, model.card.classes, limits.log_pictures)
    state.info = facts.collect(model)
    state.files = {"/ui": PAGE / "index.html", **{f"/ui/{path.name}": path for path in PAGE.iterdir()}}
    for example in examples.read(model.folder):
        state.files[f"/{examples.FOLDER}/{example.file}"] = model.folder / examples.FOLDER / example.file
    yield
    model.close()


app = Starlette(
    routes=[
        Route("/predict", predict, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/correct", correct, methods=["POST"]),
        Route("/info", info, methods=["GET", "POST"]),  # BentoML's client posts
        Route("/docs.json", docs),
        Route("/schema.json", schema),
        Route("/ui", file),
        Route("/ui/{name}", file),
        Route("/examples/{name}", file),
    ],
    exception_handlers={RequestError: _refuse},
    lifespan=_lifespan,
)
OURS = {route.path for route in app.routes if isinstance(route, Route)}
BENTOML = {"/", *guard.PROBES, *(f"/static_content/{path.name}" for path in SWAGGER.iterdir())}


def _known(path: str) -> bool:
    return path in OURS or path in BENTOML or path in app.state.files


class _Front:
    """ASGI middleware that puts our routes before BentoML's, and the guard around both."""

    def __init__(self, app: ASGIApp) -> None:
        self._bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Choose who answers."""
        if scope["type"] == "lifespan":
            # BentoML puts a service's middleware inside its own, whose refusals and counters then go past it.
            scope["app"].middleware_stack = Guard(_without_timers(scope["app"].middleware_stack), _known)
        ours = scope["type"] == "http" and scope["path"] in OURS
        await (app if ours else self._bentoml)(scope, receive, send)


def _without_timers(stack: Any) -> ASGIApp:
    """Return BentoML's middleware without its time limit: ours are for arriving and for answering.

    BentoML keeps a timer of 0.9 KB for every request until its time is over, answered or not: 50 MB at 1,000 a second.
    """
    layer = stack
    while hasattr(layer, "app"):
        if isinstance(layer.app, TimeoutMiddleware):
            layer.app = layer.app.app
        layer = layer.app
    return cast(ASGIApp, stack)


# BentoML's log line has no id of ours. Its tracing costs 0.5 of 1.4 ms of processor time a request, collected or not.
@bentoml.service(logging={"access": {"enabled": False}}, tracing={"excluded_urls": "."})
@bentoml.asgi_app(app)
class Classifier:
    """Classifies pictures: POST /predict, /explain; GET /info; a page to drop pictures on at /ui."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """End `bentoml serve` with one message, before any worker starts, when it could not serve."""
        folder = Path(_service().working_dir)
        try:
            log = served.read(folder / served.FOLDER).limits.log
            if log is not None and not os.access(_existing(folder / log), os.W_OK):
                raise DarkroomError(f"{folder / log} cannot be written: let serve.log name another folder, or none")
        except DarkroomError as error:
            raise SystemExit(f"error: {error}") from None


def _existing(path: Path) -> Path:
    """Return `path`, or the first folder above it that is there."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _service() -> "bentoml.Service[Any]":
    return cast("bentoml.Service[Any]", Classifier)  # mypy does not see what class decorators return


_service().add_asgi_middleware(_Front)
