"""The HTTP service: `bentoml serve` in the project's top folder, or in that of a Bento.

A small Starlette application carries the routes, mounted into a BentoML service that adds /livez, /readyz,
/metrics and Swagger: bodies are read within limits and never touch the disk, and a request costs about half
of what a typed BentoML endpoint does.
"""

import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
import bentoml
from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from darkroom.errors import DarkroomError
from darkroom.serving import openapi, served, uploads
from darkroom.serving.headers import StrictHeaders
from darkroom.serving.model import Answer, Failure, Model
from darkroom.serving.uploads import RequestError

PAGE = Path(__file__).parent / "page"
"""The page's files, served as they are."""


async def predict(request: Request) -> JSONResponse:
    """Answer each image of the request; decoding and inference run on a bounded pool of threads."""
    model: Model = request.app.state.model
    question = await uploads.read(request, model.served.limits)
    answers = await anyio.to_thread.run_sync(
        model.answer, question.uploads, question.top_k, limiter=request.app.state.threads
    )
    body: dict[str, Any] = {"model": _identity(model), "predictions": [_plain(answer) for answer in answers]}
    failures = [answer.outcome for answer in answers if isinstance(answer.outcome, Failure)]
    if len(failures) < len(answers):
        return JSONResponse(body)
    first = failures[0]
    message = first.message if len(failures) == 1 else f"none of the {len(failures)} images could be answered"
    return JSONResponse({"error": {"code": first.code, "message": message}, **body}, first.status)


def _identity(model: Model) -> dict[str, str]:
    return {"name": model.predictor.card.name, "version": model.served.version}


def _plain(answer: Answer) -> dict[str, Any]:
    if isinstance(answer.outcome, Failure):
        error = {"code": answer.outcome.code, "message": answer.outcome.message}
        return {"name": answer.name, "error": error}
    return {"name": answer.name, "labels": [asdict(label) for label in answer.outcome]}


async def info(request: Request) -> JSONResponse:
    """Say what answers here: the card, what was measured, the limits and the versions."""
    model: Model = request.app.state.model
    versions = {name: metadata.version(name) for name in ("bentoml", "numpy", "onnxruntime", "pillow")}
    return JSONResponse(
        {
            "model": _identity(model),
            "card": asdict(model.predictor.card),
            "reason": model.served.reason,
            "metrics": model.served.metrics,
            "parity": asdict(model.served.parity),
            "limits": model.served.limits.model_dump(),
            "versions": {"python": platform.python_version(), **versions},
        }
    )


async def page(request: Request) -> Response:
    """Serve the page and the two files that it loads."""
    name = request.path_params.get("name", "index.html")
    if name not in ("index.html", "page.css", "page.js"):
        raise HTTPException(404, "Not Found")
    return FileResponse(PAGE / name, headers={"Cache-Control": "no-cache"})


async def docs(request: Request) -> JSONResponse:
    """BentoML's description of the service, with the routes above added."""
    model: Model = request.app.state.model
    return JSONResponse(openapi.describe(_service().openapi_spec.asdict(), model.served.version))


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RequestError):
        return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status)
    assert isinstance(error, HTTPException)  # of Starlette's own: a wrong method, an unknown page file
    code = error.detail.lower().replace(" ", "_")
    return JSONResponse({"error": {"code": code, "message": error.detail}}, error.status_code, error.headers)


@asynccontextmanager
async def _lifespan(application: Starlette) -> AsyncIterator[None]:
    application.state.model = Model(served.FOLDER)
    application.state.threads = CapacityLimiter(os.cpu_count() or 1)
    yield


app = Starlette(
    routes=[
        Route("/predict", predict, methods=["POST"]),
        Route("/info", info),
        Route("/ui", page),
        Route("/ui/{name}", page),
        Route("/docs.json", docs),
    ],
    exception_handlers={RequestError: _refuse, HTTPException: _refuse},
    lifespan=_lifespan,
)


# 64 requests of at most 64 MB each bound the memory that waiting bodies can take; more are told 429.
@bentoml.service(traffic={"timeout": 60, "max_concurrency": 64})
@bentoml.asgi_app(app)
class Classifier:
    """Classifies pictures: POST /predict; GET /info; a page to drop pictures on at /ui."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """End `bentoml serve` with one message, before any worker starts, when there is nothing to serve."""
        try:
            served.read(Path(_service().working_dir) / served.FOLDER)
        except DarkroomError as error:
            raise SystemExit(f"error: {error}") from None


def _service() -> "bentoml.Service[Any]":
    return cast("bentoml.Service[Any]", Classifier)  # mypy does not see what class decorators return


_service().add_asgi_middleware(StrictHeaders)
