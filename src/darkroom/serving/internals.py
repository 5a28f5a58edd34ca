"""All that the service uses of BentoML's private modules: look here first after an update of BentoML."""

import contextlib
import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.monitoring.default import DefaultMonitor
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.types import ASGIApp

SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
"""Static files of BentoML's page at /."""


class Monitor(DefaultMonitor):
    """BentoML's monitor, but write errors are raised: Python's logging would print a traceback each time."""

    def _init_logger(self) -> None:
        super()._init_logger()
        for name in ("data", "schema"):
            for handler in logging.getLogger(f"bentoml_monitor_{name}").handlers:
                # Python's documented hook for a handler's errors; mypy does not allow replacing methods.
                handler.handleError = partial(_close_and_raise, handler)  # type: ignore[method-assign]


def _close_and_raise(handler: logging.Handler, _: logging.LogRecord) -> None:
    """Close the file, which the handler reopens for its next line, and raise the error being handled."""
    with contextlib.suppress(OSError):  # closing flushes the buffer
        handler.close()
    raise


def monitor_class() -> Any:
    """Return the monitor that BentoML's configuration names, else `Monitor`."""
    chosen = BentoMLContainer.config.monitoring.type.get()
    return Monitor if chosen in (None, "default") else chosen


def cors_options() -> dict[str, Any] | None:
    """Return the options of BentoML's setting `http.cors`; None if it is turned off."""
    if not BentoMLContainer.http.cors.enabled.get():
        return None
    return cast(dict[str, Any], BentoMLContainer.access_control_options.get())


def without_timers(stack: Any) -> ASGIApp:
    """Return BentoML's middleware without its timeout; the service has its own, for receiving and for processing.

    BentoML keeps a timer of 0.9 KB per request until it expires, even after the response: 50 MB at 1,000 per second.
    """
    layer = stack
    while hasattr(layer, "app"):
        if isinstance(layer.app, TimeoutMiddleware):
            layer.app = layer.app.app
        layer = layer.app
    return cast(ASGIApp, stack)
