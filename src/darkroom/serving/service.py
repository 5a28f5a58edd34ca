"""The HTTP service: `bentoml serve` in the project's top folder, or in that of a Bento.

A small Starlette application with the routes is mounted into a BentoML service that adds /livez, /readyz, /metrics and
Swagger. Bodies are read with limits and never written to disk, and a request takes about half the time of a typed
BentoML endpoint.
"""

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any, cast

import bentoml
import uvicorn.config
from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.foundations import errors
from darkroom.foundations.errors import DarkroomError
from darkroom.serving import guard, internals, openapi, routes
from darkroom.serving.guard import Guard
from darkroom.serving.protocol import Protocol
from darkroom.serving.uploads import RequestError


async def docs(request: Request) -> JSONResponse:
    """BentoML's description of the service, extended by the routes above."""
    model = routes.model_of(request)
    specification = _service().openapi_spec.asdict()
    limits, classes = model.served.limits, model.card.classes
    return JSONResponse(openapi.describe(specification, model.served.version, limits, classes))


async def schema(request: Request) -> JSONResponse:
    """The description that BentoML's own clients read."""
    return JSONResponse(openapi.schema(_service().inner.__doc__, routes.model_of(request).served.limits))


app = Starlette(
    routes=[*routes.ROUTES, Route("/docs.json", docs), Route("/schema.json", schema)],
    exception_handlers={RequestError: routes.refuse},
    lifespan=routes.lifespan,
)
OURS = {route.path for route in app.routes if isinstance(route, Route)}
BENTOML = {"/", *guard.PROBES, *(f"/static_content/{path.name}" for path in internals.SWAGGER.iterdir())}


def _known(path: str) -> bool:
    return path in OURS or path in BENTOML or path in app.state.files


class _Front:
    """ASGI middleware that tries our routes before BentoML's, inside the guard."""

    def __init__(self, app: ASGIApp) -> None:
        self._bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Dispatch a request."""
        if scope["type"] == "lifespan":
            # BentoML applies a service's middleware inside its own, whose rejections and counters would bypass the
            # guard.
            stack = Guard(internals.without_timers(scope["app"].middleware_stack), _known)
            scope["app"].middleware_stack = _shared(stack)
            _drain_on_sigterm(stack)
            send = _briefly(send)
        ours = scope["type"] == "http" and scope["path"] in OURS
        await (app if ours else self._bentoml)(scope, receive, send)


def _briefly(send: Send) -> Send:
    """Return `send` without the traceback of a DarkroomError, raised if a later worker finds the folder damaged."""
    name = f"{DarkroomError.__module__}.{DarkroomError.__name__}: "

    async def send_on(message: Message) -> None:
        last = (message.get("message") or "").strip().rpartition("\n")[2]
        if last.startswith(name):
            message["message"] = f"error: {last.removeprefix(name)}"
        await send(message)

    return send_on


def _shared(stack: ASGIApp) -> ASGIApp:
    """Return the application with BentoML's setting `http.cors`, which BentoML applies to its own routes only."""
    options = internals.cors_options()
    return stack if options is None else CORSMiddleware(stack, **options)


def _drain_on_sigterm(stack: Guard) -> None:
    """On SIGTERM, keep answering for a while before uvicorn stops accepting connections.

    A load balancer sends requests until it detects that the service is not ready.
    """
    end = signal.getsignal(signal.SIGTERM)
    if not callable(end) or threading.current_thread() is not threading.main_thread():
        return  # no server: a test
    loop = asyncio.get_running_loop()

    def drain(number: int, _: object) -> None:
        stack.draining = True
        seconds = app.state.model.served.limits.drain_seconds
        loop.call_soon_threadsafe(loop.call_later, seconds, end, number, None)

    signal.signal(signal.SIGTERM, drain)


# uvicorn would use plain httptools. BentoML does not set a protocol, so "auto" must select ours.
uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{Protocol.__module__}:{Protocol.__name__}"


# BentoML's access log lacks our request id. Its tracing takes 0.5 of 1.4 ms of CPU time per request, even if unused.
# Two workers: BentoML checks for dead workers only every ten seconds, while the other one still responds.
@bentoml.service(workers=2, logging={"access": {"enabled": False}}, tracing={"excluded_urls": "."})
@bentoml.asgi_app(app)
class Classifier:
    """Classifies images: POST /predict, /explain; GET /info; a web page at /ui."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # untyped in BentoML
    @staticmethod
    def check() -> None:
        """Exit `bentoml serve` with one message, before any worker starts, if the model cannot be served."""
        try:
            folder = Path(_service().working_dir)
            errors.check_checkout(folder)
            state = State()
            routes.load(state, folder)
            state.model.close()
        except DarkroomError as error:
            raise SystemExit(f"error: {error}") from None


def _service() -> "bentoml.Service[Any]":
    return cast("bentoml.Service[Any]", Classifier)  # mypy does not see what class decorators return


_service().add_asgi_middleware(_Front)
