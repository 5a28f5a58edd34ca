"""Compare the service with a Flask and a LitServe one under the same load, and measure what it takes to run.

    python benchmarks/serving.py --rivals PYTHON              # one that has torch, flask, gunicorn and litserve
    python benchmarks/serving.py --rivals PYTHON --seconds 3 --rounds 1
    python benchmarks/serving.py --only footprint

Load: `wrk` with one thread and 16 connections on loopback, the same multipart body each time. All services have two
workers with one thread each, and run one after another in rounds, so that a busy machine disturbs all alike. Before the
clock starts each is asked for an answer, and all must agree. Networks have random weights: speed does not hang on them.
Prints Markdown tables.
"""

import argparse
import io
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.serving_rivals import CLASSES, network
from darkroom import candidate
from darkroom.candidate import Card
from darkroom.serving import served
from darkroom.serving.build import bento
from darkroom.serving.served import Parity, Served
from darkroom.serving.settings import ServeSettings

ROOT = Path(__file__).parents[1]
CONNECTIONS = 16
BARS = {("wic_cnn", "Flask"): 1.5, ("wic_cnn", "LitServe"): 1.2, ("mobilenet_v2", "Flask"): 1.5}
SIZES = {"wic_cnn": 32, "mobilenet_v2": 224, "resnet9": 32}


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    requests: float
    """Requests/s."""
    p99: float
    """Milliseconds."""
    wrong: int
    """Answers other than 2xx, and socket errors."""
    cpu: float
    """Milliseconds of processor time a request, of all the service's processes: hardly moved by other work."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the service with others under the same load.")
    parser.add_argument("--rivals", type=Path, help="a Python with torch, flask, gunicorn and litserve")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photo", type=Path, help="the photograph for mobilenet_v2; a drawn JPEG without it")
    parser.add_argument("--only", choices=["single", "many", "photo", "footprint"])
    arguments = parser.parse_args()
    names = ("bentoml", "onnxruntime", "pillow", "uvloop")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()},", end=" ")
    print(", ".join(f"{name} {version(name)}" for name in names) + f"; wrk, {CONNECTIONS} connections\n")
    with tempfile.TemporaryDirectory(prefix="darkroom-") as temporary:
        bench = Bench(Path(temporary), arguments.rivals, arguments.seconds, arguments.rounds)
        if arguments.only in (None, "single"):
            bench.compare("wic_cnn", drawn(32, "PNG"), ["ours", "Flask", "LitServe"])
        if arguments.only in (None, "many"):
            bench.many("wic_cnn", drawn(32, "PNG"), 32)
        if arguments.only in (None, "photo"):
            photo = arguments.photo.read_bytes() if arguments.photo else drawn(300, "JPEG")
            bench.compare("mobilenet_v2", photo, ["ours", "Flask"])
        if arguments.only in (None, "footprint"):
            bench.footprint("resnet9", drawn(32, "PNG"))


def drawn(width: int, kind: str) -> bytes:
    """Return a smooth picture, three quarters as high as wide, square when it is small."""
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    size = (width, width if width < 100 else width * 3 // 4)
    file = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(file, kind, quality=90)
    return file.getvalue()


class Bench:
    """A folder for models and request bodies, and how long and how often to measure."""

    def __init__(self, top: Path, rivals: Path | None, seconds: int, rounds: int) -> None:
        self.top, self.rivals, self.seconds, self.rounds = top, rivals, seconds, rounds

    def compare(self, name: str, picture: bytes, services: list[str]) -> None:
        """Send one picture a request to each service in turn."""
        folder = self.project(name)
        services = [service for service in services if service == "ours" or self.rivals]
        loads: dict[str, list[Load]] = {service: [] for service in services}
        answers: dict[str, dict[str, float]] = {}
        for number in range(self.rounds):
            for service in services:
                with self.running(service, name, folder) as address:
                    answers[service] = ask(address, picture)
                    loads[service].append(self.wrk(address, [picture]))
                print(f"round {number + 1}: {service} {loads[service][-1]}", file=sys.stderr, flush=True)
        # Pictures that are resized come out a little different, since ours opens large JPEG files smaller.
        for service, answer in answers.items():
            difference = max(abs(answer[label] - answers["ours"][label]) for label in answer)
            assert difference < 0.02, f"{service} answers otherwise: {answer} and {answers['ours']}"
        middle = statistics.median(load.requests for load in loads["ours"])
        print(f"| one picture a request, {name} | requests/s | least to most | p99, ms | CPU ms | ours against it |")
        print("|---|---|---|---|---|---|")
        for service, found in loads.items():
            speeds = [load.requests for load in found]
            ratio, bar = middle / statistics.median(speeds), BARS.get((name, service))
            evaluated = f"{ratio:.2f}" + (f" (bar: ≥ {bar:g})" if bar else "")
            tail = statistics.median(load.p99 for load in found)
            row = [f"{statistics.median(speeds):,.0f}", f"{min(speeds):,.0f} to {max(speeds):,.0f}", f"{tail:.1f}"]
            row += [f"{statistics.median(load.cpu for load in found):.2f}", evaluated]
            print(f"| {service} | {' | '.join(row)} |", flush=True)
            if wrong := sum(load.wrong for load in found):
                print(f"\n{service}: {wrong} requests without a good answer\n")
        print()

    def many(self, name: str, picture: bytes, count: int) -> None:
        """Send one picture a request, and `count` of them."""
        folder = self.project(name)
        loads: dict[int, list[Load]] = {1: [], count: []}
        for _ in range(self.rounds):
            for pictures, found in loads.items():
                with self.running("ours", name, folder) as address:
                    found.append(self.wrk(address, [picture] * pictures))
        print(f"| pictures a request, {name} | pictures/s | least to most | CPU ms a picture | against one |")
        print("|---|---|---|---|---|")
        single = statistics.median(load.requests for load in loads[1])
        for pictures, found in loads.items():
            speeds = [pictures * load.requests for load in found]
            row = [f"{statistics.median(speeds):,.0f}", f"{min(speeds):,.0f} to {max(speeds):,.0f}"]
            row += [f"{statistics.median(load.cpu for load in found) / pictures:.2f}"]
            row += [f"{statistics.median(speeds) / single:.2f}" + (" (bar: ≥ 3)" if pictures > 1 else "")]
            print(f"| {pictures} | {' | '.join(row)} |", flush=True)
        print()

    def footprint(self, name: str, picture: bytes) -> None:
        """Measure the Bento's own environment, how soon it is ready, and the memory of a worker under load."""
        project, home = self.project(name), self.top / "bento"
        folder = home / "darkroom.bento"
        bento.build(project / served.FOLDER, ROOT / "bentofile.yaml", ROOT / "requirements-serve.txt", folder)
        uv = shutil.which("uv", path=f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}") or "uv"
        venv = self.top / "venv"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
        wanted = ["--compile-bytecode", "--require-hashes", "-r", folder / "env" / "python" / "requirements.txt"]
        subprocess.run([uv, "pip", "install", "--quiet", "--python", venv / "bin" / "python", *wanted], check=True)
        size = sum(path.lstat().st_size for path in venv.rglob("*") if not path.is_dir()) / 1e6
        seconds, memory = [], []
        for _ in range(self.rounds + 2):
            begin = time.perf_counter()
            with serve([venv / "bin" / "python", "-m", "bentoml", "serve"], folder, {}, fixed=()) as address:
                seconds.append(time.perf_counter() - begin)
                self.wrk(address, [picture], seconds=min(self.seconds, 3))
                children = psutil.Process(serve_pid[0]).children(recursive=True)
                memory += [
                    child.memory_info().rss / 1e6 for child in children if "service" in " ".join(child.cmdline())
                ]
        print("| what | figure | bar |\n|---|---|---|")
        print(f"| environment of the Bento, bytecode included | {size:.0f} MB | ≤ 300 MB |")
        figure = f"{statistics.median(seconds):.1f} s ({max(seconds):.1f} s)"
        print(f"| start to ready, median of {len(seconds)} (most) | {figure} | ≤ 4 s |")
        print(f"| memory of a worker after load, `{name}`, two workers (most) | {max(memory):.0f} MB | ≤ 250 MB |\n")

    def project(self, name: str) -> Path:
        """Write a served folder with the network `name`; return the project that holds it."""
        top = self.top / name
        if top.exists():
            return top
        from darkroom.training.networks import export

        folder = top / served.FOLDER
        folder.mkdir(parents=True)
        size = SIZES[name]
        model = network(name, size)
        export.write_onnx(folder / "model.onnx", model, size)
        count = sum(weights.numel() for weights in model.parameters())
        card = Card(name, "scratch", f"{name}, random weights", CLASSES, size, count, "none", {}, 0.0)
        candidate.write_card(folder, card)
        served.write(
            folder,
            Served(
                served.version(folder),
                ServeSettings(top_k=len(CLASSES)),
                {"test": {}},
                "it is measured",
                Parity(0, 0.0),
            ),
        )
        shutil.copyfile(ROOT / "bentofile.yaml", top / "bentofile.yaml")
        return top

    @contextmanager
    def running(self, service: str, name: str, folder: Path) -> Iterator[str]:
        """Run one of the services with two workers and yield its address."""
        size = SIZES[name]
        if service == "ours":
            with serve([sys.executable, "-m", "bentoml", "serve"], folder, {}, fixed=()) as address:
                yield address
        elif service == "Flask":
            command = [self.rivals, "-m", "gunicorn", "-w", "2", "benchmarks.serving_rivals:flask_app()"]
            with serve(command, ROOT, {"RIVAL": f"{name}:{size}"}, fixed=("-b", "127.0.0.1:{port}")) as address:
                yield address
        else:
            model = folder / served.FOLDER / "model.onnx"
            command = [self.rivals, "-m", "benchmarks.serving_litserve"]
            with serve(command, ROOT, {"RIVAL": f"{model}:{size}"}, fixed=("{port}",)) as address:
                yield address

    def wrk(self, address: str, pictures: list[bytes], seconds: int | None = None) -> Load:
        """Load `address` with the same request again and again; a second to warm up does not count."""
        body = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="images"; filename="%d"\r\n\r\n%s\r\n' % (place, picture)
            for place, picture in enumerate(pictures)
        )
        (self.top / "body").write_bytes(body + b"--b--\r\n")
        script = self.top / "post.lua"
        script.write_text(
            f'local file = io.open("{self.top / "body"}", "rb")\nwrk.method = "POST"\nwrk.body = file:read("*all")\n'
            'wrk.headers["Content-Type"] = "multipart/form-data; boundary=b"\n'
        )
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", str(script), f"{address}/predict"]
        subprocess.run([*command, "-d1s"], capture_output=True, check=True)
        before = processor_seconds()
        text = subprocess.run(
            [*command, f"-d{seconds or self.seconds}s"], capture_output=True, text=True, check=True
        ).stdout
        number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
        wrong = sum(int(count) for count in re.findall(r"Non-2xx[^:]*: (\d+)", text))
        wrong += sum(
            int(count) for line in re.findall(r"Socket errors: (.*)", text) for count in re.findall(r"\d+", line)
        )
        spent = processor_seconds() - before
        speed = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
        count = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
        return Load(speed, float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit], wrong, spent / count * 1e3)


serve_pid: list[int] = [0]
"""The process of the service that runs."""


def processor_seconds() -> float:
    """Return the processor time that the service and its children have taken so far."""
    service = psutil.Process(serve_pid[0])
    times = [process.cpu_times() for process in [service, *service.children(recursive=True)]]
    return sum(time.user + time.system for time in times)


@contextmanager
def serve(command: list[str | Path], folder: Path, settings: dict[str, str], fixed: tuple[str, ...]) -> Iterator[str]:
    """Run a service in `folder` on a free port and yield its address; it and its children end with the block.

    `fixed` are arguments in which {port} stands for the port; BentoML's own come without.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = ["--host", "127.0.0.1", "--port", str(port)] if not fixed else [part.format(port=port) for part in fixed]
    environment = os.environ | {
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_CONFIG_OPTIONS": "services.Classifier.workers=2",
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}" if fixed else os.environ.get("PYTHONPATH", ""),
    }
    with tempfile.TemporaryDirectory(prefix="darkroom-") as home, Path(home, "log").open("w+") as log:
        environment |= settings | {"BENTOML_HOME": home}
        process = subprocess.Popen([*command, *own], cwd=folder, env=environment, stdout=log, stderr=log)
        serve_pid[0] = process.pid
        try:
            address = f"http://127.0.0.1:{port}"
            wait(process, address, Path(home, "log"))
            yield address
        finally:
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            _, alive = psutil.wait_procs([*family, psutil.Process(process.pid)] if family else [], timeout=10)
            for survivor in alive:
                survivor.kill()
            process.wait()


def wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    """Return when `address` is ready; end with the service's log when it never is."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"{address} did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def ask(address: str, picture: bytes) -> dict[str, float]:
    """Return a service's probabilities for a picture, by label."""
    response = httpx.post(f"{address}/predict", files={"images": ("one", picture)}, timeout=30)
    response.raise_for_status()
    labels = response.json()["predictions"][0]["labels"]
    return {label["label"]: label["probability"] for label in labels}


if __name__ == "__main__":
    main()
