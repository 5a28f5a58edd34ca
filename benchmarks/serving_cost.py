"""Processor time of one request, and of one image by the size of its batch: what each part of the service costs.

    python benchmarks/serving_cost.py [--served models/served] [--seconds 3] [--rounds 4]

wrk sends one 32-pixel PNG over 16 connections to two workers; the variants take turns. Processor time is the workers'
own, so that a machine with other work on it gives nearly the same figures. Needs wrk.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from darkroom.predictor import Predictor

TRACED = "services.Classifier.tracing.excluded_urls=^$"
ACCESS_LOG = "services.Classifier.logging.access.enabled=true"
UNCOUNTED = "services.Classifier.metrics.enabled=false"
VARIANTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "as it is": ((), ()),
    "with BentoML's tracing": ((TRACED,), ()),
    "with BentoML's access log, too": ((TRACED, ACCESS_LOG), ()),
    "without metrics": ((UNCOUNTED,), ()),
    "with asyncio's own loop in place of uvloop": ((), ("uvloop",)),
}
"""BentoML's options, and packages that the service shall not find: uvicorn then takes what there is without them."""
BATCHES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--served", type=Path, default=Path("models/served"))
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    measure_batches(arguments.served)
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        (top / "models").mkdir()
        (top / "models" / "served").symlink_to(arguments.served.resolve())
        (top / "bentofile.yaml").symlink_to(Path("bentofile.yaml").resolve())
        measure_requests(top, arguments.seconds, arguments.rounds)


def measure_batches(served: Path) -> None:
    predictor = Predictor(served, threads=1)
    side = predictor.card.image_size
    for batch in BATCHES:
        images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
        times = []
        for _ in range(8):
            start = time.process_time()
            for _ in range(max(1, 32 // batch)):
                predictor.logits(images)
            times.append(1000 * (time.process_time() - start) / max(1, 32 // batch) / batch)
        print(f"{predictor.card.name}, {batch:2d} images a call: {min(times):.3f} ms an image")


def measure_requests(top: Path, seconds: int, rounds: int) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(top / "one.png")
    script = top / "post.lua"
    script.write_text(
        f'local file = io.open("{top / "one.png"}", "rb")\nwrk.body = file:read("*all")\n'
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "image/png"\n'
    )
    servers = {name: start(top, 3950 + place, *variant) for place, (name, variant) in enumerate(VARIANTS.items())}
    costs: dict[str, list[float]] = {name: [] for name in VARIANTS}
    speeds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    try:
        for _ in range(1 + rounds):  # the first round warms up
            for place, (name, server) in enumerate(servers.items()):
                before = spent(server)
                address = f"http://127.0.0.1:{3950 + place}/predict"
                command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", str(script), address]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                assert "Non-2xx" not in said, said
                (requests,) = re.findall(r"(\d+) requests in", said)
                costs[name].append(1000 * (spent(server) - before) / int(requests))
                speeds[name].append(int(requests) / seconds)
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait()
    for name, (_, *values) in costs.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        speed = statistics.median(speeds[name][1:])
        print(f"{name}: {statistics.median(values):.2f} ms a request ({spread}), {speed:,.0f} requests/s")


def start(top: Path, port: int, options: tuple[str, ...], hidden: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    settings = " ".join(["services.Classifier.workers=2", *options])
    (cover := top / f"hidden-{port}").mkdir()
    for package in hidden:
        (cover / f"{package}.py").write_text("raise ImportError")
    environment = os.environ | {
        "PYTHONPATH": str(cover),
        "BENTOML_HOME": str(top / "home"),
        "BENTOML_DO_NOT_TRACK": "1",
        "BENTOML_CONFIG_OPTIONS": settings,
    }
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (top / f"{port}.log").open("w") as log:
        server = subprocess.Popen(command, cwd=top, env=environment, stdout=log, stderr=log)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return server
    server.terminate()
    raise SystemExit((top / f"{port}.log").read_text())


def spent(server: "subprocess.Popen[bytes]") -> float:
    """Return the processor seconds that a server's workers have used."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process(server.pid).children(recursive=True))


if __name__ == "__main__":
    main()
