"""What the evaluation leaves and what the service reads, small and real, and a server of it on a free port."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from bentoml._internal.configuration.containers import BentoMLContainer
from PIL import Image
from starlette.types import ASGIApp, Message

from darkroom import packed
from darkroom.foundations import files
from darkroom.serving import served
from darkroom.serving.build import packaging
from darkroom.serving.settings import PackageSettings, ServeSettings
from tests import factories

ROOT = Path(__file__).parents[1]
TEMPERATURE = 1.5
BEST = {
    "name": "small",
    "metric": "accuracy",
    "value": 0.9,
    "reason": "highest accuracy on validation",
}
EVALUATION = {
    "best": {"name": "small", "selective_prediction": {"out_of_distribution": {"photographs": {"confident": 0.53}}}},
    "candidates": {
        "small": {
            "temperature": TEMPERATURE,
            "validation": {"accuracy": 0.9},
            "test": {"accuracy": 0.88, "accuracy_low": 0.84, "accuracy_high": 0.92},
        }
    },
}
LIMITS = ServeSettings(
    top_k=2, max_images=4, max_megabytes=0.2, max_request_megabytes=0.5, max_megapixels=0.05, drain_seconds=0
)
SERVE = (sys.executable, "-m", "bentoml", "serve")


def write_judged(top: Path) -> Path:
    """Write a project as it stands after `evaluate`; return `top`."""
    folder = factories.write_packed(top / "data" / "packed")
    split = factories.write_split(top / "data" / "split.csv", folder)
    factories.write_candidate(top / "models" / "candidates" / "small", folder, split)
    files.write_json(top / "models" / "best.json", BEST)
    files.write_json(top / "plots" / "tables" / "scores.json", EVALUATION)
    files.write_text(top / "models" / "model_card.md", "# Model card: small\n")
    files.write_text(top / "params.yaml", "seed: 0\npackage: {}\nserve: {top_k: 3}\n")
    return top


def write_served(top: Path, limits: ServeSettings = LIMITS, settings: PackageSettings | None = None) -> Path:
    """Write an evaluated project and its served folder; return `top`."""
    write_judged(top)
    folder = top / served.FOLDER
    folder.mkdir(parents=True)
    packaging.write_served(
        folder,
        packaging.Best(**BEST),
        top / "models" / "candidates",
        packed.open_packed(top / "data" / "packed"),
        packed.read_split(top / "data" / "split.csv"),
        EVALUATION,
        limits,
        settings or PackageSettings(),
        seed=0,
    )
    return top


def package_arguments(top: Path) -> list[str]:
    """Return the arguments of stages/package.py for the project `top`."""
    paths = {
        "best": "models/best.json",
        "candidates": "models/candidates",
        "packed": "data/packed",
        "split": "data/split.csv",
        "evaluation": "plots/tables/scores.json",
        "model-card": "models/model_card.md",
        "served": "models/served",
        "bento": "dist/darkroom.bento",
        "params": "params.yaml",
    }
    arguments = [part for name, path in paths.items() for part in (f"--{name}", str(top / path))]
    beside = {"bentofile": "bentofile.yaml", "requirements": "requirements-serve.txt"}
    return arguments + [part for name, path in beside.items() for part in (f"--{name}", str(ROOT / path))]


def png(pixels: Any) -> bytes:
    """Return uint8 pixels, shape (height, width, 3), as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture(seed: int = 0, width: int = 40, height: int = 30) -> bytes:
    """Return a PNG file of random pixels."""
    return png(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


class Client:
    """Sends requests to an application in this process."""

    def __init__(self, portal: BlockingPortal, app: ASGIApp) -> None:
        self._portal = portal
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self._client.request, method, path, **options))

    def count_timers(self) -> int:
        """Return how many timers wait in the application's event loop."""
        return self._portal.call(lambda: sum(not timer.cancelled() for timer in asyncio.get_running_loop()._scheduled))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


@contextmanager
def in_process(app: ASGIApp) -> Iterator[Client]:
    """Start an application in this process and yield a client of it."""
    registry = BentoMLContainer.metrics_client.get().registry
    known = set(registry._collector_to_names)
    try:
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(_started(app)):
            yield Client(portal, app)
    finally:
        for collector in set(registry._collector_to_names) - known:  # which the next start in this process counts by
            registry.unregister(collector)


@contextmanager
def served_in_process(project: Path) -> Iterator[Client]:
    """Start the service of a project, which becomes the current folder, in this process and yield a client of it."""
    from darkroom.serving import service  # here, because most users of this module start it as a process

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("BENTOML_HOME", str(project / "home"))
        with in_process(service.Classifier.to_asgi()) as client:
            yield client


@asynccontextmanager
async def _started(app: ASGIApp) -> AsyncIterator[None]:
    """Start and stop an application as a server does, by its lifespan."""
    ask, tell = asyncio.Queue[Message](), asyncio.Queue[Message]()
    task = asyncio.create_task(app({"type": "lifespan", "state": {}}, ask.get, tell.put))
    for phase in ("startup", "shutdown"):
        await ask.put({"type": f"lifespan.{phase}"})
        told = asyncio.create_task(tell.get())
        await asyncio.wait((told, task), return_when=asyncio.FIRST_COMPLETED)
        if not told.done():  # the application ended without a word
            told.cancel()
            await task
        message = await told
        assert message["type"] == f"lifespan.{phase}.complete", message
        if phase == "startup":
            yield
    await task


@contextmanager
def serving(folder: Path, home: Path, command: Sequence[str] = SERVE, **settings: str) -> Iterator[str]:
    """Run `command` in `folder` on a free port and yield its address; `settings` are added to its environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"} | settings
    with (home / "log.txt").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, f"{address}/readyz", home / "log.txt")
            yield address
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the service did not start:\n{log.read_text(encoding='utf-8')}")
